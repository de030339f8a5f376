"""Alarms, and what they make the store refuse."""

from __future__ import annotations

from proto.etcd import rpc_pb2
from store.alarms import Alarms, adds_data

NOSPACE, CORRUPT = rpc_pb2.NOSPACE, rpc_pb2.CORRUPT


def test_an_alarm_raised_twice_is_one_and_is_answered_both_times():
    alarms = Alarms()
    assert alarms.activate(NOSPACE, 1) == alarms.activate(NOSPACE, 1) == [(NOSPACE, 1)]
    assert list(alarms) == [(NOSPACE, 1)]
    assert alarms.is_out_of_space and not alarms.is_corrupt


def test_no_type_means_every_type_and_no_member_every_member():
    alarms = Alarms([(NOSPACE, 1), (CORRUPT, 2), (NOSPACE, 3)])
    assert alarms.select(rpc_pb2.NONE, 0) == [(NOSPACE, 1), (NOSPACE, 3), (CORRUPT, 2)]
    assert alarms.deactivate(NOSPACE, 3) == [(NOSPACE, 3)]
    assert alarms.deactivate(rpc_pb2.NONE, 0) == [(NOSPACE, 1), (CORRUPT, 2)]
    assert alarms.deactivate(NOSPACE, 1) == []
    assert not alarms


def test_a_transaction_needs_room_if_any_branch_puts_however_deep():
    assert not adds_data(rpc_pb2.TxnRequest())
    deletes = rpc_pb2.TxnRequest()
    deletes.success.add().request_delete_range.key = b"k"
    assert not adds_data(deletes)
    deletes.failure.add().request_txn.failure.add().request_put.key = b"k"
    assert adds_data(deletes)
