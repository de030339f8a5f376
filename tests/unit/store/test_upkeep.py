"""The quota raises its alarm once, and members that differ from the others are found."""

from __future__ import annotations

import asyncio
import random

import pytest

from component.clock import RealClock
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store.alarms import Corrupt, NoSpace
from store.apply import State
from store.backend import Backend
from store.mvcc.kv import Put, Txn
from store.mvcc.revision import Compacted, FutureRevision
from store.records import BackendDamaged
from store.upkeep import Upkeep, differing_members
from store.wire import txn_to


def put(key: bytes, value: bytes = b"v") -> rpc_pb2.TxnRequest:
    request = rpc_pb2.TxnRequest()
    txn_to(Txn(success=(Put(key, value),)), request)
    return request


class World:
    """Members that agree at once: each applies every command in the order proposed."""

    def __init__(self, tmp_path, count: int = 1, **settings) -> None:
        self.index = 1
        self.backends, self.states, self.upkeeps = [], [], []
        for number in range(count):
            backend = Backend(tmp_path / f"m{number}", RealClock(), self.fail)
            backend.begin_cluster(7)
            self.backends.append(backend)
            self.states.append(State(backend))
            self.upkeeps.append(
                Upkeep(
                    self.states[-1],
                    backend,
                    self.propose,
                    RealClock(),
                    random.Random(number),
                    own_id=lambda number=number: number + 1,
                    is_leader=lambda: True,
                    member_ids=lambda: range(1, count + 1),
                    **settings,
                )
            )

    def fail(self, error: BaseException) -> None:
        raise error

    async def propose(self, command: store_pb2.Command) -> object:
        return self.apply(command)

    def apply(self, *commands: store_pb2.Command, to: int | None = None) -> object:
        self.index += 1
        answer: object = None
        for number, state in enumerate(self.states):
            if to in (None, number):
                answer = state.apply(self.index, 1, [command.SerializeToString() for command in commands])[-1]
                self.backends[number].schedule_flush(self.index)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        for backend in self.backends:
            await backend.close()


async def test_over_the_quota_puts_are_refused_until_room_was_made_and_the_alarm_disarmed(tmp_path):
    world = World(tmp_path, quota_bytes=60_000)
    state, upkeep = world.states[0], world.upkeeps[0]
    await upkeep.require_room(put(b"k"))
    for number in range(20):
        world.apply(store_pb2.Command(txn=put(b"k%d" % number, b"x" * 5000)))
    await world.backends[0].settle()
    with pytest.raises(NoSpace):
        await upkeep.require_room(put(b"k"))
    assert list(state.alarms) == [(rpc_pb2.NOSPACE, 1)]
    with pytest.raises(NoSpace):  # applying refuses as well: the log decides, whoever proposed
        world.apply(store_pb2.Command(txn=put(b"k")))
    with pytest.raises(NoSpace):
        await upkeep.require_room()
    delete = rpc_pb2.TxnRequest()
    range_ = delete.success.add().request_delete_range
    range_.key, range_.range_end = b"k", b"l"
    await upkeep.require_room(delete)
    world.apply(store_pb2.Command(txn=delete))
    world.apply(store_pb2.Command(compact=rpc_pb2.CompactionRequest(revision=state.mvcc.revision)))
    await world.backends[0].settle(drops=True)
    assert await upkeep.alarm(rpc_pb2.AlarmRequest.DEACTIVATE, rpc_pb2.NONE, 0) == [(rpc_pb2.NOSPACE, 1)]
    await upkeep.require_room(put(b"k"))
    await world.close()


async def test_a_repeat_of_what_was_done_before_the_alarm_is_answered_as_then(tmp_path):
    world = World(tmp_path, quota_bytes=1)
    id = store_pb2.RequestId(client=1, sequence=1)
    first = world.apply(store_pb2.Command(id=id, txn=put(b"k")))
    await world.backends[0].settle()
    await world.upkeeps[0].require_room(put(b"k"), is_repeatable=True)
    assert world.states[0].alarms.is_out_of_space
    await world.upkeeps[0].require_room(put(b"k"), is_repeatable=True)
    assert world.apply(store_pb2.Command(id=id, txn=put(b"k"))) == first
    with pytest.raises(NoSpace):
        world.apply(store_pb2.Command(id=store_pb2.RequestId(client=1, sequence=2), txn=put(b"k")))
    await world.close()


