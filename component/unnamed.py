"""An HTTP server that does not tell which library it is made of: upstream's answers have no `Server` either."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, http, web

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter


def unnamed(server: web.Server) -> web.Server:
    """Have a server leave out the `Server` that its library adds; one that is passed on from elsewhere stays.

    Where heads are written is the one place that all answers come past, those to requests that could not be read
    included.
    """
    make = server.request_factory

    def request_factory(
        message: Any, payload: Any, protocol: Any, writer: AbstractStreamWriter, task: asyncio.Task[None]
    ) -> web.BaseRequest:
        write = writer.write_headers

        async def write_headers(status_line: str, headers: Any) -> None:
            if headers.get(hdrs.SERVER) is http.SERVER_SOFTWARE:
                del headers[hdrs.SERVER]
            await write(status_line, headers)

        writer.write_headers = write_headers  # type: ignore[method-assign]
        return make(message, payload, protocol, writer, task)

    server.request_factory = request_factory
    return server
