"""Applying is deterministic, answers errors, and applies a repeated request once."""

from __future__ import annotations

import pytest

from component.clock import RealClock
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store import apply
from store.apply import AlreadyApplied, State
from store.backend import Backend
from store.lease import LeaseExists
from store.mvcc.index import FROM_KEY
from store.mvcc.kv import LeaseNotFound, Range
from store.mvcc.revision import Compacted
from store.mvcc.watch import Interest


@pytest.fixture
async def backend(tmp_path):
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    yield backend
    await backend.close()


def put(key: bytes, value: bytes = b"", lease: int = 0, id: tuple[int, int] | None = None) -> bytes:
    op = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))
    request_id = store_pb2.RequestId(client=id[0], sequence=id[1]) if id else None
    return store_pb2.Command(id=request_id, txn=rpc_pb2.TxnRequest(success=[op])).SerializeToString()


def grant(lease: int, ttl_s: int = 60) -> bytes:
    request = rpc_pb2.LeaseGrantRequest(ID=lease, TTL=ttl_s)
    return store_pb2.Command(lease_grant=request).SerializeToString()


def compact(revision: int) -> bytes:
    return store_pb2.Command(compact=rpc_pb2.CompactionRequest(revision=revision)).SerializeToString()


def expire(*leases: int) -> bytes:
    return store_pb2.Command(lease_expiry=store_pb2.LeaseExpiry(leases=leases)).SerializeToString()


def keys(state: State) -> list[bytes]:
    return [kv.key for kv in state.mvcc.range(Range(b"\x00", FROM_KEY)).kvs]


async def test_an_entry_moves_the_applied_index_and_answers_each_command(backend):
    state = State(backend)
    first, second = state.apply(2, 1, [put(b"a"), put(b"b")])
    assert rpc_pb2.TxnResponse.FromString(first).header.revision == 2
    assert rpc_pb2.TxnResponse.FromString(second).header.revision == 3
    assert state.applied == (2, 1)
    assert state.apply(3, 2, []) == []
    assert state.applied == (3, 2)


async def test_what_cannot_be_done_is_answered_and_the_rest_goes_on(backend):
    state = State(backend)
    commands = [put(b"a", lease=5), compact(99), grant(1), grant(1), put(b"b"), compact(2), compact(2)]
    answers = state.apply(2, 1, commands)
    kinds = [type(answer) for answer in answers]
    assert kinds[0] is LeaseNotFound
    assert kinds[3] is LeaseExists
    assert kinds[6] is Compacted
    assert keys(state) == [b"b"]


async def test_a_repeated_request_is_applied_once_and_answered_the_same(backend):
    state = State(backend)
    (first,) = state.apply(2, 1, [put(b"a", b"1", id=(7, 1))])
    state.apply(3, 1, [put(b"a", b"2")])
    (again,) = state.apply(4, 1, [put(b"a", b"1", id=(7, 1))])
    assert again == first
    assert state.mvcc.range(Range(b"a")).kvs[0].value == b"2"


async def test_remembered_requests_outlive_a_restart_and_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(apply, "REQUESTS_MAX", 3)
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    state = State(backend)
    for sequence in range(1, 6):
        state.apply(sequence + 1, 1, [put(b"a", id=(7, sequence))])
    await backend.close()
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    state = State(backend)
    kept = [sequence for sequence in range(1, 6) if state.remembered.get(7, sequence) is not None]
    assert kept == [3, 4, 5]
    state.apply(7, 1, [put(b"a", id=(7, 6))])
    assert (len(state.remembered), state.remembered.get(7, 3)) == (3, None)
    await backend.close()


async def test_a_repeat_whose_answer_was_too_long_is_told_that_it_was_done(backend, monkeypatch):
    monkeypatch.setattr(apply, "RESPONSE_BYTES_MAX", 1)
    state = State(backend)
    state.apply(2, 1, [put(b"a", id=(7, 1))])
    (again,) = state.apply(3, 1, [put(b"a", id=(7, 1))])
    assert isinstance(again, AlreadyApplied)


async def test_an_expired_lease_takes_its_keys_at_one_revision(backend):
    state = State(backend)
    state.apply(2, 1, [grant(1), grant(2), put(b"b", lease=1), put(b"a", lease=1), put(b"c", lease=2)])
    before = state.mvcc.revision
    state.apply(3, 1, [expire(1, 99)])
    assert keys(state) == [b"c"]
    assert state.mvcc.revision == before + 1
    assert list(state.leases) == [2]


async def test_leases_and_their_keys_are_known_after_a_restart(tmp_path):
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    State(backend).apply(2, 1, [grant(1, 30), put(b"a", lease=1)])
    await backend.close()
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    state = State(backend)
    assert (state.leases.ttl_s(1), state.leases.keys(1)) == (30, [b"a"])
    await backend.close()


async def test_watchers_hear_of_an_entry_at_once_with_pairs_before_a_compaction_in_it(backend):
    state = State(backend)
    state.apply(2, 1, [put(b"a", b"1")])
    watcher = state.watchers.add(Interest(b"a", b"z", prev_kv=True), 0, lambda: None)
    state.apply(3, 1, [put(b"a", b"2"), compact(3), put(b"a", b"3")])
    heard = []
    while (batch := state.watchers.next(watcher)) is not None:
        heard += [(event.kv.value, event.prev_kv.value) for event in batch.events]
    assert heard == [(b"2", b"1"), (b"3", b"2")]
