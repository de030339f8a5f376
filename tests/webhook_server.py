"""An HTTPS server on loopback that answers AdmissionReviews as tests tell it to."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.certificates import Authority

Plain = dict[str, Any]
Respond = Callable[[Plain], Awaitable[Plain | web.Response]]


class WebhookServer:
    """What was asked at which path, and what is answered there."""

    def __init__(self, port: int, ca: bytes) -> None:
        self.port = port
        self.ca = base64.b64encode(ca).decode()
        self.asked: dict[str, list[Plain]] = {}
        self.queries: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        self._responds: dict[str, Respond] = {}

    def on(self, path: str, respond: Respond) -> Plain:
        """Answer at a path from now on; returns the clientConfig of a webhook there."""
        self._responds[path] = respond
        return {"url": f"https://127.0.0.1:{self.port}/{path}", "caBundle": self.ca}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one review."""
        path = request.path.lstrip("/")
        review = await request.json()
        self.asked.setdefault(path, []).append(review["request"])
        self.queries.append(request.query_string)
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        response = await self._responds[path](review["request"])
        if isinstance(response, web.Response):
            return response
        answered = {"uid": review["request"]["uid"], **response}
        return web.json_response({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": answered})


@asynccontextmanager
async def serving(directory: Path, name: str = "webhook.default.svc") -> AsyncIterator[WebhookServer]:
    """Serve, under a certificate for 127.0.0.1 and `name`."""
    identity = Authority(directory).issue(name, file="webhook")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert, identity.key)
    server = WebhookServer(0, identity.ca.read_bytes())
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


async def allow(request: Plain) -> Plain:
    """Say yes."""
    return {"allowed": True}


def deny(message: str = "", **status: Any) -> Respond:
    """Say no."""

    async def respond(request: Plain) -> Plain:
        return {"allowed": False, "status": {**({"message": message} if message else {}), **status}}

    return respond


def patch(*operations: Plain) -> Respond:
    """Say yes, and change the object."""

    async def respond(request: Plain) -> Plain:
        encoded = base64.b64encode(json.dumps(operations).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}

    return respond
