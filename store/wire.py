"""Between protobuf messages and MVCC's values, both ways; no decisions.

Used by the server, by applying (the log holds protobuf) and by the client.
"""

from __future__ import annotations

from typing import assert_never

from proto.etcd import kv_pb2, rpc_pb2
from store.mvcc.kv import (
    Compare,
    CompareTarget,
    DeleteRange,
    DeleteResult,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    Txn,
    TxnResult,
)
from store.mvcc.revision import Event, KeyValue, Revision

_TARGET_FIELDS = {
    CompareTarget.VERSION: "version",
    CompareTarget.CREATE: "create_revision",
    CompareTarget.MOD: "mod_revision",
    CompareTarget.VALUE: "value",
    CompareTarget.LEASE: "lease",
}


# -- requests, from the wire


def range_from(message: rpc_pb2.RangeRequest) -> Range:
    """Return the query of a RangeRequest."""
    return Range(
        message.key,
        message.range_end,
        message.limit,
        message.revision,
        message.keys_only,
        message.count_only,
        message.sort_order,
        message.sort_target,
        message.min_mod_revision,
        message.max_mod_revision,
        message.min_create_revision,
        message.max_create_revision,
    )


def put_from(message: rpc_pb2.PutRequest) -> Put:
    """Return the operation of a PutRequest."""
    return Put(message.key, message.value, message.lease, message.prev_kv, message.ignore_value, message.ignore_lease)


def delete_from(message: rpc_pb2.DeleteRangeRequest) -> DeleteRange:
    """Return the operation of a DeleteRangeRequest."""
    return DeleteRange(message.key, message.range_end, message.prev_kv)


def txn_from(message: rpc_pb2.TxnRequest) -> Txn:
    """Return the transaction of a TxnRequest."""
    # Lists, and no generators: this is run for every write on every member.
    return Txn(
        tuple([_compare_from(compare) for compare in message.compare]),
        tuple([_op_from(op) for op in message.success]),
        tuple([_op_from(op) for op in message.failure]),
    )


def _compare_from(message: rpc_pb2.Compare) -> Compare:
    # A value left out compares with zero, as in etcd: the default of whichever field the target says.
    value = getattr(message, _TARGET_FIELDS.get(message.target, "version"))  # type: ignore[call-overload]
    return Compare(message.key, message.target, message.result, value, message.range_end)


def _op_from(message: rpc_pb2.RequestOp) -> Op:
    match message.WhichOneof("request"):
        case "request_put":
            return put_from(message.request_put)
        case "request_range":
            return range_from(message.request_range)
        case "request_delete_range":
            return delete_from(message.request_delete_range)
        case "request_txn":
            return txn_from(message.request_txn)
        case _:
            return Txn()  # an empty operation does nothing


# -- requests, to the wire


def range_to(query: Range, message: rpc_pb2.RangeRequest, serializable: bool = False) -> None:
    """Fill `message` with a query."""
    for name in Range.__struct_fields__:
        value = getattr(query, name)
        if value:
            setattr(message, name, value)
    message.serializable = serializable


def txn_to(txn: Txn, message: rpc_pb2.TxnRequest) -> None:
    """Fill `message` with a transaction."""
    for compare in txn.compares:
        filled = message.compare.add(key=compare.key, range_end=compare.range_end)
        filled.target = compare.target  # type: ignore[assignment]
        filled.result = compare.result  # type: ignore[assignment]
        setattr(filled, _TARGET_FIELDS[CompareTarget(compare.target)], compare.value)
    for ops, branch in ((txn.success, message.success), (txn.failure, message.failure)):
        for op in ops:
            _op_to(op, branch.add())


def _op_to(op: Op, message: rpc_pb2.RequestOp) -> None:
    match op:
        case Put():
            put = message.request_put
            put.key, put.value = op.key, op.value
            if op.lease or op.prev_kv or op.ignore_value or op.ignore_lease:
                put.lease, put.prev_kv = op.lease, op.prev_kv
                put.ignore_value, put.ignore_lease = op.ignore_value, op.ignore_lease
        case Range():
            range_to(op, message.request_range)
        case DeleteRange():
            delete = message.request_delete_range
            delete.key, delete.range_end, delete.prev_kv = op.key, op.range_end, op.prev_kv
        case Txn():
            message.request_txn.SetInParent()
            txn_to(op, message.request_txn)
        case _:
            assert_never(op)


