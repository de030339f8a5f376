"""Structured logs: one line a record, on stderr, as `key=value` text or as JSON.

Code logs with the standard library: `log = logging.getLogger(__name__)`, then
`log.info("pod started", extra={"pod": key, "node": node})`. Never log a token, key or Secret's value.
The library refuses extras named as its own fields: not `name`, `process`, `args`, `module` or `message`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from component import journal

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName", "fields"}


class _Formatter(logging.Formatter):
    def __init__(self, as_json: bool, *, for_journal: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Render one record on one line; tracebacks follow on lines of their own in text form."""
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        message = record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            entry = {"ts": stamp, "level": record.levelname.lower(), "logger": record.name, "msg": message}
            entry |= {key: str(value) for key, value in fields.items()}
            if trace:
                entry["trace"] = trace
            return json.dumps(entry)
        tail = "".join(f" {key}={_quoted(value)}" for key, value in fields.items())
        if self._for_journal:  # which knows time, severity and logger by itself
            record.fields = fields
            line = f"{message}{tail}"
        else:
            line = f"{stamp} {record.levelname:<7} {record.name}: {message}{tail}"
        return f"{line}\n{trace}" if trace else line


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(ch in text for ch in ' "=\n') else text


def configure(level: str = "info", format: str = "text") -> None:
    """Send every record at `level` or above to stderr, or with its fields to the journal where that is stderr.

    `format` is text or json. Safe to call twice.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=format == "json"))
    if format == "text" and journal.is_stderr():
        handler = journal.JournalHandler(_Formatter(as_json=False, for_journal=True), Path(sys.argv[0]).name)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
