"""What the apiserver imports: the `Store` face, its values and errors, and `StoreClient`, which speaks gRPC.

`StoreClient` sends through `Pipeline` (many requests a message, one stream) where the server has it, and through
etcd's plain KV where it doesn't, so a real etcd cluster can stand in the store's place. Watches are etcd's either way.
`store.local.LocalStore` is the same face over MVCC in memory.

Of several members it talks to one, and moves to another within a second when that one is gone, silent or has no leader.
What was unanswered then is asked again there: reads, which do no harm, and writes through `Pipeline`, whose ids make
them happen once however often they are asked for. Nothing else is ever retried behind the caller's back.

What callers must know of failures: `Unavailable` means that the outcome is *not known* (or that there is no quorum).
A write may have happened; read before trying again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import grpc
import grpc.aio
import msgspec

from component import tracing
from component.serve import Identity
from proto.etcd import kv_pb2, rpc_pb2
from proto.steersman.v1 import store_pb2
from store import wire
from store.encoding import field
from store.endpoints import Endpoint, Endpoints
from store.mvcc.kv import (
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRange,
    DeleteResult,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Txn,
    TxnResult,
    prefix_end,
)
from store.mvcc.revision import Compacted, Event, FutureRevision, KeyValue, Revision

__all__ = [
    "Compacted",
    "Compare",
    "CompareResult",
    "CompareTarget",
    "Conflict",
    "DeleteRange",
    "DeleteResult",
    "Event",
    "FutureRevision",
    "KeyValue",
    "Op",
    "OutcomeLost",
    "Put",
    "PutResult",
    "Range",
    "RangeResult",
    "Refused",
    "Revision",
    "Store",
    "StoreClient",
    "StoreMember",
    "StoreStatus",
    "Txn",
    "TxnResult",
    "Unavailable",
    "Watch",
    "WatchBatch",
    "prefix_end",
]


class Conflict(Exception):
    """The key was not at the revision the write was conditional on; nothing was written."""

    def __init__(self, key: bytes, current: KeyValue | None) -> None:
        where = f"at revision {current.mod_revision}" if current else "not there"
        super().__init__(f"{key.decode(errors='replace')} is {where}")
        self.key = key
        self.current = current
        """The key as it is, read in the same transaction; None where it does not exist."""


class Unavailable(Exception):
    """No answer: the store can't be reached, has no quorum, or went away. A write may or may not have happened."""


class OutcomeLost(Unavailable):
    """The store can't tell any more whether the write happened; asking again would not help."""


class Refused(Exception):
    """The store refused the request and did nothing; `code` is the gRPC status code's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class WatchBatch(msgspec.Struct, frozen=True):
    """Events in revision order, and how far they reach. A progress notice has no events."""

    events: tuple[Event, ...]
    revision: Revision
    """Everything the watch asked for up to and including this revision has now been handed over."""


class StoreStatus(msgspec.Struct, frozen=True):
    """How the member that answered is doing."""

    version: str
    revision: Revision
    db_size_bytes: int
    leader: int
    """Member id of the leader; 0 where none is known."""
    raft_term: int
    raft_index: int
    has_trusted_progress: bool
    """Whether a progress notice is never ahead of events still to come (etcd: from 3.4.31 and 3.5.13 on)."""


class StoreMember(msgspec.Struct, frozen=True):
    """A member as the cluster lists it."""

    id: int
    name: str
    """Empty until it has started."""
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


class Watch(Protocol):
    """A running watch: iterate for batches; leave with `close`, or by breaking out of `async with`."""

    def __aiter__(self) -> AsyncIterator[WatchBatch]:
        """Iterate over batches.

        Raises, from the iteration:
            Compacted: the start revision is forgotten; list again and watch from there.
            Unavailable: the watch broke; start another from the last batch's revision + 1.
        """
        ...

    async def request_progress(self) -> None:
        """Ask for a progress notice soon: a batch without events at the store's present revision."""
        ...

    async def close(self) -> None:
        """End the watch; safe to call twice."""
        ...

    async def __aenter__(self) -> Watch:
        """Return self."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        ...


class Store(Protocol):
    """The key space through time, as the apiserver sees it.

    Any method may raise Unavailable or Refused besides what it names.
    """

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult:
        """Read one key, or [key, range_end) in key order; `prefix_end(prefix)` is the end of a prefix.

        Linearizable unless `serializable`, which may be stale. `revision` 0 reads the present.

        Raises:
            Compacted, FutureRevision: `revision` can't be read.
        """
        ...

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do `success` if every compare holds, else `failure`, at one revision."""
        ...

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write `key` if it is still at `mod_revision` (0: does not exist); return the new revision.

        Raises:
            Conflict: it is not; carries what is there.
        """
        ...

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete `key` if it is still at `mod_revision`; return the revision of the delete.

        Raises:
            Conflict: it is not; carries what is there (None: it is gone).
        """
        ...

    def watch(
        self,
        prefix: bytes,
        start_revision: int = 0,
        *,
        prev_kv: bool = True,
        progress: bool = True,
    ) -> Watch:
        """Watch every key under `prefix` from `start_revision` on (0: from now on).

        With `progress` the store sends a progress notice every few seconds when idle.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`.

        Raises:
            Compacted: that is done already. FutureRevision: it has not happened yet.
        """
        ...

    async def status(self) -> StoreStatus:
        """Ask the member how it is doing."""
        ...

    async def close(self) -> None:
        """Release connections; safe to call twice."""
        ...


