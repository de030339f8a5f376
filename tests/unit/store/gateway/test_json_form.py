"""A message is the same after it was JSON, and what is not a message is refused whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proto.etcd import rpc_pb2
from store.gateway import json_form
from store.gateway.json_form import BadJson
from store.gateway.routes import ROUTES

numbers = st.integers(-(1 << 63), (1 << 63) - 1)
puts = st.builds(
    rpc_pb2.PutRequest, key=st.binary(max_size=20), value=st.binary(max_size=20), lease=numbers, prev_kv=st.booleans()
)
ops = st.builds(lambda put: rpc_pb2.RequestOp(request_put=put), puts)
txns = st.builds(rpc_pb2.TxnRequest, success=st.lists(ops, max_size=3), failure=st.lists(ops, max_size=3))


@given(txns)
def test_a_message_is_the_same_after_it_was_json(txn: rpc_pb2.TxnRequest):
    raw = json_form.encode(txn)
    assert b"\n" not in raw
    assert json_form.decode(raw, rpc_pb2.TxnRequest) == txn


@given(st.lists(puts, max_size=4))
def test_messages_may_follow_each_other_with_or_without_space(messages):
    raws = [json_form.encode(message) for message in messages]
    for between in (b"", b"\n", b" \r\n\t"):
        assert json_form.decode_all(between.join(raws) + between, rpc_pb2.PutRequest) == messages


def test_names_are_taken_in_both_spellings_and_numbers_as_strings_or_not():
    meant = rpc_pb2.RangeRequest(key=b"foo", range_end=b"\x00", limit=3, keys_only=True)
    for said in (
        {"key": "Zm9v", "range_end": "AA==", "limit": 3, "keys_only": True, "nobody knows": 1},
        {"key": "Zm9v", "rangeEnd": "AA==", "limit": "3", "keysOnly": True},
    ):
        assert json_form.decode(json.dumps(said).encode(), rpc_pb2.RangeRequest) == meant
    assert json_form.decode(b"", rpc_pb2.RangeRequest) == rpc_pb2.RangeRequest()


@pytest.mark.parametrize(
    "raw",
    [
        b"{bad",
        b"[]",
        b"1",
        b"\xff",
        b'{"key":"!!!"}',
        b'{"key":"Zm9"}',
        b'{"key":5}',
        b'{"limit":"many"}',
        b'{"limit":1e30}',
        b'{"sort_order":"SIDEWAYS"}',
        b'{"key":"Zm9v"} {bad',
        b"[" * 100_000,
        b'{"key":' * 100_000,
    ],
)
def test_what_is_no_message_is_refused(raw: bytes):
    with pytest.raises(BadJson):
        json_form.decode_all(raw, rpc_pb2.RangeRequest)


def test_transactions_within_transactions_come_to_an_end():
    nested: dict[str, object] = {}
    for _ in range(150):
        nested = {"success": [{"request_txn": nested}]}
    with pytest.raises(BadJson):
        json_form.decode(json.dumps(nested).encode(), rpc_pb2.TxnRequest)


def test_every_method_of_etcds_has_a_path():
    served = {route.method for route in ROUTES.values()}
    for service in rpc_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            assert f"/{service.full_name}/{method.name}" in served or method.name == "Downgrade"
