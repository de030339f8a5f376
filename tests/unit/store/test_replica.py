"""The leader's duties follow a clock that is handed in: leases end, history is forgotten."""

from __future__ import annotations

import asyncio
import random

import pytest

from component.clock import RealClock
from proto.etcd import rpc_pb2
from store.apply import State
from store.backend import Backend
from store.consensus.consensus import ConsensusStatus, NotLeader
from store.consensus.membership import Members
from store.mvcc.check import InvalidRequest
from store.mvcc.kv import Range
from store.mvcc.revision import Compacted
from store.replica import Patience, Replica, RequestTooLarge, TooLate


class ManualClock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self._ticked = asyncio.Event()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        due = self.time + seconds
        while self.time < due:
            await self._ticked.wait()

    async def advance_to(self, time: float) -> None:
        while self.time < time:
            self.time += 0.5
            self._ticked.set()
            self._ticked.clear()
            for _ in range(4):
                await asyncio.sleep(0)


class AtOnce:
    """A consensus that agrees as soon as it is asked."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.role = "leader"
        self.index = 1
        self.members = Members()
        self.on_call = None

    def call_leader(self, request: bytes) -> asyncio.Future:
        return asyncio.ensure_future(self.on_call(request))

    def propose(self, command: bytes) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        if self.role != "leader":
            future.set_exception(NotLeader(None))
            return future
        self.index += 1
        future.set_result(self.state.apply(self.index, 1, [command])[0])
        return future

    def read_index(self) -> asyncio.Future:
        future = asyncio.get_running_loop().create_future()
        future.set_result(self.index)
        return future

    @property
    def term(self) -> int:
        return 1

    def status(self) -> ConsensusStatus:
        return ConsensusStatus("store-1", self.role, "store-1", 1, self.index, self.index, self.index, self.index)


@pytest.fixture
async def replica(tmp_path):
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    state = State(backend)
    replica = Replica(
        state,
        backend,
        AtOnce(state),
        ManualClock(),
        random.Random(1),
        name="store-1",
        member_id=1,
        cluster_id=2,
        history_s=300.0,
    )
    replica.consensus.on_call = replica.answer_call
    duties = asyncio.create_task(replica.run_duties())
    await asyncio.sleep(0)
    yield replica
    duties.cancel()
    await asyncio.gather(duties, return_exceptions=True)
    await backend.close()


async def put(replica: Replica, key: bytes, value: bytes = b"", lease: int = 0) -> None:
    op = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))
    await replica.txn(rpc_pb2.TxnRequest(success=[op]))


async def test_a_lease_ends_when_its_time_has_passed_and_not_before(replica):
    lease, _ = await replica.lease_grant(10, 0)
    await put(replica, b"/leased", lease=lease)
    await replica._clock.advance_to(9.0)
    assert (await replica.range(Range(b"/leased"))).count == 1
    await replica._clock.advance_to(11.0)
    assert (await replica.range(Range(b"/leased"))).count == 0
    assert await replica.lease_keep_alive(lease) == 0


async def test_a_member_that_does_not_lead_ends_no_lease(replica):
    lease, _ = await replica.lease_grant(10, 0)
    replica.consensus.role = "follower"
    await replica._clock.advance_to(60.0)
    assert lease in replica.state.leases


async def test_history_is_kept_for_its_time_and_then_forgotten(replica):
    await put(replica, b"/a", b"1")
    await put(replica, b"/a", b"2")
    await replica._clock.advance_to(200.0)
    assert (await replica.range(Range(b"/a", revision=2))).kvs[0].value == b"1"
    await put(replica, b"/a", b"3")
    await replica._clock.advance_to(420.0)
    with pytest.raises(Compacted):
        await replica.range(Range(b"/a", revision=2))
    assert (await replica.range(Range(b"/a", revision=3))).kvs[0].value == b"2"


async def test_what_is_too_large_or_makes_no_sense_is_never_proposed(replica):
    before = replica.consensus.index
    with pytest.raises(RequestTooLarge):
        await put(replica, b"/big", b"x" * 1_572_864)
    with pytest.raises(InvalidRequest):
        await put(replica, b"")
    assert replica.consensus.index == before


async def test_a_transaction_that_only_reads_is_not_written_to_the_log(replica):
    await put(replica, b"/a", b"1")
    before = replica.consensus.index
    op = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"/a"))
    answer = rpc_pb2.TxnResponse.FromString(await replica.txn(rpc_pb2.TxnRequest(success=[op])))
    assert answer.responses[0].response_range.kvs[0].value == b"1"
    assert replica.consensus.index == before


async def test_what_takes_too_long_ends_as_not_known_and_what_is_answered_does_not():
    patience, loop = Patience(0.05), asyncio.get_running_loop()
    answered, late, later = (patience.bound(loop.create_future()) for _ in range(3))
    answered.set_result(1)
    with pytest.raises(TooLate):
        await late
    assert await answered == 1
    with pytest.raises(TooLate):
        await later
    newer = patience.bound(loop.create_future())
    assert len(patience._waiting) == 1
    with pytest.raises(TooLate):
        await newer