def put_if_txn(key: bytes, value: bytes, mod_revision: int, lease: int) -> Txn:
    """Return the transaction behind `put_if`."""
    unchanged = Compare(key, CompareTarget.MOD, CompareResult.EQUAL, mod_revision)
    return Txn((unchanged,), (Put(key, value, lease),), (Range(key),))


def delete_if_txn(key: bytes, mod_revision: int) -> Txn:
    """Return the transaction behind `delete_if`."""
    unchanged = Compare(key, CompareTarget.MOD, CompareResult.EQUAL, mod_revision)
    return Txn((unchanged,), (DeleteRange(key),), (Range(key),))


def revision_or_conflict(key: bytes, result: TxnResult) -> Revision:
    """Return the revision of a conditional write that happened, or raise Conflict with what is there."""
    if result.succeeded:
        return result.revision
    (current,) = result.results
    assert isinstance(current, RangeResult)
    raise Conflict(key, current.kvs[0] if current.kvs else None)


# -- over gRPC

REQUEST_TIMEOUT_S = 10.0
PAGE_KEYS = 2000
"""How many keys a range without a limit asks plain KV for at a time."""
BATCH_REQUESTS_MAX = 512
BATCH_BYTES = 1 << 20
"""About how large one message of requests may get."""
IN_FLIGHT_MAX = 4096
"""Requests unanswered; more wait their turn."""
PING_AFTER_S = 0.4
"""A member that owes answers and sends nothing for so long is asked whether it is there (if there are others)."""
SILENCE_MAX_S = 0.8
"""One that sends nothing for so long is left for another."""
WRITE_WITHIN_S = 2.0
"""A member that has not taken a watch's request in so long is left for another."""
RETRY_WAIT_S = 0.05


