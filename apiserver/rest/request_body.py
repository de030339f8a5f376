"""The body of an HTTP request: read when somebody wants it, and no larger than the server will hold.

A client may wait to be invited (`Expect: 100-continue`, RFC 9110 section 10.1.1): curl does with large bodies. It is,
once somebody begins to read: whoever is refused before that has sent nothing in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import HttpVersion11, hdrs, http_exceptions, web

from api.errors import BadRequest, RequestEntityTooLarge, Timeout
from apiserver.filters.timeout import TIMEOUT_S
from apiserver.rest import http2

BODY_BYTES_MAX: Final = 3 * 1024 * 1024
_INVITATION: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


async def chunks(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes, having invited it where its sender waits for that."""
    waits = request.headers.get(hdrs.EXPECT, "").strip().lower() == "100-continue"
    if waits and not request.content.total_bytes:
        if isinstance(request.writer, http2.Writer):
            await request.writer.invite()
        elif request.version >= HttpVersion11:
            await request.writer.write(_INVITATION)
            request.writer.output_size = 0  # The answer itself has not begun.
    async for chunk in request.content.iter_any():
        yield chunk


async def read(request: web.BaseRequest) -> bytes:
    """Return a request's whole body.

    Raises:
        RequestEntityTooLarge: it is longer than `BODY_BYTES_MAX`.
        Timeout: it did not come in time.
        BadRequest: it is not well-formed HTTP.
    """
    announced = request.content_length
    if announced is not None and announced > BODY_BYTES_MAX:
        raise _too_large()
    read, size = [], 0
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for chunk in chunks(request):
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise _too_large()
                read.append(chunk)
    except TimeoutError:
        raise Timeout(f"the body did not come within {TIMEOUT_S:.0f} s", retry_after_s=1) from None
    except (web.RequestPayloadError, http_exceptions.HttpProcessingError) as error:
        raise BadRequest(f"the body cannot be read: {error}") from None
    return b"".join(read)


def _too_large() -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {BODY_BYTES_MAX}")
