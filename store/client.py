"""What the apiserver imports: the `Store` face (`face.py`) with its values and errors, and `StoreClient`, over gRPC.

`StoreClient` sends through `Pipeline` (many requests a message, one stream) where the server has it, and through
etcd's plain KV where it doesn't, so a real etcd cluster can stand in the store's place. Watches are etcd's either way.
`store.local.LocalStore` is the same face over MVCC in memory.

Of several members it talks to one, and moves to another within a second when that one is gone, silent or has no leader.
What was unanswered then is asked again there: reads, which do no harm, and writes through `Pipeline`, whose ids make
them happen once however often they are asked for. Nothing else is ever retried behind the caller's back.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from component import tracing
from component.serve import Identity
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store import wire
from store.client_watch import ClientWatch
from store.endpoints import Endpoints
from store.face import (
    Conflict,
    OutcomeLost,
    Refused,
    Store,
    StoreMember,
    StoreStatus,
    Unavailable,
    Watch,
    WatchBatch,
    delete_if_txn,
    put_if_txn,
    revision_or_conflict,
)
from store.failures import error_of, serialize
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
from store.pipe import NoPipeline, NotDone, Pipe, checked

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


REQUEST_TIMEOUT_S = 10.0
PAGE_KEYS = 2000
"""How many keys a range without a limit asks plain KV for at a time."""
IN_FLIGHT_MAX = 4096
"""Requests unanswered; more wait their turn."""
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
        self._pipe: Pipe | None = None
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
                        return checked(await pipe.ask(request))
                    except OutcomeLost:
                        raise
                    except (Unavailable, NotDone) as error:
                        problem = error
                        # Ranges and compactions may be repeated; transactions carry an id that makes it safe.
                        request.again = request.again or not isinstance(error, NotDone)
                        self._endpoints.leave(pipe.endpoint)
                    await asyncio.sleep(RETRY_WAIT_S)
        except TimeoutError:
            why = f" ({problem})" if problem else ""
            message = f"the store did not answer in {self._timeout_s:g} s: whether it happened is not known{why}"
            raise Unavailable(message) from None
        except NoPipeline:
            if problem is not None and request.HasField("txn"):
                # Asked of one member that has it, and then of one that has not: there is no telling.
                raise Unavailable(f"{problem}: whether it happened is not known") from None
            self._has_pipeline = False
            return None

    def _open_pipe(self) -> Pipe:
        endpoint = self._endpoints.current
        if self._pipe is None or self._pipe.is_broken or self._pipe.endpoint is not endpoint:
            if self._pipe is not None:
                self._pipe.abandon()
            self._pipe = Pipe(endpoint, self._client, self._endpoints.are_several)
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
                ask = endpoint.channel.unary_unary(path, serialize, response.FromString)
                return await ask(request, timeout=max(0.05, patience_s))
            except grpc.aio.AioRpcError as error:
                problem = error_of(error.code(), error.details() or "")
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


_KV_RESPONSES: dict[str, Any] = {
    "Range": rpc_pb2.RangeResponse,
    "Txn": rpc_pb2.TxnResponse,
    "Compact": rpc_pb2.CompactionResponse,
}


def _member_from(member: rpc_pb2.Member) -> StoreMember:
    return StoreMember(member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), member.isLearner)


def _trusts_progress(version: str) -> bool:
    numbers = tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())
    if len(numbers) != 3:
        return False
    return numbers >= (3, 5, 13) if numbers >= (3, 5) else numbers >= (3, 4, 31)
