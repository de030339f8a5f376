"""A request applied once is never applied again, nor silently when that can't be told any more."""

from __future__ import annotations

import pytest

from component.clock import RealClock
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store import apply
from store.apply import Forgotten, State
from store.backend import Backend


@pytest.fixture
async def state(tmp_path, monkeypatch):
    monkeypatch.setattr(apply, "REQUESTS_MAX", 4)
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    yield State(backend)
    await backend.close()


def command(sequence: int, *, again: bool = False, client: int = 7) -> bytes:
    put = rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"/%d" % sequence))
    id = store_pb2.RequestId(client=client, sequence=sequence, again=again)
    return store_pb2.Command(id=id, txn=rpc_pb2.TxnRequest(success=[put])).SerializeToString()


async def test_what_is_asked_again_is_answered_as_before_and_not_done_again(state):
    (first,) = state.apply(1, 1, [command(1)])
    (again,) = state.apply(2, 1, [command(1, again=True)])
    assert (again, state.mvcc.revision) == (first, 2)


async def test_what_may_be_forgotten_is_refused_and_what_was_never_done_is_done(state):
    state.apply(1, 1, [command(sequence) for sequence in range(1, 8)])
    revision = state.mvcc.revision
    (old,) = state.apply(2, 1, [command(2, again=True)])
    assert isinstance(old, Forgotten)
    assert state.mvcc.revision == revision
    state.apply(3, 1, [command(8, again=True)])
    assert state.mvcc.revision == revision + 1, "a first try that never arrived"
    state.apply(4, 1, [command(2, again=True, client=9)])
    assert state.mvcc.revision == revision + 2, "another client's"


async def test_it_is_still_known_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(apply, "REQUESTS_MAX", 4)
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    State(backend).apply(1, 1, [command(sequence) for sequence in range(1, 8)])
    await backend.close()
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    state = State(backend)
    assert isinstance(state.apply(2, 1, [command(2, again=True)])[0], Forgotten)
    assert isinstance(state.apply(3, 1, [command(7, again=True)])[0], bytes)
    await backend.close()
