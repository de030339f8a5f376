"""A WebSocket asked for on a connection that has already carried requests: taken from the HTTP server, and relayed.

`relay.Switchboard` settles upgrades by a connection's first request, before the HTTP server sees it; kubectl dials
afresh for one. HTTP clients with a pool of connections do not. SPDY is never asked for this way, and could not be: the
HTTP server would take what follows for requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from component import relay

PROTOCOL = "websocket"


def is_asked_for(request: web.BaseRequest) -> bool:
    """Whether a request asks to become a WebSocket."""
    named = request.headers.get(hdrs.UPGRADE, "").strip().lower() == PROTOCOL
    return named and "upgrade" in request.headers.get(hdrs.CONNECTION, "").lower()


async def carry(request: web.BaseRequest, serve: Callable[[relay.Upgrade], Awaitable[None]]) -> web.StreamResponse:
    """Take the connection away from the HTTP server and have it served until it ends."""
    transport, http = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError("the client is gone")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=relay.CHUNK_BYTES, loop=loop)
    streams = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(streams)
    streams.connection_made(transport)
    connection = relay.Connection(reader, asyncio.StreamWriter(transport, streams, reader, loop))
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
    peer = transport.get_extra_info("peercert")
    try:
        await serve(relay.Upgrade(request.method, request.raw_path, headers, PROTOCOL, connection, peer))
        await connection.close()
    finally:
        connection.abort()
        # The server would wait for this connection for ever: it hears of its end from us alone.
        http.connection_lost(None)
    return web.Response(status=101)  # To nobody: the connection is closed.
