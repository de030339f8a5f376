"""steersman.v1.Pipeline: batches of transactions and reads over one stream, each answered on its own.

Requests of one message start in their order and so share a log entry; answers that are ready together share a message.
Where users and roles are enabled, it is for those alone whose certificate lets them do everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from component import tracing
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store.encoding import field, varint
from store.http2.call import Code
from store.mvcc.kv import RangeResult
from store.mvcc.revision import Compacted
from store.replica import Proposal, Replica
from store.serve.errors import status_or_internal
from store.serve.server import Context, Services
from store.wire import kv_to, range_from

_REPLIES = store_pb2.Replies.REPLIES_FIELD_NUMBER
_TXN, _COMPACT = store_pb2.Reply.TXN_FIELD_NUMBER, store_pb2.Reply.COMPACT_FIELD_NUMBER
_FAILURE = store_pb2.Reply.FAILURE_FIELD_NUMBER
IN_FLIGHT_MAX = 8192
"""Requests of one stream under way; then no more are read."""
REPLIES_BYTES = 1 << 20
"""About how large a message of replies, and a piece of a long range, may get."""


class Exchange:
    """One client's stream."""

    def __init__(self, replica: Replica, context: Context) -> None:
        self._replica = replica
        self._context = context
        self._replies: list[bytes] = []
        """Each as a field of `Replies`: a message of them is what they are, one after the other."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
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
            self._take(batch)
            while self._under_way > IN_FLIGHT_MAX:
                self._eased.clear()
                await self._eased.wait()

    def _take(self, batch: store_pb2.Requests) -> None:
        """Start what a message asks for: its writes together, its reads together, all else each by itself."""
        proposals: list[tuple[int, Proposal]] = []
        reads: list[store_pb2.Request] = []
        for request in batch.requests:
            kind = request.WhichOneof("request")
            try:
                self._replica.access.require_trusted()
                if kind == "txn":
                    id = store_pb2.RequestId(client=batch.client, sequence=request.id, again=request.again)
                    proposal = self._replica.begin_txn(request.txn, id, request.traceparent)
                    if proposal is None:
                        self._start(1, self._do_txn(request.id, request.txn, id))
                    else:
                        proposals.append((request.id, proposal))
                        if request.traceparent and tracing.is_on():
                            self._record(proposal, request.traceparent)
                elif kind == "range" and not request.range.serializable:
                    reads.append(request)
                else:
                    self._start(1, self._do(request))
            except Exception as error:
                self._fail(request.id, error)
                self._wakened.set()
        if proposals:
            self._start(len(proposals), self._end_txns(proposals))
        if reads:
            self._start(len(reads), self._do_ranges(reads))

    def _record(self, proposal: Proposal, parent: str) -> None:
        """Record, once a write is answered, how long agreeing on it took: synced to a majority's disks, and applied."""
        began_ns, member = time.time_ns(), self._replica.name

        def answered(answer: asyncio.Future[object]) -> None:
            tracing.record("agree and apply", parent, began_ns, kind="server", store__member=member)

        proposal.answer.add_done_callback(answered)

    def _start(self, count: int, work: Coroutine[Any, Any, None]) -> None:
        """Have `count` requests answered by a task."""
        self._under_way += count
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def answered(task: asyncio.Task[None]) -> None:
            self._under_way -= count
            self._tasks.discard(task)
            self._wakened.set()
            self._eased.set()

        task.add_done_callback(answered)

    async def _end_txns(self, proposals: list[tuple[int, Proposal]]) -> None:
        """Answer writes in the order they were proposed in, which is that in which they are applied."""
        for id, proposal in proposals:
            if not proposal.answer.done() and self._replies:
                self._wakened.set()  # what is there need not wait for what is not
            try:
                self._reply(id, _TXN, await self._replica.end_txn(proposal))
            except asyncio.CancelledError:
                for _, each in proposals:
                    each.answer.cancel()
                raise
            except Exception as error:
                self._fail(id, error)

    async def _do_txn(self, id: int, txn: rpc_pb2.TxnRequest, request_id: store_pb2.RequestId) -> None:
        try:
            self._reply(id, _TXN, await self._replica.txn(txn, request_id))
        except Exception as error:
            self._fail(id, error)

    async def _do_ranges(self, requests: list[store_pb2.Request]) -> None:
        """Answer linearizable reads: what makes one of them recent makes all of them so."""
        problem: Exception | None = None
        try:
            await self._replica.read_index()
        except Exception as error:
            problem = error
        for request in requests:
            try:
                if problem is not None:
                    raise problem
                result = await self._replica.range(range_from(request.range), serializable=True)
                self._replies.extend(_range_replies(request.id, result))
            except Exception as error:
                self._fail(request.id, error)

    async def _do(self, request: store_pb2.Request) -> None:
        try:
            match request.WhichOneof("request"):
                case "range":
                    result = await self._replica.range_request(request.range)
                    self._replies.extend(_range_replies(request.id, result))
                case "compact":
                    await self._replica.compact(request.compact.revision)
                    self._reply(request.id, _COMPACT, b"")
                case _:
                    message = "pipeline: request of a kind this store lacks"
                    failure = store_pb2.Failure(code=Code.UNIMPLEMENTED, message=message)
                    self._reply(request.id, _FAILURE, failure.SerializeToString())
        except Exception as error:
            self._fail(request.id, error)

    def _reply(self, id: int, kind: int, answer: bytes) -> None:
        """Add a reply whose `kind` of answer is encoded already."""
        self._replies.append(field(_REPLIES, (b"\x08" + varint(id) if id else b"") + field(kind, answer)))

    def _fail(self, id: int, error: Exception) -> None:
        self._reply(id, _FAILURE, _failure(error).SerializeToString())

    async def _send(self) -> None:
        while self._replies:
            size_bytes = taken = 0
            for reply in self._replies:
                if size_bytes >= REPLIES_BYTES:
                    break
                size_bytes += len(reply)
                taken += 1
            batch = b"".join(self._replies[:taken])
            del self._replies[:taken]
            await self._context.write(batch)


def _range_replies(id: int, result: RangeResult) -> Iterator[bytes]:
    """Yield a range's answer in pieces, so that a long one neither hits a size limit nor holds up the others."""
    reply = store_pb2.Reply(id=id)
    size_bytes = 0
    for kv in result.kvs:
        if size_bytes >= REPLIES_BYTES:
            reply.continues = True
            yield field(_REPLIES, reply.SerializeToString())
            reply, size_bytes = store_pb2.Reply(id=id), 0
        reply.range.kvs.append(kv_to(kv))
        size_bytes += len(kv.key) + len(kv.value)
    reply.range.count, reply.range.more = result.count, result.more
    reply.range.header.revision = result.revision
    yield field(_REPLIES, reply.SerializeToString())


def _failure(error: Exception) -> store_pb2.Failure:
    code, message = status_or_internal(error)
    compact_revision = error.revision if isinstance(error, Compacted) else 0
    return store_pb2.Failure(code=code, message=message, compact_revision=compact_revision)


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""

    async def exchange(requests: AsyncIterator[store_pb2.Requests], context: Context) -> None:
        await Exchange(replica, context).run(requests)

    services.add("steersman.v1.Pipeline", {}, {"Exchange": (exchange, store_pb2.Requests)})