class StoreClient:
    """`Store` over gRPC, to this store or to etcd. Made and used on one event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        identity: Identity,
        *,
        server_name: str | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Prepare to connect; nothing is sent until the first request.

        Args:
            endpoints: host:port of the members.
            identity: our certificate and key, and the CA that signed theirs.
            server_name: the name their certificates carry, where it differs from the host dialled.
            timeout_s: how long a request may take before it is Unavailable.
        """
        self._endpoints = Endpoints(endpoints, identity, server_name)
        self._timeout_s = timeout_s
        self._pipe: _Pipe | None = None
        self._client = secrets.randbits(63) | 1
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._has_pipeline = True

    async def follow_certificate(self) -> None:
        """Use our certificate, and the CA we believe members by, as they are renewed, until cancelled."""
        await self._endpoints.follow_certificate()

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult:
        """Read one key or a range."""
        request = rpc_pb2.RangeRequest(
            key=key,
            range_end=range_end,
            limit=limit,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
        )
        with tracing.span("store range", kind="client"):
            asked = store_pb2.Request(range=request, traceparent=tracing.traceparent())
            replies = await self._pipelined(asked)
        if replies is None:
            return await self._range_in_pages(request)
        last = replies[-1].range
        kvs = tuple(wire.kv_from(kv) for reply in replies for kv in reply.range.kvs)
        return RangeResult(kvs, last.count, last.more, Revision(last.header.revision))

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do a transaction."""
        return await self._txn(Txn(tuple(compares), tuple(success), tuple(failure)))

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write `key` if it is at `mod_revision`, else raise Conflict."""
        return revision_or_conflict(key, await self._txn(put_if_txn(key, value, mod_revision, lease)))

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete `key` if it is at `mod_revision`, else raise Conflict."""
        return revision_or_conflict(key, await self._txn(delete_if_txn(key, mod_revision)))

    def watch(
        self, prefix: bytes, start_revision: int = 0, *, prev_kv: bool = True, progress: bool = True
    ) -> ClientWatch:
        """Watch every key under `prefix`; one stream each."""
        create = rpc_pb2.WatchCreateRequest(
            key=prefix or b"\x00",
            range_end=prefix_end(prefix),
            start_revision=start_revision,
            prev_kv=prev_kv,
            progress_notify=progress,
            fragment=True,
        )
        return ClientWatch(self._endpoints, create)

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`."""
        request = rpc_pb2.CompactionRequest(revision=revision)
        if await self._pipelined(store_pb2.Request(compact=request)) is None:
            await self._plain("Compact", request)

    async def status(self) -> StoreStatus:
        """Ask a member how it is doing."""
        status = await self._call(
            "/etcdserverpb.Maintenance/Status", rpc_pb2.StatusRequest(), rpc_pb2.StatusResponse, is_read=True
        )
        return StoreStatus(
            status.version,
            Revision(status.header.revision),
            status.dbSize,
            status.leader,
            status.raftTerm,
            status.raftIndex,
            _trusts_progress(status.version),
        )

    # -- members, for whoever operates the store

    async def members(self) -> list[StoreMember]:
        """Return the members, as the one that answers knows them."""
        path = "/etcdserverpb.Cluster/MemberList"
        answer = await self._call(path, rpc_pb2.MemberListRequest(), rpc_pb2.MemberListResponse, is_read=True)
        return [_member_from(member) for member in answer.members]

    async def add_member(self, peer_url: str, *, as_learner: bool = False) -> StoreMember:
        """Add the member that will listen at `peer_url`; not as a learner, it is promoted once it is in sync.

        Raises:
            Refused: it can't be now, and why. Unavailable: look at `members` before asking again.
        """
        request = rpc_pb2.MemberAddRequest(peerURLs=[peer_url], isLearner=as_learner)
        path = "/etcdserverpb.Cluster/MemberAdd"
        answer = await self._call(path, request, rpc_pb2.MemberAddResponse, is_read=False)
        return _member_from(answer.member)

    async def remove_member(self, id: int) -> None:
        """Remove a member; a leader hands over first.

        Raises:
            Refused: there is none of that id, or too few would be left. Unavailable: look before asking again.
        """
        path = "/etcdserverpb.Cluster/MemberRemove"
        await self._call(path, rpc_pb2.MemberRemoveRequest(ID=id), rpc_pb2.MemberRemoveResponse, is_read=False)

    async def close(self) -> None:
        """Close the connection; what is unanswered ends in Unavailable."""
        if self._pipe is not None:
            await self._pipe.close()
        await self._endpoints.close()

    # -- one way or the other

    async def _txn(self, txn: Txn) -> TxnResult:
        request = store_pb2.Request()
        request.txn.SetInParent()
        wire.txn_to(txn, request.txn)
        with tracing.span("store txn", kind="client"):
            request.traceparent = tracing.traceparent()
            replies = await self._pipelined(request)
        response = replies[0].txn if replies else await self._plain("Txn", request.txn)
        return wire.txn_result_from(response)

    async def _pipelined(self, request: store_pb2.Request) -> list[store_pb2.Reply] | None:
        """Return the replies to a request; None where the server has no Pipeline, and so did nothing."""
        if not self._has_pipeline:
            return None
        request.id = next(self._ids)
        problem: Exception | None = None
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                while True:
                    pipe = self._open_pipe()
                    try:
                        return _checked(await pipe.ask(request))
                    except OutcomeLost:
                        raise
                    except (Unavailable, _NotDone) as error:
                        problem = error
                        # Ranges and compactions may be repeated; transactions carry an id that makes it safe.
                        request.again = request.again or not isinstance(error, _NotDone)
                        self._endpoints.leave(pipe.endpoint)
                    await asyncio.sleep(RETRY_WAIT_S)
        except TimeoutError:
            why = f" ({problem})" if problem else ""
            message = f"the store did not answer in {self._timeout_s:g} s: whether it happened is not known{why}"
            raise Unavailable(message) from None
        except _NoPipeline:
            if problem is not None and request.HasField("txn"):
                # Asked of one member that has it, and then of one that has not: there is no telling.
                raise Unavailable(f"{problem}: whether it happened is not known") from None
            self._has_pipeline = False
            return None

    def _open_pipe(self) -> _Pipe:
        endpoint = self._endpoints.current
        if self._pipe is None or self._pipe.is_broken or self._pipe.endpoint is not endpoint:
            if self._pipe is not None:
                self._pipe.abandon()
            self._pipe = _Pipe(endpoint, self._client, self._endpoints.are_several)
        return self._pipe

    async def _plain(self, method: str, request: Any) -> Any:
        return await self._call(f"/etcdserverpb.KV/{method}", request, _KV_RESPONSES[method], is_read=method == "Range")

    async def _call(self, path: str, request: Any, response: Any, *, is_read: bool) -> Any:
        """Ask one member; a read, of the next one where that one is gone."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            endpoint = self._endpoints.current
            left_s = deadline - asyncio.get_running_loop().time()
            patience_s = min(left_s, self._timeout_s / 3) if is_read and self._endpoints.are_several else left_s
            try:
                ask = endpoint.channel.unary_unary(path, _serialize, response.FromString)
                return await ask(request, timeout=max(0.05, patience_s))
            except grpc.aio.AioRpcError as error:
                problem = _error_of(error.code(), error.details() or "")
                if isinstance(problem, Unavailable):
                    self._endpoints.leave(endpoint)
                    if is_read and self._endpoints.are_several and asyncio.get_running_loop().time() < deadline:
                        await asyncio.sleep(RETRY_WAIT_S)
                        continue
                raise problem from None

    async def _range_in_pages(self, request: rpc_pb2.RangeRequest) -> RangeResult:
        """Read a range from plain KV, in pages of one revision where no limit was asked for."""
        if request.limit or request.count_only or not request.range_end:
            response = await self._plain("Range", request)
            return wire.range_result_from(response, response.header.revision)
        kvs: list[KeyValue] = []
        page = rpc_pb2.RangeRequest()
        page.CopyFrom(request)
        page.limit = PAGE_KEYS
        count = 0
        while True:
            response = await self._plain("Range", page)
            kvs += map(wire.kv_from, response.kvs)
            count = count or response.count
            page.revision = page.revision or response.header.revision
            if not response.more:
                return RangeResult(tuple(kvs), count, False, Revision(page.revision))
            page.key = response.kvs[-1].key + b"\x00"


class _NoPipeline(Exception):
    """The server does not have Pipeline."""


class _NotDone(Exception):
    """The member could not take the request, and did nothing: it has no leader."""


def _checked(replies: list[store_pb2.Reply]) -> list[store_pb2.Reply]:
    """Return the replies to a request, or raise what they say went wrong."""
    last = replies[-1]
    if not last.HasField("failure"):
        return replies
    failure = last.failure
    code = _CODES[failure.code]
    if code == grpc.StatusCode.UNAVAILABLE and failure.message.endswith("no leader"):
        raise _NotDone(failure.message)
    if code == grpc.StatusCode.ABORTED:
        raise OutcomeLost(failure.message)
    raise _error_of(code, failure.message, failure.compact_revision)


class _Pipe:
    """One Pipeline stream: what is asked in one turn of the loop goes in one message."""

    def __init__(self, endpoint: Endpoint, client: int, is_watched: bool) -> None:
        """Open the stream.

        Args:
            endpoint: the member to ask.
            client: this client's number.
            is_watched: whether to give up on the member when it falls silent.
        """
        self.endpoint = endpoint
        open_stream = endpoint.channel.stream_stream(
            "/steersman.v1.Pipeline/Exchange", _serialize, store_pb2.Replies.FromString
        )
        self._call: Any = open_stream()
        self._heard_at = asyncio.get_running_loop().time()
        self._signature = store_pb2.Requests(client=client).SerializeToString()
        self._queue: list[bytes] = []
        """Requests, each as a field of `Requests`."""
        self._waiting: dict[int, tuple[asyncio.Future[list[store_pb2.Reply]], list[store_pb2.Reply]]] = {}
        self._has_more = asyncio.Event()
        self._broken: Exception | None = None
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]
        if is_watched:
            self._tasks.append(asyncio.create_task(self._watch_over()))

    @property
    def is_broken(self) -> bool:
        """Whether the stream has ended; another is needed."""
        return self._broken is not None

    async def ask(self, request: store_pb2.Request) -> list[store_pb2.Reply]:
        """Send a request; return its replies, in order."""
        loop = asyncio.get_running_loop()
        if self._broken is not None:
            raise self._broken
        if not self._waiting:
            self._heard_at = loop.time()  # silence counts from when there is something to say
        future: asyncio.Future[list[store_pb2.Reply]] = loop.create_future()
        self._waiting[request.id] = (future, [])
        self._ask(request)
        try:
            return await future
        finally:
            self._waiting.pop(request.id, None)

    def abandon(self) -> None:
        """End the stream without waiting; what is unanswered ends in Unavailable."""
        self._break(Unavailable("the store's member was left for another: whether it happened is not known"))
        for task in self._tasks:
            task.cancel()

    def _ask(self, request: store_pb2.Request) -> None:
        self._queue.append(field(store_pb2.Requests.REQUESTS_FIELD_NUMBER, request.SerializeToString()))
        self._has_more.set()

    async def _watch_over(self) -> None:
        """Give up on a member that owes answers and says nothing, not even to what it need not think about."""
        loop = asyncio.get_running_loop()
        has_asked = False
        while self._broken is None:
            await asyncio.sleep(PING_AFTER_S / 4)
            silent_s = loop.time() - self._heard_at
            if not self._waiting or silent_s < PING_AFTER_S:
                has_asked = False
            elif silent_s >= SILENCE_MAX_S:
                self._break(Unavailable(f"{self.endpoint.address} is silent: whether it happened is not known"))
            elif not has_asked:
                has_asked = True
                self._ask(store_pb2.Request())

    async def close(self) -> None:
        """End the stream."""
        self._break(Unavailable("the connection to the store was closed: whether it happened is not known"))
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def _write(self) -> None:
        try:
            while True:
                await self._has_more.wait()
                self._has_more.clear()
                while self._queue:
                    size_bytes = taken = 0
                    for request in self._queue[:BATCH_REQUESTS_MAX]:
                        taken += 1
                        size_bytes += len(request)
                        if size_bytes >= BATCH_BYTES:
                            break
                    batch = b"".join(self._queue[:taken])
                    del self._queue[:taken]
                    await self._call.write(batch + self._signature)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return  # the reader learns why

    async def _read(self) -> None:
        error: Exception = Unavailable("the store closed the stream: whether it happened is not known")
        try:
            async for batch in self._call:
                self._heard_at = asyncio.get_running_loop().time()
                for reply in batch.replies:
                    waiting = self._waiting.get(reply.id)
                    if waiting is None:
                        continue  # given up on
                    future, replies = waiting
                    replies.append(reply)
                    if not reply.continues and not future.done():
                        future.set_result(replies)
        except grpc.aio.AioRpcError as failure:
            if failure.code() == grpc.StatusCode.UNIMPLEMENTED:
                error = _NoPipeline()
            else:
                error = _error_of(failure.code(), failure.details() or "")
        self._break(error)
        self._tasks[0].cancel()

    def _break(self, error: Exception) -> None:
        if self._broken is None:
            self._broken = error
            self._call.cancel()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(self._broken)


class ClientWatch:
    """A watch over gRPC; see `Watch`."""

    def __init__(self, endpoints: Endpoints, create: rpc_pb2.WatchCreateRequest) -> None:
        self._endpoints = endpoints
        self._endpoint: Endpoint | None = None
        self._create = create
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._writer: asyncio.Future[None] | None = None
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[WatchBatch]:
        """Yield batches until closed."""
        pieces: list[kv_pb2.Event] = []
        try:
            await self._send()
            async for response in self._call:
                if response.canceled:
                    if response.compact_revision:
                        raise Compacted(response.compact_revision)
                    raise Unavailable(f"the store ended the watch: {response.cancel_reason or 'no reason given'}")
                if response.created:
                    continue
                for cause in response.causes:
                    tracing.causes.note(cause.revision, cause.traceparent)
                pieces.extend(response.events)
                if response.fragment:
                    continue
                events = tuple(map(wire.event_from, pieces))
                pieces.clear()
                revision = events[-1].kv.mod_revision if events else response.header.revision
                yield WatchBatch(events, Revision(revision))
        except grpc.aio.AioRpcError as error:
            raise _error_of(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            if _is_own_cancellation():
                raise
            # Only the stream was cancelled: by `close`, or because its member was left for another.
            if not self._is_closed:
                raise Unavailable("the store's member was left for another") from None
        finally:
            if self._endpoint is not None:
                self._endpoint.streams.discard(self._call)
        if not self._is_closed:
            raise Unavailable("the store ended the watch")

    async def request_progress(self) -> None:
        """Ask for a notice soon; the iteration must have begun or begin."""
        await self._send(rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest()))

    async def close(self) -> None:
        """End the watch."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> ClientWatch:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def _send(self, *requests: rpc_pb2.WatchRequest) -> None:
        async with self._writing:
            if self._call is None:
                # First of all the watch itself: progress asked of a stream without one is answered at once, with a
                # revision whose events are still to come.
                requests = (rpc_pb2.WatchRequest(create_request=self._create), *requests)
                self._endpoint = self._endpoints.current
                open_stream = self._endpoint.channel.stream_stream(
                    "/etcdserverpb.Watch/Watch", _serialize, rpc_pb2.WatchResponse.FromString
                )
                self._call = open_stream()
                self._call.add_done_callback(self._stop_writing)
                self._endpoint.streams.add(self._call)
            try:
                async with asyncio.timeout(WRITE_WITHIN_S):
                    for request in requests:
                        self._writer = asyncio.ensure_future(self._call.write(request))
                        await self._writer
            except TimeoutError:
                self._call.cancel()
                if self._endpoint is not None:
                    self._endpoints.leave(self._endpoint)
                raise Unavailable("the store's member takes no requests") from None
            except grpc.aio.AioRpcError as error:
                raise _error_of(error.code(), error.details() or "") from None
            except (grpc.aio.UsageError, asyncio.InvalidStateError):
                raise Unavailable("the store ended the watch") from None
            except asyncio.CancelledError:
                if _is_own_cancellation():
                    raise
                if self._call.done() and (code := await self._call.code()) is not grpc.StatusCode.CANCELLED:
                    # The call ended before the request was out, and says why: refused, for one.
                    raise _error_of(code, await self._call.details() or "") from None
                raise Unavailable("the store's member was left for another") from None

    def _stop_writing(self, _: object) -> None:
        """Let go of who writes: a call that is cancelled before it is connected never does (grpc.aio 1.85)."""
        if self._writer is not None:
            self._writer.cancel()


