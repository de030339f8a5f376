"""etcdserverpb.KV: Range, Put, DeleteRange, Txn, Compact.

Put and DeleteRange are transactions of one operation, so that there is one way to write.
"""

from __future__ import annotations

from proto.etcd import rpc_pb2
from store.replica import Replica
from store.serve.server import Services
from store.wire import range_result_to


class KV:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def range(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        result = await self._replica.range_request(request)
        response = range_result_to(result)
        response.header.CopyFrom(self._replica.header(result.revision))
        return response

    async def put(self, request: rpc_pb2.PutRequest) -> rpc_pb2.PutResponse:
        txn = rpc_pb2.TxnRequest()
        txn.success.add().request_put.CopyFrom(request)  # one copy; handing it to constructors makes two
        answer = rpc_pb2.TxnResponse.FromString(await self._replica.txn(txn))
        response = answer.responses[0].response_put
        response.header.CopyFrom(self._replica.header(answer.header.revision))
        return response

    async def delete_range(self, request: rpc_pb2.DeleteRangeRequest) -> rpc_pb2.DeleteRangeResponse:
        txn = rpc_pb2.TxnRequest()
        txn.success.add().request_delete_range.CopyFrom(request)
        answer = rpc_pb2.TxnResponse.FromString(await self._replica.txn(txn))
        response = answer.responses[0].response_delete_range
        response.header.CopyFrom(self._replica.header(answer.header.revision))
        return response

    async def txn(self, request: rpc_pb2.TxnRequest) -> bytes:
        answer = await self._replica.txn(request)
        # The rest of the header is this member's: a second header merges into the first when parsed.
        header = self._replica.header()
        header.ClearField("revision")
        return answer + rpc_pb2.TxnResponse(header=header).SerializeToString()

    async def compact(self, request: rpc_pb2.CompactionRequest) -> rpc_pb2.CompactionResponse:
        await self._replica.compact(request.revision, physical=request.physical)
        return rpc_pb2.CompactionResponse(header=self._replica.header())


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    kv = KV(replica)
    services.add(
        "etcdserverpb.KV",
        {
            "Range": (kv.range, rpc_pb2.RangeRequest),
            "Put": (kv.put, rpc_pb2.PutRequest),
            "DeleteRange": (kv.delete_range, rpc_pb2.DeleteRangeRequest),
            "Txn": (kv.txn, rpc_pb2.TxnRequest),
            "Compact": (kv.compact, rpc_pb2.CompactionRequest),
        },
    )
