from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proto.steersman.v1 import store_pb2
from store.encoding import field, request_id, txn_of_one_put, varint
from store.mvcc.kv import DeleteResult, PutResult, RangeResult, TxnResult
from store.mvcc.revision import KeyValue, Revision
from store.wire import txn_result_to

NUMBERS = st.integers(0, (1 << 63) - 1)


@given(st.integers(1, (1 << 64) - 1), NUMBERS)
def test_a_requests_id_is_what_protobuf_would_make_of_it(client: int, sequence: int):
    assert request_id(client, sequence) == store_pb2.RequestId(client=client, sequence=sequence).SerializeToString()


@given(NUMBERS.filter(bool), st.booleans())
def test_the_answer_to_one_put_is_what_protobuf_would_make_of_it(revision: int, succeeded: bool):
    result = TxnResult(succeeded, (PutResult(),), Revision(revision))
    assert txn_of_one_put(result) == txn_result_to(result).SerializeToString()


def test_other_answers_are_left_to_protobuf():
    pair = KeyValue(b"k", b"v", 2, 2, 1)
    for results in ((), (PutResult(pair),), (PutResult(), PutResult()), (DeleteResult(0),), (RangeResult((), 0, False, Revision(2)),)):  # fmt: skip  # noqa: E501
        assert txn_of_one_put(TxnResult(True, results, Revision(2))) is None


@given(st.lists(st.tuples(NUMBERS.filter(bool), st.binary(max_size=300))))
def test_messages_joined_by_hand_are_parsed_as_what_they_are(replies: list[tuple[int, bytes]]):
    joined = b"".join(
        field(1, b"\x08" + varint(id) + field(5, store_pb2.Failure(message=text.hex()).SerializeToString()))
        for id, text in replies
    )
    parsed = store_pb2.Replies.FromString(joined)
    assert [(reply.id, reply.failure.message) for reply in parsed.replies] == [(id, text.hex()) for id, text in replies]