# -- answers, to the wire


def kv_to(kv: KeyValue) -> kv_pb2.KeyValue:
    """Return a pair's message."""
    return kv_pb2.KeyValue(
        key=kv.key,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        value=kv.value,
        lease=kv.lease,
    )


def range_result_to(result: RangeResult) -> rpc_pb2.RangeResponse:
    """Return a RangeResponse without a header."""
    return rpc_pb2.RangeResponse(kvs=[kv_to(kv) for kv in result.kvs], more=result.more, count=result.count)


def put_result_to(result: PutResult) -> rpc_pb2.PutResponse:
    """Return a PutResponse without a header."""
    return rpc_pb2.PutResponse(prev_kv=kv_to(result.prev_kv) if result.prev_kv else None)


def delete_result_to(result: DeleteResult) -> rpc_pb2.DeleteRangeResponse:
    """Return a DeleteRangeResponse without a header."""
    return rpc_pb2.DeleteRangeResponse(deleted=result.deleted, prev_kvs=[kv_to(kv) for kv in result.prev_kvs])


def txn_result_to(result: TxnResult) -> rpc_pb2.TxnResponse:
    """Return a TxnResponse whose header holds the revision alone; so do those of its operations, as in etcd."""
    message = rpc_pb2.TxnResponse(succeeded=result.succeeded)
    message.header.revision = result.revision
    for each in result.results:
        response = message.responses.add()
        match each:
            case PutResult():
                response.response_put.CopyFrom(put_result_to(each))
                response.response_put.header.revision = result.revision
            case RangeResult():
                response.response_range.CopyFrom(range_result_to(each))
                response.response_range.header.revision = each.revision
            case DeleteResult():
                response.response_delete_range.CopyFrom(delete_result_to(each))
                response.response_delete_range.header.revision = each.revision
            case TxnResult():
                response.response_txn.CopyFrom(txn_result_to(each))
                # etcd leaves the headers of transactions inside others empty.
                response.response_txn.header.Clear()
                response.response_txn.header.SetInParent()
            case _:
                assert_never(each)
    return message


def event_to(event: Event) -> kv_pb2.Event:
    """Return an event's message."""
    if event.is_delete:
        kv = kv_pb2.KeyValue(key=event.kv.key, mod_revision=event.kv.mod_revision)
    else:
        kv = kv_to(event.kv)
    return kv_pb2.Event(
        type=kv_pb2.Event.DELETE if event.is_delete else kv_pb2.Event.PUT,
        kv=kv,
        prev_kv=kv_to(event.prev_kv) if event.prev_kv else None,
    )


# -- answers, from the wire


def kv_from(message: kv_pb2.KeyValue) -> KeyValue:
    """Return the pair."""
    return KeyValue(
        message.key,
        message.value,
        message.create_revision,
        message.mod_revision,
        message.version,
        message.lease,
    )


def range_result_from(message: rpc_pb2.RangeResponse, revision: int) -> RangeResult:
    """Return the answer to a range; `revision` is the header's."""
    return RangeResult(tuple(map(kv_from, message.kvs)), message.count, message.more, Revision(revision))


def txn_result_from(message: rpc_pb2.TxnResponse) -> TxnResult:
    """Return the answer to a transaction."""
    revision = Revision(message.header.revision)
    return TxnResult(message.succeeded, tuple([_result_from(each, revision) for each in message.responses]), revision)


def _result_from(response: rpc_pb2.ResponseOp, revision: Revision) -> Result:
    match response.WhichOneof("response"):
        case "response_put":
            put = response.response_put
            return PutResult(kv_from(put.prev_kv) if put.HasField("prev_kv") else None)
        case "response_range":
            return range_result_from(response.response_range, revision)
        case "response_delete_range":
            delete = response.response_delete_range
            return DeleteResult(delete.deleted, tuple(map(kv_from, delete.prev_kvs)))
        case _:
            return txn_result_from(response.response_txn)


def event_from(message: kv_pb2.Event) -> Event:
    """Return the event."""
    return Event(kv_from(message.kv), kv_from(message.prev_kv) if message.HasField("prev_kv") else None)
