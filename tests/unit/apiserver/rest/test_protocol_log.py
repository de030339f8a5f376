from __future__ import annotations

import logging

from aiohttp import http_exceptions, web

from apiserver.rest.protocol_log import is_worth_telling


def record(error: BaseException | None) -> logging.LogRecord:
    exc_info = (type(error), error, None) if error is not None else None
    return logging.LogRecord("x", logging.ERROR, "", 0, "Error handling request", None, exc_info)


def test_what_cannot_be_read_is_not_logged_and_everything_else_is() -> None:
    assert not is_worth_telling(record(http_exceptions.BadHttpMessage("no HTTP")))
    assert not is_worth_telling(record(web.RequestPayloadError("no gzip")))
    assert is_worth_telling(record(ValueError("a bug")))
    assert is_worth_telling(record(None))
