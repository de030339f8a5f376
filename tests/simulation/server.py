"""The real API server over a store in memory, and the transport that calls it without a wire.

The server is a process like any other: it may crash, and begins anew over the same store. What stands on the wire in
a real cluster, credentials and encodings, is left out; authorization, admission, defaulting and validation are not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.discover import by_gvr
from api.errors import ApiError, InternalError, NotFound
from apiserver.app import Api, InternalCredentials, build
from apiserver.bootstrap import bootstrap
from apiserver.request import Call, User
from client.verbs import Address, EventType, RawEvent, RawList, RawObject, ServedVersion
from component.clock import Clock
from store.client import Store
from tests.local_transport import asked_of

ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


@dataclass(slots=True)
class Endpoint:
    """One life of a server, as those who are connected to it see it."""

    api: Api
    crashed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ApiServer:
    """The server's process."""

    def __init__(self, store: Store, clock: Clock, rng: random.Random) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self.endpoint: Endpoint | None = None
        """None while it is down or not ready yet."""

    async def run(self) -> None:
        """Serve until cancelled, which is a crash: connections break, and nothing in memory survives."""
        api = build(self._store, self._clock, random.Random(self._rng.getrandbits(64)))
        async with asyncio.TaskGroup() as group:
            group.create_task(api.run(), name="apiserver")
            await api.wait_ready()
            await bootstrap(api.registries)
            endpoint = self.endpoint = Endpoint(api)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.endpoint = None
                endpoint.crashed.set_result(None)


class VerbTransport:
    """`client.verbs.Transport` straight onto a server's verbs, as `user`."""

    def __init__(self, api: Api, user: User) -> None:
        self._api = api
        self._user = user

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject:
        return _raw(await self._handle("get", address, options=dict(options)))

    async def list(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> RawList:
        options = _options(label_selector, field_selector, resource_version)
        answer = await self._handle("list", address, options=options)
        return RawList([RawObject(item.json, str(item.revision)) for item in answer.items], str(answer.revision))

    async def create(self, address: Address, json: bytes) -> RawObject:
        return _raw(await self._handle("create", address, json))

    async def update(self, address: Address, json: bytes) -> RawObject:
        return _raw(await self._handle("update", address, json))

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        return _raw(await self._handle("patch", address, patch, content_type))

    async def delete(self, address: Address, options: bytes) -> RawObject:
        return _raw(await self._handle("delete", address, options))

    async def watch(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> AsyncIterator[Sequence[RawEvent]]:
        options = _options(label_selector, field_selector, resource_version) | {"allowWatchBookmarks": "true"}
        watcher = await self._handle("watch", address, options=options)
        ready = asyncio.Event()
        watcher.on_ready = ready.set
        try:
            while True:
                ready.clear()
                batch = watcher.take()
                if batch:
                    yield [
                        RawEvent(EventType(each.type), each.stored.json if each.stored else b"", str(each.revision))
                        for each in batch
                    ]
                    continue
                if watcher.error is not None:
                    raise watcher.error
                await ready.wait()
        finally:
            watcher.close()

    async def discover(self) -> Sequence[ServedVersion]:
        return []

    async def close(self) -> None:
        return

    async def _handle(
        self,
        verb: str,
        address: Address,
        body: bytes = b"",
        content_type: str = "",
        options: dict[str, str] | None = None,
    ) -> Any:
        wanted = (address.group, address.version, address.plural)
        resource = by_gvr(*wanted) or self._api.registries.kinds.by_gvr(*wanted)
        if resource is None:
            raise NotFound("the server could not find the requested resource")
        selector = (options or {}).get("fieldSelector", "")
        info = asked_of(verb, address, selector)
        call = Call(
            info,
            credentials=InternalCredentials(user=self._user),
            resource=resource,
            body=body,
            content_type=content_type,
            options=options or {},
        )
        try:
            return await self._api.handle(call)
        except ApiError:
            raise
        except Exception as error:
            raise InternalError(f"{type(error).__name__}: {error}") from error


def _raw(answer: Any) -> RawObject:
    return RawObject(answer.json, answer.resource_version)


def _options(label_selector: str, field_selector: str, resource_version: str) -> dict[str, str]:
    named = {"labelSelector": label_selector, "fieldSelector": field_selector, "resourceVersion": resource_version}
    return {name: value for name, value in named.items() if value}
