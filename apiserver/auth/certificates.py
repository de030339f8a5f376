"""Client certificates: the common name is the user, the organizations are the groups.

TLS has already verified that our CA signed the certificate and that it is in date; a certificate of another CA
never gets this far. What is left is reading the name, the same from REST's and gRPC's connections.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from api.certificates.reading import read_der
from api.errors import Unauthorized
from apiserver.request import Credentials, User
from component.metrics import Spread, shared

log = logging.getLogger(__name__)

AUTHENTICATED = "system:authenticated"
"""The group of everybody whose credentials were believed."""
CREDENTIAL_ID_EXTRA: Final = "authentication.kubernetes.io/credential-id"
"""Says, for the audit log, which credential it was (KEP-4193)."""


EXPIRY: Final = shared(
    Spread(
        "apiserver_client_certificate_expiration_seconds", "How long certificates that clients showed are valid yet.",
        bounds=(0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000, 15552000, 31104000),
    )
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def _expires_at(certificate: bytes) -> float:
    """Return when a DER certificate ends, in seconds since the epoch."""
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()


@functools.lru_cache(maxsize=4096)
def user_of(certificate: bytes) -> User | None:
    """Return the user a DER certificate names, or None if it names nobody or is not for clients.

    Kept, because reading a certificate costs more than all the rest of authentication, and few are in use.
    """
    try:
        parsed = read_der(certificate)
        usage = parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        pass
    except ValueError:
        return None
    else:
        if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
            return None
    names = [str(name.value) for name in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or not names[0]:
        return None
    organizations = (str(name.value) for name in parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    groups = dict.fromkeys([*organizations, AUTHENTICATED])
    credential = f"X509SHA256={hashlib.sha256(certificate).hexdigest()}"
    return User(names[0], groups=tuple(groups), extra={CREDENTIAL_ID_EXTRA: (credential,)})


def der_of_grpc_peer(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """Return the DER certificate of a gRPC peer (`context.auth_context()`), empty if it showed none."""
    for pem in auth_context.get("x509_pem_cert", ()):
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return b""


class Signers(Protocol):
    """Says whether a CA signed a certificate (DER)."""

    @property
    def issued(self) -> Callable[[bytes], bool]: ...


class CertificateAuthenticator:
    """Believes verified client certificates.

    Args:
        signers: whose certificates name users; None: any that TLS has verified.
    """

    def __init__(self, signers: Signers | None = None) -> None:
        self._signers = signers

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the certificate's user; None when none was shown.

        Raises:
            Unauthorized: the certificate is no client's, or names nobody.
        """
        if not credentials.certificate:
            return None
        user = user_of(credentials.certificate)
        if self._signers is not None and not self._signers.issued(credentials.certificate):
            log.info("client certificate refused: the CA of clients did not sign it itself")
            raise Unauthorized("Unauthorized")
        if user is None:
            log.info("client certificate refused: it has no common name, or is not for client authentication")
            raise Unauthorized("Unauthorized")
        EXPIRY.of().observe(_expires_at(credentials.certificate) - time.time())
        return user
