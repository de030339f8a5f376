"""The client's Transport, straight into an `apiserver.app.Api` in the same process: no sockets, no protobuf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from api.discover import by_gvr
from apiserver.app import Api, InternalCredentials
from apiserver.filters.request_info import of_resource
from apiserver.request import Call, RequestInfo, User
from client.verbs import Address, EventType, RawEvent, RawList, RawObject, ServedVersion

SUPERUSER = User("admin", groups=("system:masters", "system:authenticated"))


def asked_of(verb: str, address: Address, field_selector: str) -> RequestInfo:
    """Return what a request to an address is about, as the API server's doors find it out."""
    return of_resource(
        verb,
        group=address.group,
        version=address.version,
        plural=address.plural,
        namespace=address.namespace,
        name=address.name,
        subresource=address.subresource,
        field_selector=field_selector,
    )


class LocalTransport:
    """Calls the API's chain as `user`."""

    def __init__(self, api: Api, user: User = SUPERUSER) -> None:
        self._api = api
        self._credentials = InternalCredentials(user=user)
        self.elsewhere: Sequence[ServedVersion] = ()
        """What other servers are said to serve."""

    def _call(self, verb: str, address: Address, body: bytes = b"", content_type: str = "", **options: str) -> Call:
        info = asked_of(verb, address, options.get("fieldSelector", ""))
        return Call(
            info,
            credentials=self._credentials,
            resource=by_gvr(address.group, address.version, address.plural),
            body=body,
            content_type=content_type,
            options={"fieldValidation": "Ignore"} | {key: value for key, value in options.items() if value},
        )

    async def _answer(self, call: Call) -> RawObject:
        answer = await self._api.handle(call)
        return RawObject(answer.json, answer.resource_version)

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject:
        return await self._answer(self._call("get", address, **options))

    async def list(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> RawList:
        options = {"labelSelector": label_selector, "fieldSelector": field_selector}
        answer = await self._api.handle(self._call("list", address, resourceVersion=resource_version, **options))
        items = [RawObject(stored.json, str(stored.revision)) for stored in answer.items]
        return RawList(items, str(answer.revision))

    async def create(self, address: Address, json: bytes) -> RawObject:
        return await self._answer(self._call("create", address, json))

    async def update(self, address: Address, json: bytes) -> RawObject:
        return await self._answer(self._call("update", address, json))

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        return await self._answer(self._call("patch", address, patch, content_type))

    async def delete(self, address: Address, options: bytes) -> RawObject:
        return await self._answer(self._call("delete", address, options))

    async def watch(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> AsyncIterator[Sequence[RawEvent]]:
        options = {"labelSelector": label_selector, "fieldSelector": field_selector, "allowWatchBookmarks": "true"}
        call = self._call("watch", address, resourceVersion=resource_version, **options)
        watcher = await self._api.handle(call)
        ready = asyncio.Event()
        watcher.on_ready = ready.set
        try:
            while True:
                taken = watcher.take()
                if taken:
                    yield [
                        RawEvent(EventType(one.type), one.stored.json if one.stored else b"", str(one.revision))
                        for one in taken
                    ]
                    continue
                if watcher.error is not None:
                    raise watcher.error
                await ready.wait()
                ready.clear()
        finally:
            watcher.close()

    async def discover(self) -> Sequence[ServedVersion]:
        return self.elsewhere

    async def close(self) -> None:
        pass
