"""One client's watches, all on one bidirectional stream.

Batches are put together from bytes: an event is serialised once for all watches of all clients (`registry.fanout`
keeps it), and a batch is the watch's number followed by such events. A stream that its client doesn't read lets
events pile up, and the watcher's byte budget ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc.aio

from api.errors import ApiError
from api.protobuf_writer import varint
from apiserver.grpc import status
from apiserver.grpc.calls import call_of, credentials_of, remote_of
from apiserver.grpc.relayed_watch import RelayedWatch
from apiserver.registry.fanout import ADDED, BOOKMARK, DELETED, MODIFIED, Delivery, Watcher
from apiserver.request import Call, Credentials, Handler
from component import tracing
from proto.steersman.v1 import resources_pb2 as pb

BATCH_BYTES_MAX: Final = 1024 * 1024
"""A batch that has grown to this is sent; with the few events that it may be over, it stays below gRPC's limit."""
_TYPES: Final = {
    ADDED: pb.WatchEvent.ADDED,
    MODIFIED: pb.WatchEvent.MODIFIED,
    DELETED: pb.WatchEvent.DELETED,
    BOOKMARK: pb.WatchEvent.BOOKMARK,
}
_EVENTS_FIELD: Final = b"\x12"
"""Tag of WatchBatch.events: field 2, length-delimited."""
_TAKE_MAX: Final = 8


class ProtobufEvents:
    """Encodes an event as one element of WatchBatch.events, which is a repeated field."""

    label = "protobuf"

    def frame(self, delivery: Delivery) -> bytes:
        """Return the event with its tag and length."""
        json = delivery.stored.json if delivery.stored is not None else b""
        cause = tracing.causes.of(delivery.revision)
        return _element(
            pb.WatchEvent(
                type=_TYPES[delivery.type], json=json, resource_version=str(delivery.revision), traceparent=cause
            )
        )


_EVENTS: Final = ProtobufEvents()


def _element(event: pb.WatchEvent) -> bytes:
    encoded = event.SerializeToString()
    return _EVENTS_FIELD + varint(len(encoded)) + encoded


def _frame(event: Delivery | pb.WatchEvent) -> bytes:
    return event.frame(_EVENTS) if isinstance(event, Delivery) else _element(event)


class WatchStream:
    """The watches of one stream."""

    def __init__(self, handle: Handler, credentials: Credentials, remote: str) -> None:
        self._handle = handle
        self._credentials = credentials
        self._remote = remote
        self._watchers: dict[int, Watcher | RelayedWatch] = {}
        self._calls: dict[int, Call] = {}
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._ready: dict[int, None] = {}
        """Watches with something to send, in the order in which they got it."""
        self._ended: list[bytes] = []
        self._wake = asyncio.Event()
        self._is_closed = False

    async def serve(self, commands: AsyncIterator[pb.WatchCommand]) -> AsyncIterator[bytes]:
        """Yield encoded WatchBatches until the client goes away."""
        reader = asyncio.create_task(self._read(commands))
        try:
            while True:
                while self._ended:
                    yield self._ended.pop(0)
                batch = self._next_batch()
                if batch is not None:
                    yield batch
                    continue
                if self._is_closed:
                    return
                await self._wake.wait()
                self._wake.clear()
        finally:
            reader.cancel()
            for task in self._starting.values():
                task.cancel()
            for number in list(self._watchers):
                self._remove(number)

    def _next_batch(self) -> bytes | None:
        while self._ready:
            number = next(iter(self._ready))
            watcher = self._watchers.get(number)
            if watcher is None:
                del self._ready[number]
                continue
            head = b"\x08" + varint(number)
            frames, size = [head], 0
            while watcher.has_pending and size < BATCH_BYTES_MAX:
                taken = list(map(_frame, watcher.take(_TAKE_MAX)))
                frames += taken
                size += sum(map(len, taken))
            if not watcher.has_pending:
                del self._ready[number]
                if watcher.error is not None:
                    self._end(number, watcher.error)
            if len(frames) > 1:
                return b"".join(frames)
        return None

    async def _read(self, commands: AsyncIterator[pb.WatchCommand]) -> None:
        try:
            async for command in commands:
                if command.WhichOneof("command") == "add":
                    number = command.add.watch
                    self._starting[number] = asyncio.create_task(self._start(command.add))
                else:
                    self._remove(command.remove.watch)
        finally:
            self._is_closed = True
            self._wake.set()

    async def _start(self, add: pb.WatchAdd) -> None:
        number = add.watch
        call = call_of(
            "watch",
            add,
            self._credentials,
            remote=self._remote,
            labelSelector=add.label_selector,
            fieldSelector=add.field_selector,
            resourceVersion=add.resource_version,
            allowWatchBookmarks="true",
        )
        try:
            watcher: Watcher | RelayedWatch = await self._handle(call)
        except ApiError as error:
            self._ended.append(pb.WatchBatch(watch=number, status=status.encode(error)).SerializeToString())
            self._wake.set()
            return
        finally:
            self._starting.pop(number, None)

        def ready() -> None:
            self._ready[number] = None
            self._wake.set()

        self._watchers[number] = watcher
        self._calls[number] = call
        watcher.on_ready = ready
        ready()

    def _remove(self, number: int) -> None:
        starting = self._starting.pop(number, None)
        if starting is not None:
            starting.cancel()
        watcher = self._watchers.pop(number, None)
        if watcher is not None:
            watcher.close()
            self._calls.pop(number).finish()

    def _end(self, number: int, error: ApiError) -> None:
        self._remove(number)
        self._ended.append(pb.WatchBatch(watch=number, status=status.encode(error)).SerializeToString())
        self._wake.set()


async def serve(
    handle: Handler, commands: AsyncIterator[pb.WatchCommand], context: grpc.aio.ServicerContext[Any, Any]
) -> AsyncIterator[bytes]:
    """Serve the Watch method, asking `handle` for each watch; yields WatchBatches already serialised."""
    stream = WatchStream(handle, credentials_of(context), remote_of(context))
    async for batch in stream.serve(commands):
        yield batch
