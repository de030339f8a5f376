"""Users as a front proxy tells them: X-Remote-User, -Group, -Uid and -Extra-*, from whoever holds its certificate.

The certificate must be signed by the front proxy's own CA, not by the cluster's, and by default bear one name. What
this server tells aggregated servers in turn is in `apiserver.aggregation.servers`. After upstream's "Authenticating
Proxy"; the reading half of the same headers.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from api.certificates.reading import read_der
from api.errors import Unauthorized
from apiserver.auth.certificates import AUTHENTICATED
from apiserver.request import ANONYMOUS, Credentials, User
from component.certificates import stamp

log = logging.getLogger(__name__)

PREFIX: Final = "x-remote-"
_USER, _UID, _GROUP, _EXTRA = "x-remote-user", "x-remote-uid", "x-remote-group", "x-remote-extra-"


class Issuers:
    """The certificates of a CA file: says whether one of them signed another."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            OSError: it cannot be read. ValueError: there is no certificate in it.
        """
        self._path = path
        self._seen = stamp(path)
        self.pem = path.read_bytes()
        self._certificates = x509.load_pem_x509_certificates(self.pem)
        self.issued = functools.lru_cache(maxsize=4096)(self._issued)
        """Whether a certificate (DER) was signed by one of these. TLS has checked dates and the rest of it."""

    def look(self) -> bool:
        """Read the file again if it has changed; returns whether other certificates are believed now.

        A file that cannot be read, or has no certificate in it, changes nothing.
        """
        seen = stamp(self._path)
        if seen == self._seen:
            return False
        try:
            pem = self._path.read_bytes()
            self._certificates = x509.load_pem_x509_certificates(pem)
        except (OSError, ValueError) as error:
            log.warning("a file of CAs has changed and can't be used", extra={"file": self._path, "why": str(error)})
            return False
        self.pem, self._seen = pem, seen
        self.issued.cache_clear()
        log.info("a file of CAs has changed", extra={"file": str(self._path)})
        return True

    def _issued(self, der: bytes) -> bool:
        try:
            certificate = read_der(der)
        except ValueError:
            return False
        return any(_signed(certificate, by) for by in self._certificates)


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


class RequestHeaderAuthenticator:
    """Believes the front proxy.

    Args:
        issuers: its CA.
        allowed_names: common names that its certificate may bear; empty: any.
    """

    def __init__(self, issuers: Issuers, allowed_names: Sequence[str] = ()) -> None:
        self._issuers = issuers
        self._allowed_names = frozenset(allowed_names)

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return whom the front proxy names; None when it is not the front proxy, or names nobody.

        Raises:
            Unauthorized: its certificate does not bear an allowed name.
        """
        if not credentials.certificate or not self._issuers.issued(credentials.certificate):
            return None
        name = _common_name(credentials.certificate)
        if self._allowed_names and name not in self._allowed_names:
            log.info("front proxy refused: its certificate does not bear an allowed name", extra={"object": name})
            raise Unauthorized("Unauthorized")
        return user_of(credentials.remote)


def user_of(headers: Mapping[str, tuple[str, ...]]) -> User | None:
    """Return the user that headers (by lower-case name) tell of, None for nobody."""
    names = [name for name in headers.get(_USER, ()) if name]
    if not names:
        return None
    extra = {
        unquote(name[len(_EXTRA) :]).lower(): values for name, values in headers.items() if name.startswith(_EXTRA)
    }
    told = headers.get(_GROUP, ())
    is_nobody = names[0] == ANONYMOUS.name or ANONYMOUS.groups[0] in told
    groups = dict.fromkeys(told if is_nobody else [*told, AUTHENTICATED])
    return User(names[0], next(iter(headers.get(_UID, ())), ""), tuple(groups), extra)


def _common_name(der: bytes) -> str:
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