async def test_alarms_outlive_a_restart(tmp_path):
    world = World(tmp_path)
    await world.upkeeps[0].alarm(rpc_pb2.AlarmRequest.ACTIVATE, rpc_pb2.CORRUPT, 9)
    await world.close()
    backend = Backend(tmp_path / "m0", RealClock(), world.fail)
    assert list(State(backend).alarms) == [(rpc_pb2.CORRUPT, 9)]
    await backend.close()


async def test_under_corrupt_nothing_is_written(tmp_path):
    world = World(tmp_path)
    await world.upkeeps[0].alarm(rpc_pb2.AlarmRequest.ACTIVATE, rpc_pb2.CORRUPT, 9)
    with pytest.raises(Corrupt):
        await world.upkeeps[0].require_room(rpc_pb2.TxnRequest())
    with pytest.raises(Corrupt):
        world.apply(store_pb2.Command(compact=rpc_pb2.CompactionRequest(revision=1)))
    await world.close()


async def test_hashes_agree_over_members_whatever_each_has_already_thrown_away(tmp_path):
    world = World(tmp_path, count=2)
    for number in range(30):
        world.apply(store_pb2.Command(txn=put(b"k%d" % (number % 7), b"%d" % number)))
    await world.backends[0].settle()  # the other has all of it in memory still
    world.apply(store_pb2.Command(compact=rpc_pb2.CompactionRequest(revision=20)))
    await world.backends[0].settle(drops=True)
    found = [await upkeep.hash_kv(0) for upkeep in world.upkeeps]
    assert found[0] == found[1]
    assert found[0][1:] == (31, 20)
    earlier = [await upkeep.hash_kv(25) for upkeep in world.upkeeps]
    assert earlier[0] == earlier[1] and earlier[0][0] != found[0][0]
    world.apply(store_pb2.Command(txn=put(b"later")))
    assert await world.upkeeps[0].hash_kv(25) == earlier[0]
    with pytest.raises(Compacted):
        await world.upkeeps[0].hash_kv(19)
    with pytest.raises(FutureRevision):
        await world.upkeeps[0].hash_kv(33)
    # A restart changes nothing either.
    await world.close()
    backend = Backend(tmp_path / "m1", RealClock(), world.fail)
    state = State(backend)
    with backend.read() as reading:
        assert reading.hash_kv(25) == earlier[0][0]
    assert state.mvcc.compact_revision == 20
    await backend.close()


async def test_a_member_that_holds_something_else_is_found_and_writes_stop(tmp_path):
    world = World(tmp_path, count=3)
    world.apply(store_pb2.Command(txn=put(b"k")))
    tasks = [asyncio.create_task(upkeep.run()) for upkeep in world.upkeeps]
    assert await world.upkeeps[0].check_members() == []
    world.apply(store_pb2.Command(txn=put(b"a")), to=0)
    world.apply(store_pb2.Command(txn=put(b"b")), to=1)
    world.apply(store_pb2.Command(txn=put(b"a")), to=2)
    for number, state in enumerate(world.states):
        assert state.mvcc.revision == 3, number
    # Entries above had numbers of their own; the members' logs must not part over that.
    assert await world.upkeeps[0].check_members() == [2]
    assert [list(state.alarms) for state in world.states] == [[(rpc_pb2.CORRUPT, 2)]] * 3
    with pytest.raises(Corrupt):
        world.apply(store_pb2.Command(txn=put(b"k")))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.close()


async def test_a_flipped_bit_on_disk_stops_the_member_that_hashes_it(tmp_path):
    world = World(tmp_path)
    world.apply(store_pb2.Command(txn=put(b"k", b"precious")))
    await world.close()
    path = tmp_path / "m0" / "state.mdb"
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"precious")
    while at >= 0:
        raw[at] ^= 1
        at = raw.find(b"precious")
    path.write_bytes(raw)
    backend = Backend(tmp_path / "m0", RealClock(), world.fail)
    with backend.read() as reading, pytest.raises(BackendDamaged, match="checksum mismatch"):
        reading.hash_kv(100)
    with pytest.raises(BackendDamaged, match="checksum mismatch"):
        State(backend)
    await backend.close()


def report(member: int, hash: int) -> store_pb2.HashReport:
    return store_pb2.HashReport(member=member, hash=hash)


def test_the_majority_is_believed_and_without_one_nobody_is():
    assert differing_members([]) == []
    assert differing_members([report(1, 5)]) == []
    assert differing_members([report(1, 5), report(2, 5), report(3, 5)]) == []
    assert differing_members([report(1, 5), report(2, 6), report(3, 5)]) == [2]
    assert differing_members([report(1, 5), report(2, 6)]) == [1, 2]
    assert differing_members([report(1, 5), report(2, 6), report(3, 5), report(4, 7)]) == [2, 4]
