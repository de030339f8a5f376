"""Calls about groups that other servers have: asked of them by REST, on behalf of whoever called.

The component API names resources, not paths; what is asked for is put together here as the path it has in REST, and
from there on the call goes the way of one that came by REST: the same chain, the same front-proxy certificate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from api.apiregistration.apiservice import APIService
from api.errors import ApiError, from_status
from apiserver.aggregation.availability import Gathered
from apiserver.grpc.discover import discovered
from apiserver.grpc.relayed_watch import RelayedWatch
from apiserver.onward import Onward
from apiserver.proxies import Finder
from apiserver.request import Answer, Call, RequestInfo
from proto.steersman.v1 import resources_pb2 as pb

_METHODS: Final = {
    "get": "GET", "list": "GET", "watch": "GET",
    "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
}  # fmt: skip
TIMEOUT_S: Final = 30.0
REFUSAL_BYTES_MAX: Final = 64 * 1024


class Asked(Protocol):
    """Knows which groups other servers have, and asks them: `apiserver.aggregation.servers`."""

    def remote(self) -> list[APIService]: ...
    def finder(self, info: RequestInfo, target: str) -> Finder | None: ...
    async def ask(
        self,
        onward: Onward,
        *,
        method: str = "GET",
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float,
    ) -> tuple[int, str, bytes]: ...
    async def open(self, onward: Onward, *, headers: Mapping[str, str]) -> aiohttp.ClientResponse: ...


@dataclass(frozen=True, slots=True)
class RelayedItem:
    """An object of a list."""

    json: bytes
    revision: str


@dataclass(frozen=True, slots=True)
class RelayedList:
    """A list, in the form that the component API sends on."""

    items: list[RelayedItem]
    revision: str


class _Metadata(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Object(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None = None
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


_OBJECT: Final = msgspec.json.Decoder(_Object)
_LIST: Final = msgspec.json.Decoder(_List)


class Relay:
    """Gives calls that are another server's a handler that asks it.

    Args:
        asked: the other servers.
        gathered: what they serve, by APIService name.
    """

    def __init__(self, asked: Asked, gathered: Callable[[], Mapping[str, Gathered]] = dict) -> None:
        self._asked = asked
        self._gathered = gathered

    def discovered(self) -> pb.Discovered:
        """Return what the other servers serve."""
        return discovered(self._asked.remote(), self._gathered())

    def prepare(self, call: Call) -> None:
        """Let `call` be answered by another server, if it is about a group of one; others are left alone."""
        if call.resource is not None or call.info.verb not in _METHODS:
            return
        path = _path(call.info)
        options = {name: value for name, value in call.options.items() if name != "fieldValidation"}
        if call.info.verb == "watch":
            options["watch"] = "true"
        target = f"{path}?{urlencode(options)}" if options else path
        info = dataclasses.replace(call.info, path=path)
        find = self._asked.finder(info, target)
        if find is None:
            return

        async def answer(call: Call) -> Answer | RelayedList | RelayedWatch:
            onward = await find(call)
            return await (self._watch(onward) if call.info.verb == "watch" else self._ask(call, onward))

        call.info, call.handler = info, answer

    async def _ask(self, call: Call, onward: Onward) -> Answer | RelayedList:
        headers = {"Accept": "application/json"}
        if call.body:
            headers["Content-Type"] = call.content_type or "application/json"
        method = _METHODS[call.info.verb]
        try:
            status, _, body = await self._asked.ask(
                onward, method=method, headers=headers, body=call.body, timeout_s=TIMEOUT_S
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise onward.failed(str(error) or type(error).__name__) from None
        if status >= 400:
            raise _failure(status, body)
        try:
            if call.info.verb == "list":
                return _listed(body)
            return Answer(body, _OBJECT.decode(body).metadata.resource_version, code=status)
        except msgspec.MsgspecError as error:
            raise onward.failed(f"the answer cannot be read: {error}") from None

    async def _watch(self, onward: Onward) -> RelayedWatch:
        try:
            answer = await self._asked.open(onward, headers={"Accept": "application/json"})
            if answer.status >= 400:
                async with answer:
                    raise _failure(answer.status, await answer.content.read(REFUSAL_BYTES_MAX))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise onward.failed(str(error) or type(error).__name__) from None
        return RelayedWatch(answer)


def _path(info: RequestInfo) -> str:
    parts = ["apis", info.group, info.version]
    if info.namespace:
        parts += ["namespaces", info.namespace]
    parts.append(info.plural)
    if (info.name and info.verb not in ("list", "watch", "create")) or (info.name and info.subresource):
        parts.append(info.name)
    return "/" + "/".join(quote(part, safe="*") for part in (*parts, *info.subresource.split("/")) if part)


def _listed(body: bytes) -> RelayedList:
    found = _LIST.decode(body)
    items = [RelayedItem(bytes(raw), _version(raw)) for raw in found.items or ()]
    # Servers that only measure have no versions; the component API takes an empty one for a list that never came.
    return RelayedList(items, found.metadata.resource_version or "0")


def _version(raw: msgspec.Raw) -> str:
    return _OBJECT.decode(raw).metadata.resource_version


def _failure(status: int, body: bytes) -> ApiError:
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        told = None
    if isinstance(told, dict) and told.get("kind") == "Status":
        return from_status({**told, "code": status})
    return from_status({"code": status, "message": body.decode(errors="replace").strip()[:1024]})
