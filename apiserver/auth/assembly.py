"""Which credentials this server believes, in the order they are looked at: from the settings to authenticators.

front proxy · client certificate · bootstrap token · OpenID Connect token · service-account token · webhook
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from apiserver.auth.bootstrap_tokens import BootstrapTokenAuthenticator
from apiserver.auth.certificates import CertificateAuthenticator
from apiserver.auth.request_header import Issuers, RequestHeaderAuthenticator
from apiserver.auth.tokens import NoteUse, Read, TokenAuthenticator, TokenIssuer
from apiserver.request import Authenticator
from component.certificates import LOOK_EVERY_S
from component.clock import Clock


class Trust:
    """Whose certificates are believed. The files may change; `follow` must be running then.

    Args:
        client_ca: who signs certificates of users.
        front_proxy_ca: who signs the front proxy's; None: there is none.
        front_proxy_names: common names that it may bear; any, if there is none.

    Raises:
        OSError, ValueError: a file cannot be used.
    """

    def __init__(
        self, client_ca: Path, front_proxy_ca: Path | None = None, front_proxy_names: Sequence[str] = ()
    ) -> None:
        self.clients = Issuers(client_ca)
        self.front_proxy = Issuers(front_proxy_ca) if front_proxy_ca is not None else None
        self.front_proxy_names = front_proxy_names

    async def follow(self, clock: Clock) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await clock.sleep(LOOK_EVERY_S)
            self.clients.look()
            if self.front_proxy is not None:
                self.front_proxy.look()


def build(
    trust: Trust,
    read: Read,
    clock: Clock,
    issuer: TokenIssuer,
    providers: Authenticator | None = None,
    *,
    has_bootstrap_tokens: bool = True,
    note_use: NoteUse | None = None,
    webhook: Authenticator | None = None,
) -> list[Authenticator]:
    """Return the authenticators, first to last."""
    # TLS admits certificates of both CAs; which of them signed one decides what it is worth. And it has looked once:
    # what has been taken out of a file since then is believed no more, on connections that stand, too.
    found: list[Authenticator] = []
    if trust.front_proxy is not None:
        found.append(RequestHeaderAuthenticator(trust.front_proxy, trust.front_proxy_names))
    found.append(CertificateAuthenticator(trust.clients))
    if has_bootstrap_tokens:
        found.append(BootstrapTokenAuthenticator(read, clock))
    if providers is not None:
        found.append(providers)
    found.append(TokenAuthenticator(issuer, read, clock, note_use))
    return found if webhook is None else [*found, webhook]
