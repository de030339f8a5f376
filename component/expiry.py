"""When a certificate ends, and what to do when it has: said once, by the process that shows it.

The end is read from the certificate's bytes (RFC 5280, 4.1) without a library, which most processes do without.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

ADVICE = (
    "our certificate has ended: `steer certs renew` on a machine of the control plane; on a worker `steer join`, as "
    "`steer token create` on a control-plane machine prints it; `steer up` for a cluster on one machine"
)
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_EXPLICIT_VERSION, _UTC_TIME = 0xA0, 0x17


def not_after(pem: str) -> float | None:
    """Return when the first certificate in `pem` ends, in seconds since the epoch; None if there is none to read."""
    found = _CERTIFICATE.search(pem)
    if found is None:
        return None
    try:
        (_, certificate), *_ = _values(ssl.PEM_cert_to_DER_cert(found[0]))
        (_, signed), *_ = _values(certificate)
        fields = [value for tag, value in _values(signed) if tag != _EXPLICIT_VERSION]
        _, (tag, end) = _values(fields[3])  # after serial number, algorithm and issuer
        form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
        return datetime.strptime(end.decode(), form).replace(tzinfo=UTC).timestamp()
    except (ValueError, IndexError):
        return None


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and content of each value that stands in `der`, one after the other."""
    position = 0
    while position < len(der):
        tag, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[position : position + size], "big")
            position += size
        yield tag, der[position : position + length]
        position += length


class EndWatch:
    """Says once of each certificate in a file that it has ended."""

    def __init__(self, file: Path, now: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now = now
        self._ends: float | None = None
        self.read()

    def read(self) -> None:
        """Take notice of another certificate in the file."""
        try:
            self._ends = not_after(self._file.read_text())
        except (OSError, ValueError):
            self._ends = None

    def look(self) -> None:
        """Say so if it has ended; cheap."""
        if self._ends is not None and self._now() > self._ends:
            ended = datetime.fromtimestamp(self._ends, UTC)
            self._ends = None
            log.error(ADVICE, extra={"file": self._file, "ended": f"{ended:%Y-%m-%d %H:%M} UTC"})
