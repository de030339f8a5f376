"""HTTP/1.1 as aiohttp has it, but for three things that upstream's server does otherwise.

A method may be any token (RFC 9110, section 9.1). The parser that is fast knows a list, and knows nothing of what was
sent where it finds another: from there on the connection is read by the one in Python, and the door says what it
thinks of the method. And a head that cannot be read is answered in upstream's words, which repeat nothing of what was
sent; one that is too long with 431 (RFC 6585, section 5). And a body that turns out to be none is not waited for.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    HttpProcessingError,
    LineTooLong,
    TransferEncodingError,
)
from aiohttp.http_parser import HttpRequestParserPy, RawRequestMessage
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler

_TOO_MANY: Final = "Too many headers received"
_NO_HOST: Final = "Missing 'Host' header in request."
_CHUNK_BYTES_MAX: Final = 1 << 63


class Server(web.Server):
    """Makes the protocols of connections that speak HTTP/1.1, and knows them. Arguments: as `aiohttp.web.Server`."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of one new connection."""
        return Protocol(self, loop=self._loop, **self._kwargs)


class Protocol(RequestHandler):
    """One connection."""

    __slots__ = ()

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._parser = cast(Any, _AnyMethod(self, self._parser))

    def python_parser(self) -> _Parser:
        """Return a parser that takes any method."""
        return _Parser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read, and close."""
        response = super().handle_error(request, status, exc, message)
        if not isinstance(exc, HttpProcessingError):
            return response
        said, why = _said_of(exc)
        headers = {hdrs.CONTENT_TYPE: "text/plain; charset=utf-8", hdrs.CONNECTION: "close"}
        refusal = web.Response(status=said, headers=headers, body=f"{said.value} {said.phrase}{why}".encode())
        refusal.force_close()
        request._version = HttpVersion11  # It is told of as of 1.0, since nothing is known of it.
        return refusal


class _Parser(HttpRequestParserPy):
    """Reads requests by any method, and keeps its case: `get` is none that is known."""

    def feed_data(self, data: bytes, *args: Any, **options: Any) -> Any:
        found = super().feed_data(data, *args, **options)
        body = self._payload_parser
        if body is not None and body._chunk_size >= _CHUNK_BYTES_MAX:
            # Python's numbers have no end, and nobody would ever send so much: as good as a chunk without a size.
            body.payload.set_exception(TransferEncodingError("chunk length too large"))
            body._chunk_size = 0
        return found

    def parse_message(self, lines: list[bytes]) -> RawRequestMessage:
        return super().parse_message(lines)._replace(method=lines[0].partition(b" ")[0].decode())


class _AnyMethod:
    """A parser that becomes another at the first method it does not know.

    Who waits for the rest of a body is told when that cannot be read (a chunk without a size, say). aiohttp's parser
    tells only of a request after it, which nobody would come to.
    """

    __slots__ = ("_body", "_parser", "_protocol")

    def __init__(self, protocol: Protocol, parser: Any) -> None:
        self._protocol = protocol
        self._parser = parser
        self._body: StreamReader = EMPTY_PAYLOAD
        """Of the latest request."""

    def feed_data(self, data: bytes) -> Any:
        try:
            found = self._parser.feed_data(data)
        except BadHttpMethod:
            if isinstance(self._parser, _Parser):
                raise
            self._parser = self._protocol.python_parser()
            found = self._parser.feed_data(data)
        except HttpProcessingError as error:
            if self._body.is_eof() or self._body.exception() is not None:
                raise
            self._body.set_exception(web.RequestPayloadError(error.message))
            return (), False, b""
        if found[0]:
            self._body = found[0][-1][1]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _said_of(error: HttpProcessingError) -> tuple[HTTPStatus, str]:
    """Return the status of a refusal, and what follows it in the body."""
    if isinstance(error, LineTooLong) or _TOO_MANY in error.message:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, ""
    if isinstance(error, BadHttpMessage) and error.message == _NO_HOST:
        return HTTPStatus.BAD_REQUEST, ": missing required Host header"
    return HTTPStatus.BAD_REQUEST, ""
