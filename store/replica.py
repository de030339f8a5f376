"""What the services call: check a request, have it agreed on, wait for the answer.

A request is checked before it is proposed, a read is made linearizable by `Consensus.read_index`, and the leader's
duties that follow a clock (ending leases, forgetting history) run here as one task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from component.clock import Clock
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store import calls
from store.alarms import QUOTA_BYTES
from store.apply import State
from store.auth.access import Access
from store.auth.permissions import READ
from store.backend import Backend
from store.consensus.consensus import CallFailed, Consensus, ConsensusStatus, NotLeader, OutcomeUnknown
from store.consensus.membership import ChangeUnderWay, Members, MembershipChange, MembershipRefused
from store.counts import Leaders
from store.mvcc.check import REQUEST_BYTES_MAX, InvalidRequest, check_range, check_txn
from store.mvcc.kv import LeaseNotFound, Range, RangeResult
from store.mvcc.revision import Compacted
from store.upkeep import Upkeep
from store.wire import range_from, txn_from, txn_result_to

log = logging.getLogger(__name__)

LEASE_CHECK_S = 0.5
HISTORY_CHECK_S = 30.0
PUBLISH_S = 2.0
WAIT_FOR_LEADER_S = 4.0
"""How long a request waits for a leader to be elected."""
ANSWER_WITHIN_S = 7.0
"""How long a proposal may take before its outcome is called unknown (etcd's default, an election more than 5 s)."""
LEADER_POLL_S = 0.02


class RequestTooLarge(Exception):
    """The request is over REQUEST_BYTES_MAX."""


class Replica:
    """One member of the store, as its clients see it."""

    def __init__(
        self,
        state: State,
        backend: Backend,
        consensus: Consensus,
        clock: Clock,
        rng: random.Random,
        *,
        name: str,
        member_id: int,
        cluster_id: int,
        client_urls: tuple[str, ...] = (),
        peer_urls: tuple[str, ...] = (),
        history_s: float = 300.0,
        quota_bytes: int = QUOTA_BYTES,
        hash_check_s: float = 0.0,
        trusted_clients: frozenset[str] = frozenset(),
    ) -> None:
        self.state = state
        self.backend = backend
        self.consensus = consensus
        self.name = name
        self.member_id = member_id
        self.cluster_id = cluster_id
        self.client_urls = client_urls
        self.peer_urls = peer_urls
        self._clock = clock
        self._rng = rng
        self._history_s = history_s
        self.leaders = Leaders()
        self._patience = Patience(ANSWER_WITHIN_S)
        self.access = Access(state.auth, trusted_clients, self.read_index, clock.monotonic)
        self.upkeep = Upkeep(
            state,
            backend,
            self._propose,
            clock,
            rng,
            own_id=lambda: self.member_id,
            is_leader=lambda: self.status.role == "leader",
            member_ids=lambda: tuple(record.id for record in self.consensus.members.records) or (self.member_id,),
            quota_bytes=quota_bytes,
            hash_check_s=hash_check_s,
        )

    # -- keys

    async def range(self, query: Range, *, serializable: bool = False) -> RangeResult:
        """Answer a read, linearizable unless told otherwise.

        Raises:
            InvalidRequest, Compacted, FutureRevision, NotLeader, AuthRefused.
        """
        check_range(query)
        if not serializable:
            await self.read_index()
        if self.access.matters:
            await self.access.require_readable(query.key, query.range_end)
        return self.state.mvcc.range(query)

    async def range_request(self, request: rpc_pb2.RangeRequest) -> RangeResult:
        """Answer a RangeRequest."""
        return await self.range(range_from(request), serializable=request.serializable)

    async def txn(self, request: rpc_pb2.TxnRequest, id: store_pb2.RequestId | None = None) -> bytes:
        """Do a transaction; return its TxnResponse's bytes, whose header has the revision alone.

        Raises:
            InvalidRequest, RequestTooLarge: it was not proposed.
            NotLeader: it was not proposed. OutcomeUnknown: it may have been done.
            Compacted, FutureRevision, KeyNotFound, LeaseNotFound, AlreadyApplied, AuthRefused: this is what was agreed
                on.
        """
        caller = await self.access.caller() if self.access.matters else None
        proposal = self.begin_txn(request, id, caller=caller)
        if proposal is not None:
            return await self.end_txn(proposal)
        if _is_read_only(request):
            # Nothing to agree on: a read of local state that is known to be recent will do.
            await self.read_index()
            caller = await self.access.caller()
            if caller is not None:
                self.state.auth.require_txn(caller, request, self.state.leases.keys)
            return self._read(request)
        await self.upkeep.require_room(request, is_repeatable=id is not None and bool(id.client))
        return await self.end_txn(self._begin(store_pb2.Command(id=id, txn=request, caller=caller)))

    def begin_txn(
        self,
        request: rpc_pb2.TxnRequest,
        id: store_pb2.RequestId | None = None,
        traceparent: str = "",
        caller: store_pb2.Caller | None = None,
    ) -> Proposal | None:
        """Propose a transaction at once, for `end_txn` to wait for; None where `txn` must, and nothing was done.

        Without a `caller` and with an `id` it may do everything: whoever calls this has seen to that.

        Raises:
            InvalidRequest, RequestTooLarge: it was not proposed.
        """
        check_txn(txn_from(request))
        if request.ByteSize() > REQUEST_BYTES_MAX:
            raise RequestTooLarge
        if _is_read_only(request) or not self.upkeep.has_room:
            return None
        return self._begin(store_pb2.Command(id=id, txn=request, traceparent=traceparent, caller=caller))

    async def end_txn(self, proposal: Proposal) -> bytes:
        """Return what `txn` does, or raise it."""
        answer = await self._end(proposal)
        assert isinstance(answer, bytes)
        return answer

    def _read(self, request: rpc_pb2.TxnRequest) -> bytes:
        result, changes = self.state.mvcc.txn(txn_from(request))
        assert not changes, "a read changed something"
        return txn_result_to(result).SerializeToString()

    async def compact(self, revision: int, *, physical: bool = False) -> None:
        """Forget history before `revision`; with `physical`, return when it is gone from this member's disk.

        Raises:
            Compacted, FutureRevision: see `Mvcc.compact`. AuthRefused: the caller's token is not valid.
        """
        await self.access.caller()
        await self._propose(store_pb2.Command(compact=rpc_pb2.CompactionRequest(revision=revision)))
        if physical:
            await self.backend.settle(drops=True)

    # -- leases

    async def lease_grant(self, ttl_s: int, id: int) -> tuple[int, int]:
        """Grant a lease (id 0: draw one); return its id and the TTL granted.

        Raises:
            LeaseExists, LeaseTooLong, AuthRefused.
        """
        await self.access.caller()
        await self.upkeep.require_room()
        lease = id or self._rng.getrandbits(62) + 1
        request = rpc_pb2.LeaseGrantRequest(TTL=ttl_s, ID=lease)
        granted = await self._propose(store_pb2.Command(lease_grant=request))
        assert isinstance(granted, int)
        if self.status.role == "leader":
            self._count_granted()
        return lease, granted

    async def lease_revoke(self, lease: int) -> None:
        """End a lease and delete its keys.

        Raises:
            LeaseNotFound, AuthRefused.
        """
        caller = await self.access.caller()
        await self._propose(store_pb2.Command(lease_revoke=rpc_pb2.LeaseRevokeRequest(ID=lease), caller=caller))

    async def lease_keep_alive(self, lease: int) -> int:
        """Start a lease's time afresh; return its TTL, or 0 where it is gone or going."""
        ttl_s: int = await self._ask_leader(calls.KeepAlive(lease), int)
        return ttl_s

    async def lease_time_to_live(self, lease: int, *, keys: bool = True) -> tuple[int, int, list[bytes]]:
        """Return seconds left, TTL granted and, if asked for, the keys of a lease.

        Raises:
            LeaseNotFound. AuthRefused: the caller may not read those keys.
        """
        await self.read_index()
        remaining_s: int = await self._ask_leader(calls.TimeToLive(lease), int)
        ttl_s = self.state.leases.ttl_s(lease)
        if ttl_s is None or remaining_s < 0:
            raise LeaseNotFound
        found = self.state.leases.keys(lease) if keys else []
        caller = await self.access.caller()
        if caller is not None:
            self.state.auth.require_keys(caller, READ, found)
        return remaining_s, ttl_s, found

    # -- users and roles

    async def change_auth(self, change: store_pb2.AuthChange) -> None:
        """Make one change of users and roles.

        Raises:
            AuthRefused: it was not made.
        """
        await self._propose(store_pb2.Command(auth=change, caller=await self.access.caller()))

    # -- members

    async def change_membership(self, change: MembershipChange) -> Members:
        """Change one member; return the membership after it.

        Raises:
            MembershipRefused, AuthRefused: it was not made. NotLeader, OutcomeUnknown.
        """
        await self.access.require_admin()
        if change.kind == "add" and not change.id:
            change = msgspec.structs.replace(change, id=self._rng.getrandbits(62) + 1)
        members: Members = await self._ask_leader(calls.Change(change), Members)
        return members

    async def _ask_leader(self, call: calls.Call, answer: Any) -> Any:
        """Have the leader answer a call, waiting for one to be elected if need be."""
        deadline = self._clock.monotonic() + WAIT_FOR_LEADER_S
        while True:
            try:
                raw = await self.consensus.call_leader(calls.encode(call))
                return msgspec.msgpack.decode(raw, type=answer)
            except CallFailed as error:
                kind, _, code = error.kind.partition("/")
                if kind == "membership":
                    raise MembershipRefused(error.message, code) from None
                raise
            except NotLeader:
                if self._clock.monotonic() >= deadline:
                    raise
                await self._clock.sleep(LEADER_POLL_S)

    async def answer_call(self, request: bytes) -> bytes:
        """Answer another member's call, or our own, as the leader: see `calls`."""
        match calls.decode(request):
            case calls.KeepAlive(lease):
                await self.consensus.read_index()
                self._count_granted()
                ttl_s = self.state.leases.ttl_s(lease)
                if ttl_s is None or not self.state.expiry.renew(lease, ttl_s, self._clock.monotonic()):
                    ttl_s = 0
                return calls.encode(ttl_s)
            case calls.TimeToLive(lease):
                await self.consensus.read_index()
                self._count_granted()
                if lease not in self.state.leases:
                    return calls.encode(-1)
                return calls.encode(max(0, int(self.state.expiry.remaining_s(lease, self._clock.monotonic()))))
            case calls.Change(change):
                if change.kind == "remove" and change.id == self.member_id and len(self.consensus.members.voters) > 1:
                    await self.consensus.hand_over()
                    raise NotLeader(None)  # whoever asks finds the new one
                return calls.encode(await self._change_as_leader(change))
            case unknown:
                assert_never(unknown)

    async def _change_as_leader(self, change: MembershipChange) -> Members:
        deadline = self._clock.monotonic() + WAIT_FOR_LEADER_S
        while True:
            try:
                return await self.consensus.change_membership(change)
            except ChangeUnderWay:
                if self._clock.monotonic() >= deadline:
                    raise
                await self._clock.sleep(LEADER_POLL_S)

    async def _publish(self) -> None:
        """Tell the others our name and where our clients connect, where the membership does not say so."""
        record = self.consensus.members.get(self.member_id)
        if record is not None and (record.name, record.client_urls) != (self.name, self.client_urls):
            change = MembershipChange("publish", self.member_id, self.name, client_urls=self.client_urls)
            try:
                await self.change_membership(change)
            except (MembershipRefused, NotLeader, OutcomeUnknown, CallFailed) as error:
                log.info("could not make ourselves known yet", extra={"why": str(error)})

    # -- all else

    @property
    def status(self) -> ConsensusStatus:
        """How the member stands in its cluster."""
        return self.consensus.status()

    @property
    def leader_id(self) -> int:
        """The leader's id; 0 while none is known."""
        return self.status.leader_id

    @property
    def is_learner(self) -> bool:
        """Whether this member has no vote."""
        return self.status.is_learner

    def header(self, revision: int | None = None) -> rpc_pb2.ResponseHeader:
        """Return a response's header at `revision` (None: the present one)."""
        return rpc_pb2.ResponseHeader(
            cluster_id=self.cluster_id,
            member_id=self.member_id,
            revision=self.state.mvcc.revision if revision is None else revision,
            raft_term=self.consensus.term,
        )

    async def run_duties(self) -> None:
        """End leases that ran out, and forget history older than it must be kept, while this member leads."""
        led_term = -1
        samples: deque[tuple[float, int]] = deque()
        next_history_check = next_publish = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            status = self.status
            self.leaders.see(status.leader)
            self.state.auth.tokens.sweep(now)
            if status.role != "leader":
                led_term = -1
                samples.clear()
                self.state.granted.clear()
            else:
                if led_term != status.term:
                    # Nobody knows how much of its time a lease had used up under the last leader: it gets all of it.
                    led_term = status.term
                    self.state.expiry.begin(
                        ((lease, self.state.leases.ttl_s(lease) or 0) for lease in self.state.leases), now
                    )
                self._count_granted()
                with contextlib.suppress(NotLeader, OutcomeUnknown):
                    await self._expire_leases(now)
                    if now >= next_history_check:
                        next_history_check = now + HISTORY_CHECK_S
                        await self._forget_history(samples, now)
            if now >= next_publish:
                next_publish = now + PUBLISH_S
                await self._publish()
            await self._clock.sleep(LEASE_CHECK_S)

    def _count_granted(self) -> None:
        """Begin to count the time of leases granted since the last call."""
        granted, self.state.granted = self.state.granted, []
        now = self._clock.monotonic()
        for lease in granted:
            ttl_s = self.state.leases.ttl_s(lease)
            if ttl_s is not None and not self.state.expiry.counts(lease):
                self.state.expiry.renew(lease, ttl_s, now)

    async def _expire_leases(self, now: float) -> None:
        expired = self.state.expiry.take_expired(now)
        if not expired:
            return
        try:
            await self._propose(store_pb2.Command(lease_expiry=store_pb2.LeaseExpiry(leases=expired)))
        except (NotLeader, OutcomeUnknown):
            self.state.expiry.retry(expired, now)
            raise

    async def _forget_history(self, samples: deque[tuple[float, int]], now: float) -> None:
        """Compact at the newest revision known to be `history_s` old; 0 leaves compaction to the clients."""
        if self._history_s <= 0:
            return
        samples.append((now, self.state.mvcc.revision))
        revision = 0
        while samples and samples[0][0] <= now - self._history_s:
            revision = samples.popleft()[1]
        if revision > self.state.mvcc.compact_revision and revision > 1:
            with contextlib.suppress(Compacted):
                await self.compact(revision)
                log.debug("history forgotten", extra={"before_revision": revision})

    async def read_index(self) -> None:
        """Return once a read of the local state is linearizable; waits for a leader to be elected if need be.

        Raises:
            NotLeader: there was none for too long.
        """
        deadline = self._clock.monotonic() + WAIT_FOR_LEADER_S
        while True:
            try:
                await self.consensus.read_index()
                return
            except NotLeader:
                if self._clock.monotonic() >= deadline:
                    raise
                await self._clock.sleep(LEADER_POLL_S)

    async def _propose(self, command: store_pb2.Command) -> object:
        """Have a command agreed on; return what applying it gave, or raise it."""
        return await self._end(self._begin(command))

    def _begin(self, command: store_pb2.Command) -> Proposal:
        encoded = command.SerializeToString()
        answer = self._patience.bound(self.consensus.propose(encoded))
        return Proposal(command, encoded, answer, self._clock.monotonic())

    async def _end(self, proposal: Proposal) -> object:
        """Return what applying a proposal gave, or raise it.

        What was not proposed is proposed again while a leader may be found. What has an unknown outcome is proposed
        again only if it carries a request's id, which makes it happen once however often it is in the log.
        """
        while True:
            try:
                # A caller that goes away cancels this future, which takes nothing back that is in the log already.
                answer = await proposal.answer
                break
            except NotLeader:
                if self._clock.monotonic() >= proposal.began_s + WAIT_FOR_LEADER_S:
                    raise
            except OutcomeUnknown as error:
                late = isinstance(error, TooLate) or self._clock.monotonic() >= proposal.began_s + WAIT_FOR_LEADER_S
                if late or not proposal.command.id.client:
                    raise
                proposal.command.id.again = True
                proposal.encoded = proposal.command.SerializeToString()
            await self._clock.sleep(LEADER_POLL_S)
            proposal.answer = self._patience.bound(self.consensus.propose(proposal.encoded))
        if isinstance(answer, Exception):
            raise answer
        return answer


class TooLate(OutcomeUnknown):
    """It was not agreed on in ANSWER_WITHIN_S."""


@dataclass(slots=True)
class Proposal:
    """A command under way."""

    command: store_pb2.Command
    encoded: bytes
    answer: asyncio.Future[object]
    began_s: float


class Patience:
    """Ends futures that take too long: one timer for all of them, since all may take equally long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Future[object]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def bound(self, future: asyncio.Future[object]) -> asyncio.Future[object]:
        """Return the future, which ends in TooLate if nothing else ends it in time."""
        loop, waiting = future.get_loop(), self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()
        waiting.append((loop.time() + self._seconds, future))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._give_up)
        return future

    def _give_up(self) -> None:
        self._timer = None
        while self._waiting:
            deadline, future = self._waiting[0]
            loop = future.get_loop()
            if not future.done():
                if deadline > loop.time():
                    self._timer = loop.call_at(deadline, self._give_up)
                    return
                future.set_exception(TooLate(f"it was not agreed on in {self._seconds:g} s"))
            self._waiting.popleft()


def _is_read_only(request: rpc_pb2.TxnRequest) -> bool:
    return all(
        op.HasField("request_range") or (op.HasField("request_txn") and _is_read_only(op.request_txn))
        for branch in (request.success, request.failure)
        for op in branch
    )


def encode_entry(commands: list[bytes]) -> bytes:
    """Return the log entry of many commands."""
    return store_pb2.Entry(commands=commands).SerializeToString()


def decode_entry(entry: bytes) -> list[bytes]:
    """Return an entry's commands."""
    return list(store_pb2.Entry.FromString(entry).commands)


__all__ = ["InvalidRequest", "Replica", "RequestTooLarge", "decode_entry", "encode_entry"]
