"""Which credentials this server believes, in the order they are looked at: from the settings to authenticators.

front proxy · client certificate · bootstrap token · OpenID Connect token · service-account token
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apiserver.auth.bootstrap_tokens import BootstrapTokenAuthenticator
from apiserver.auth.certificates import CertificateAuthenticator
from apiserver.auth.oidc import OidcAuthenticator
from apiserver.auth.request_header import Issuers, RequestHeaderAuthenticator
from apiserver.auth.tokens import Read, TokenAuthenticator, TokenIssuer
from apiserver.request import Authenticator
from component.clock import Clock


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificates are believed."""

    client_ca: Path
    front_proxy_ca: Path | None = None
    front_proxy_names: Sequence[str] = ()


def build(
    trust: Trust,
    read: Read,
    clock: Clock,
    issuer: TokenIssuer,
    oidc: OidcAuthenticator | None = None,
    *,
    has_bootstrap_tokens: bool = True,
) -> list[Authenticator]:
    """Return the authenticators, first to last.

    Raises:
        OSError, ValueError: a file of certificates cannot be used.
    """
    found: list[Authenticator] = []
    if trust.front_proxy_ca is None:
        found.append(CertificateAuthenticator())
    else:
        # TLS admits certificates of both CAs; which of them signed one decides what it is worth.
        proxy = Issuers(trust.front_proxy_ca)
        found += [
            RequestHeaderAuthenticator(proxy, trust.front_proxy_names),
            CertificateAuthenticator(Issuers(trust.client_ca)),
        ]
    if has_bootstrap_tokens:
        found.append(BootstrapTokenAuthenticator(read, clock))
    if oidc is not None:
        found.append(oidc)
    return [*found, TokenAuthenticator(issuer, read, clock)]