def _is_own_cancellation() -> bool:
    """Whether it is the running task that was cancelled, and not only a call that it waits for.

    A call that was cancelled raises the same exception, also where its connection broke at that moment and its status
    says so: taking it for the task's own would end whoever follows the store, without a word.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_KV_RESPONSES: dict[str, Any] = {
    "Range": rpc_pb2.RangeResponse,
    "Txn": rpc_pb2.TxnResponse,
    "Compact": rpc_pb2.CompactionResponse,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_UNKNOWN_OUTCOME = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
}


def _error_of(code: grpc.StatusCode, message: str, compact_revision: int = 0) -> Exception:
    """Return our exception for a status: the one table of this edge."""
    if code == grpc.StatusCode.OUT_OF_RANGE and "compacted" in message:
        return Compacted(compact_revision)
    if code == grpc.StatusCode.OUT_OF_RANGE and "future revision" in message:
        return FutureRevision(0, 0)
    if code in _UNKNOWN_OUTCOME:
        return Unavailable(f"{code.name}: {message}")
    return Refused(code.name, message)


def _member_from(member: rpc_pb2.Member) -> StoreMember:
    return StoreMember(member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), member.isLearner)


def _trusts_progress(version: str) -> bool:
    numbers = tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())
    if len(numbers) != 3:
        return False
    return numbers >= (3, 5, 13) if numbers >= (3, 5) else numbers >= (3, 4, 31)


def _serialize(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())
