"""steersman.v1.Pipeline: batches of transactions and reads over one stream, each answered on its own.

Requests of one message start in their order and so share a log entry; answers that are ready together share a message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store.http2.call import Code
from store.mvcc.kv import RangeResult
from store.mvcc.revision import Compacted
from store.replica import Replica
from store.serve.errors import status_or_internal
from store.serve.server import Context, Services
from store.wire import kv_to

IN_FLIGHT_MAX = 8192
"""Requests of one stream under way; then no more are read."""
REPLIES_BYTES = 1 << 20
"""About how large a message of replies, and a piece of a long range, may get."""


class Exchange:
    """One client's stream."""

    def __init__(self, replica: Replica, context: Context) -> None:
        self._replica = replica
        self._context = context
        self._replies: list[store_pb2.Reply] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wakened = asyncio.Event()
        self._eased = asyncio.Event()

    async def run(self, requests: AsyncIterator[store_pb2.Requests]) -> None:
        """Serve until the client goes away or has ended the stream and been answered."""
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(lambda _: self._wakened.set())
        try:
            while not (reader.done() and not self._tasks and not self._replies):
                await self._wakened.wait()
                self._wakened.clear()
                await self._send()
            reader.result()
        finally:
            reader.cancel()
            for task in self._tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await reader

    async def _read(self, requests: AsyncIterator[store_pb2.Requests]) -> None:
        async for batch in requests:
            for request in batch.requests:
                task = asyncio.create_task(self._answer(request, batch.client))
                self._tasks.add(task)
                task.add_done_callback(self._answered)
            while len(self._tasks) > IN_FLIGHT_MAX:
                self._eased.clear()
                await self._eased.wait()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wakened.set()
        self._eased.set()

    async def _answer(self, request: store_pb2.Request, client: int) -> None:
        try:
            match request.WhichOneof("request"):
                case "txn":
                    id = store_pb2.RequestId(client=client, sequence=request.id, again=request.again)
                    reply = store_pb2.Reply(id=request.id)
                    reply.txn.MergeFromString(await self._replica.txn(request.txn, id))
                    self._replies.append(reply)
                case "range":
                    result = await self._replica.range_request(request.range)
                    self._replies.extend(_range_replies(request.id, result))
                case "compact":
                    await self._replica.compact(request.compact.revision)
                    self._replies.append(store_pb2.Reply(id=request.id, compact=rpc_pb2.CompactionResponse()))
                case _:
                    message = "pipeline: request of a kind this store lacks"
                    failure = store_pb2.Failure(code=Code.UNIMPLEMENTED, message=message)
                    self._replies.append(store_pb2.Reply(id=request.id, failure=failure))
        except Exception as error:
            self._replies.append(store_pb2.Reply(id=request.id, failure=_failure(error)))

    async def _send(self) -> None:
        while self._replies:
            batch = store_pb2.Replies()
            size_bytes = 0
            taken = 0
            for reply in self._replies:
                if size_bytes >= REPLIES_BYTES:
                    break
                batch.replies.append(reply)
                size_bytes += reply.ByteSize()
                taken += 1
            del self._replies[:taken]
            await self._context.write(batch)


def _range_replies(id: int, result: RangeResult) -> Iterator[store_pb2.Reply]:
    """Yield a range's answer in pieces, so that a long one neither hits a size limit nor holds up the others."""
    reply = store_pb2.Reply(id=id)
    size_bytes = 0
    for kv in result.kvs:
        if size_bytes >= REPLIES_BYTES:
            reply.continues = True
            yield reply
            reply, size_bytes = store_pb2.Reply(id=id), 0
        reply.range.kvs.append(kv_to(kv))
        size_bytes += len(kv.key) + len(kv.value)
    reply.range.count, reply.range.more = result.count, result.more
    reply.range.header.revision = result.revision
    yield reply


def _failure(error: Exception) -> store_pb2.Failure:
    code, message = status_or_internal(error)
    compact_revision = error.revision if isinstance(error, Compacted) else 0
    return store_pb2.Failure(code=code, message=message, compact_revision=compact_revision)


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""

    async def exchange(requests: AsyncIterator[store_pb2.Requests], context: Context) -> None:
        await Exchange(replica, context).run(requests)

    services.add("steersman.v1.Pipeline", {}, {"Exchange": (exchange, store_pb2.Requests)})
