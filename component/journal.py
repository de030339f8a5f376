"""Records for systemd's journal, with their fields, where a process's stderr is the journal.

`journalctl -u steersman-kubelet POD=default/web` finds what was logged with `extra={"pod": ...}`. The protocol is
documented ("Native Journal Protocol"): one datagram a record, a field a line; a value with line breaks is preceded by
its length instead. Whoever is not under systemd never gets here (`component.logs`).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping

ADDRESS = "/run/systemd/journal/socket"
FIELD_CHARACTERS_MAX = 64
MESSAGE_BYTES_CUT = 8192
"""What is left of a record that does not fit into a datagram."""
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
_UNFIT = re.compile(r"[^A-Z0-9_]")


def is_stderr() -> bool:
    """Whether our stderr goes to the journal: systemd says of which socket it is the end."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def priority(level: int) -> int:
    """Return syslog's severity for a level of logging."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


def field_name(key: str) -> str:
    """Return what a field is called in the journal: capitals, digits, underscores, and none of its own names."""
    name = _UNFIT.sub("_", key.upper()).lstrip("_0123456789")[:FIELD_CHARACTERS_MAX]
    return f"X_{name}" if not name or name in ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER") else name


def encode(fields: Mapping[str, str]) -> bytes:
    """Return one record as a datagram."""
    out = bytearray()
    for name, text in fields.items():
        value = text.encode(errors="replace")
        if b"\n" in value:
            out += name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
        else:
            out += name.encode() + b"=" + value + b"\n"
    return bytes(out)


class JournalHandler(logging.Handler):
    """Sends each record to the journal. `fields_of` and `text_of` say what a record holds."""

    def __init__(self, formatter: logging.Formatter, identifier: str) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._identifier = identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; one that is too long is cut, one that cannot be sent goes to stderr."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
        }
        fields |= {field_name(key): str(value) for key, value in getattr(record, "fields", {}).items()}
        try:
            self._socket.sendto(encode(fields), ADDRESS)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                fields = {"MESSAGE": fields["MESSAGE"][:MESSAGE_BYTES_CUT], "PRIORITY": fields["PRIORITY"]}
                try:
                    self._socket.sendto(encode(fields), ADDRESS)
                except OSError:
                    self.handleError(record)
            else:
                print(fields["MESSAGE"], file=sys.stderr)
