"""What plain HTTP is answered: methods by path, with JSON for messages, and etcd's pages about itself.

A method is called as gRPC calls it, with a stand-in for its call. One that streams has every message sent as a line of
its own, `{"result": ...}`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from google.protobuf.message import Message

from component.health import METRICS_TYPE
from proto.etcd import rpc_pb2
from store.gateway import json_form
from store.gateway.json_form import BadJson
from store.gateway.routes import ROUTES, Route
from store.http2.call import CURRENT, Code, Method, StatusOf
from store.http2.web import Asked, Page, Write
from store.replica import Replica
from store.serve.health import metrics
from store.serve.maintenance import ETCD_VERSION

_CLUSTER_VERSION = "3.4.0"
HEALTHY_WITHIN_S = 1.0
_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"
_STATUSES = {
    Code.CANCELLED: 408,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 412,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
}
"""HTTP's for gRPC's codes; 500 for all others."""


class _Call:
    """What a method sees of a call that came by HTTP."""

    def __init__(self, asked: Asked, requests: Iterable[Message] = (), send: Write | None = None) -> None:
        self.token = asked.token
        self.names = asked.names
        self.common_name = asked.common_name
        self._requests = iter(requests)
        self._send = send

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        for request in self._requests:
            return request
        raise StopAsyncIteration

    async def write(self, response: Any) -> None:
        """Send a message."""
        assert self._send is not None
        await self._send(response)


class Pages:
    """Answers requests of a member."""

    def __init__(self, replica: Replica, methods: Mapping[str, Method], status_of: StatusOf) -> None:
        """Answer for `replica` with its `methods`; `status_of` says how what they raise ends."""
        self._replica = replica
        self._methods = methods
        self._status_of = status_of

    async def answer(self, asked: Asked) -> Page:
        """Return the answer to a request."""
        route = ROUTES.get(asked.path)
        if route is None:
            return await self._own_page(asked)
        if asked.method != "POST":
            return _plain(405, "Method Not Allowed")
        method = self._methods[route.method]
        if method.shape == "unary":
            return await self._unary(asked, route, method)
        return self._stream(asked, route, method)

    async def _unary(self, asked: Asked, route: Route, method: Method) -> Page:
        CURRENT.set(_Call(asked))
        try:
            request = json_form.decode(asked.body, route.request_class)
            answer = await method.answer(request)
        except BadJson as error:
            return _failure(Code.INVALID_ARGUMENT, str(error))
        except Exception as error:
            code, message = self._status_of(error)
            method.done(code)
            return _failure(code, message)
        method.done(Code.OK)
        return Page(200, _JSON, json_form.encode(_read(answer, route)))

    def _stream(self, asked: Asked, route: Route, method: Method) -> Page:
        try:
            requests = json_form.decode_all(asked.body, route.request_class)
        except BadJson as error:
            return _failure(Code.UNKNOWN if method.shape == "stream" else Code.INVALID_ARGUMENT, str(error))

        async def send_all(write: Write) -> None:
            async def send(response: Any) -> None:
                await write(b'{"result":' + json_form.encode(_read(response, route)) + b"}\n")

            call = _Call(asked, requests, send)
            CURRENT.set(call)
            given = [call] if method.shape == "stream" else [(requests or [route.request_class()])[0]]
            try:
                await method.answer(*given, call)
            except Exception as error:
                code, message = self._status_of(error)
                method.done(code)
                status = _STATUSES.get(code, 500)
                described = {"grpc_code": int(code), "http_code": status, "message": message}
                described["http_status"] = HTTPStatus(status).phrase
                await write(json_form.dump({"error": described}) + b"\n")
            else:
                method.done(Code.OK)

        return Page(200, _JSON, b"", stream=send_all)

    # -- etcd's pages about itself

    async def _own_page(self, asked: Asked) -> Page:
        pages: dict[str, Callable[[Asked], Awaitable[Page]]] = {
            "/health": self._health,
            "/version": self._version,
            "/metrics": self._metrics,
        }
        page = pages.get(asked.path)
        if page is None:
            is_api = asked.path.startswith(("/v3/", "/v3beta/"))
            return _plain(404, "Not Found" if is_api else "404 page not found")
        if asked.method != "GET":
            return _plain(405, "Method Not Allowed", ("Allow: GET",))
        return await page(asked)

    async def _health(self, asked: Asked) -> Page:
        excluded = parse_qs(asked.query).get("exclude", [])
        names = (rpc_pb2.AlarmType.Name(kind) for kind, _ in self._replica.state.alarms)
        is_well = all(name in excluded for name in names)
        if is_well:
            is_well = False
            with contextlib.suppress(Exception):
                async with asyncio.timeout(HEALTHY_WITHIN_S):
                    await self._replica.read_index()
                    is_well = True
        body = json_form.dump({"health": "true" if is_well else "false"})
        return Page(200, _TEXT, body) if is_well else Page(503, _TEXT, body + b"\n")

    async def _version(self, asked: Asked) -> Page:
        return Page(200, _JSON, json_form.dump({"etcdserver": ETCD_VERSION, "etcdcluster": _CLUSTER_VERSION}))

    async def _metrics(self, asked: Asked) -> Page:
        return Page(200, METRICS_TYPE, metrics(self._replica))


def _read(answer: Any, route: Route) -> Message:
    """Return a method's answer as a message; some are made as bytes."""
    message: Message = route.response_class.FromString(answer) if isinstance(answer, bytes) else answer
    if isinstance(message, rpc_pb2.WatchResponse):
        message.ClearField("causes")  # for our own clients
    return message


def _failure(code: Code, message: str) -> Page:
    return Page(
        _STATUSES.get(code, 500), _JSON, json_form.dump({"error": message, "message": message, "code": int(code)})
    )


def _plain(status: int, text: str, headers: tuple[str, ...] = ()) -> Page:
    return Page(status, _TEXT, f"{text}\n".encode(), headers=headers)
