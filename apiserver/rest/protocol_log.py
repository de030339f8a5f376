"""What the HTTP library logs: bytes that are no HTTP are their sender's mistake, and none of the log's business.

The sender is answered with 400 either way. Without this anyone who can open a connection could fill the log, with a
traceback for every line they send.
"""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import http_exceptions, web


def is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether a record is about anything but a request that cannot be read."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (http_exceptions.HttpProcessingError, web.RequestPayloadError))


LOGGER: Final = logging.getLogger(__name__)
LOGGER.addFilter(is_worth_telling)
