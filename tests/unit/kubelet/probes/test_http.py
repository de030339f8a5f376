from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from api.core.containers import HTTPGetAction
from kubelet.probes import http
from kubelet.probes.streak import Result


async def _serve(request: web.Request) -> web.Response:
    match request.path:
        case "/well":
            return web.Response(text="ok")
        case "/here":
            return web.Response(status=302, headers={"Location": request.query["to"]})
        case "/round":
            return web.Response(status=302, headers={"Location": "/round"})
    return web.Response(status=500)


@asynccontextmanager
async def asker() -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    app = web.Application()
    app.router.add_get("/{any:.*}", _serve)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        assert server.port is not None
        yield session, server.port


async def ask(path: str) -> Result:
    async with asker() as (session, port):
        return await http.probe(session, "127.0.0.1", port, HTTPGetAction(path=path, port=port), 5.0)


async def test_what_answers_is_well_and_an_error_is_not() -> None:
    assert (await ask("/well")).is_success
    assert await ask("/broken") == Result(False, "HTTP probe failed with statuscode: 500")


async def test_a_redirect_is_followed_on_the_same_host() -> None:
    assert (await ask("/here?to=/well")).message == "ok"
    assert not (await ask("/here?to=/broken")).is_success
    assert "stopped after 10 redirects" in (await ask("/round")).message


async def test_a_redirect_to_another_host_is_a_success_with_a_warning() -> None:
    found = await ask("/here?to=http://0.0.0.0/foo")
    assert found.is_success and found.is_warning and found.message.startswith("Probe terminated redirects")
