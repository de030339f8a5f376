"""etcdserverpb.Watch: many watches over one stream.

A reader task takes requests; the stream's own task writes, so that what it sends is in one order: a watch's creation
before its events, and a progress notice only after every event up to its revision. A batch shared by many watches is
encoded once (`Batch.encoded`), and each response is that with its own few bytes of header put before it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator

from component import tracing
from proto.etcd import rpc_pb2
from store.auth.state import AuthRefused
from store.mvcc.index import FROM_KEY
from store.mvcc.revision import Compacted
from store.mvcc.watch import Batch, Interest, Watcher
from store.replica import Replica
from store.serve.server import Context, Services
from store.wire import event_to

FRAGMENT_BYTES = 1 << 20
"""Where the events of one batch are split for a watch that allows it."""
CONTROLS_MAX = 1024
"""Answers to creations and cancellations that may wait; then requests are no longer read."""
_PROGRESS_ID = -1
"""The watch id of an answer to a progress request, which is about every watch of the stream."""


class _Watch:
    """One watch of a stream."""

    __slots__ = ("may_fragment", "quiet", "wants_progress", "watcher")

    def __init__(self, watcher: Watcher, wants_progress: bool, may_fragment: bool) -> None:
        self.watcher = watcher
        self.wants_progress = wants_progress
        self.may_fragment = may_fragment
        self.quiet = True
        """Nothing was sent since the last round of progress notices."""


class WatchStream:
    """One client's stream of watches."""

    def __init__(self, replica: Replica, context: Context, progress_s: float) -> None:
        self._replica = replica
        self._context = context
        self._progress_s = progress_s
        self._watches: dict[int, _Watch] = {}
        self._ready: dict[int, None] = {}
        self._controls: deque[rpc_pb2.WatchResponse] = deque()
        self._wakened = asyncio.Event()
        self._drained = asyncio.Event()
        self._next_id = 0
        self._is_progress_asked = False
        self._is_progress_due = False

    async def run(self, requests: AsyncIterator[rpc_pb2.WatchRequest]) -> None:
        """Serve until the client goes away; one that has ended its requests is still told of events, as by etcd."""
        reader = asyncio.create_task(self._read(requests))
        notifier = asyncio.create_task(self._notify())
        reader.add_done_callback(lambda _: self._wakened.set())
        try:
            while True:
                await self._wakened.wait()
                self._wakened.clear()
                if reader.done():
                    reader.result()
                await self._send_what_is_there()
        finally:
            for task in (reader, notifier):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            for watch in self._watches.values():
                self._replica.state.watchers.remove(watch.watcher)

    # -- requests

    async def _read(self, requests: AsyncIterator[rpc_pb2.WatchRequest]) -> None:
        async for request in requests:
            match request.WhichOneof("request_union"):
                case "create_request":
                    await self._create(request.create_request)
                case "cancel_request":
                    self._cancel(request.cancel_request.watch_id)
                case "progress_request":
                    self._is_progress_asked = True
            self._wakened.set()
            while len(self._controls) > CONTROLS_MAX:
                self._drained.clear()
                await self._drained.wait()

    async def _create(self, request: rpc_pb2.WatchCreateRequest) -> None:
        key, range_end = request.key or FROM_KEY, request.range_end
        try:
            await self._replica.access.require_readable(key, range_end)
        except AuthRefused as error:
            code = "".join(map(str.capitalize, error.code.split("_")))
            self._refuse(f"rpc error: code = {code} desc = etcdserver: {error}")
            return
        if range_end and range_end != FROM_KEY and range_end <= key:
            self._refuse("mvcc: watcher range is empty")
            return
        watch_id = request.watch_id
        if watch_id in self._watches and watch_id != 0:
            self._refuse("mvcc: duplicate watch ID provided on the WatchStream")
            return
        if watch_id == 0:
            while self._next_id in self._watches:
                self._next_id += 1
            watch_id = self._next_id
            self._next_id += 1
        filters = request.filters
        interest = Interest(
            key,
            range_end,
            request.prev_kv,
            rpc_pb2.WatchCreateRequest.NOPUT in filters,
            rpc_pb2.WatchCreateRequest.NODELETE in filters,
        )

        def wake() -> None:
            self._ready[watch_id] = None
            self._wakened.set()

        watcher = self._replica.state.watchers.add(interest, max(0, request.start_revision), wake)
        self._watches[watch_id] = _Watch(watcher, request.progress_notify, request.fragment)
        header = self._replica.header()
        self._controls.append(rpc_pb2.WatchResponse(header=header, watch_id=watch_id, created=True))
        self._ready[watch_id] = None

    def _refuse(self, reason: str) -> None:
        self._controls.append(
            rpc_pb2.WatchResponse(
                header=self._replica.header(), watch_id=-1, created=True, canceled=True, cancel_reason=reason
            )
        )

    def _cancel(self, watch_id: int) -> None:
        watch = self._watches.pop(watch_id, None)
        if watch is not None:
            self._replica.state.watchers.remove(watch.watcher)
            header = self._replica.header()
            self._controls.append(rpc_pb2.WatchResponse(header=header, watch_id=watch_id, canceled=True))

    # -- responses

    async def _send_what_is_there(self) -> None:
        while True:
            while self._controls:
                await self._context.write(self._controls.popleft())
            self._drained.set()
            if self._ready:
                watch_id = next(iter(self._ready))
                del self._ready[watch_id]
                await self._send_next(watch_id)
            elif not await self._send_progress():
                return

    async def _send_next(self, watch_id: int) -> None:
        watch = self._watches.get(watch_id)
        if watch is None:
            return
        try:
            batch = self._replica.state.watchers.next(watch.watcher)
        except Compacted as error:
            del self._watches[watch_id]
            self._replica.state.watchers.remove(watch.watcher)
            self._controls.append(
                rpc_pb2.WatchResponse(
                    header=self._replica.header(0),
                    watch_id=watch_id,
                    canceled=True,
                    compact_revision=error.revision,
                )
            )
            return
        if batch is None:
            return
        watch.quiet = False
        self._ready[watch_id] = None  # behind the others: one that catches up must not hold them up
        for response in self._encode(watch_id, batch, watch.may_fragment):
            await self._context.write(response)

    def _encode(self, watch_id: int, batch: Batch, may_fragment: bool) -> Iterator[bytes]:
        if batch.encoded is None:
            events = [event_to(event) for event in batch.events]
            batch.encoded = rpc_pb2.WatchResponse(events=events, causes=_causes(batch)).SerializeToString()
        front = rpc_pb2.WatchResponse(header=self._replica.header(batch.last), watch_id=watch_id)
        if not may_fragment or len(batch.encoded) <= FRAGMENT_BYTES:
            yield front.SerializeToString() + batch.encoded
            return
        size_bytes = 0
        for event in batch.events:
            message = event_to(event)
            if size_bytes and size_bytes + message.ByteSize() > FRAGMENT_BYTES:
                front.fragment = True
                yield front.SerializeToString()
                del front.events[:]
                size_bytes = 0
            front.events.append(message)
            size_bytes += message.ByteSize()
        front.fragment = False
        yield front.SerializeToString()

    async def _send_progress(self) -> bool:
        """Send notices that are due; whether anything was sent, so that there may be more to do."""
        notices: list[rpc_pb2.WatchResponse] = []
        progress = self._replica.state.watchers.progress
        if self._is_progress_asked and all(progress(watch.watcher) for watch in self._watches.values()):
            self._is_progress_asked = False
            notices.append(rpc_pb2.WatchResponse(header=self._replica.header(), watch_id=_PROGRESS_ID))
        if self._is_progress_due:
            self._is_progress_due = False
            for watch_id, watch in self._watches.items():
                if watch.wants_progress and watch.quiet and progress(watch.watcher):
                    notices.append(rpc_pb2.WatchResponse(header=self._replica.header(), watch_id=watch_id))
                watch.quiet = True
        # Decided without awaiting: no event can have come between the check and the notice's revision.
        for notice in notices:
            await self._context.write(notice)
        return bool(notices)

    async def _notify(self) -> None:
        while True:
            await asyncio.sleep(self._progress_s)
            self._is_progress_due = True
            self._wakened.set()


def _causes(batch: Batch) -> list[rpc_pb2.Cause]:
    """Return which steps led to a batch's events, as far as any of them is being recorded."""
    found = {event.kv.mod_revision: tracing.causes.of(event.kv.mod_revision) for event in batch.events}
    return [rpc_pb2.Cause(revision=revision, traceparent=cause) for revision, cause in found.items() if cause]


def add_to(services: Services, replica: Replica, progress_s: float) -> None:
    """Add the service; `progress_s` is how often idle watches that ask for it are told how far they are."""

    async def watch(requests: AsyncIterator[rpc_pb2.WatchRequest], context: Context) -> None:
        await WatchStream(replica, context, progress_s).run(requests)

    services.add("etcdserverpb.Watch", {}, {"Watch": (watch, rpc_pb2.WatchRequest)})
