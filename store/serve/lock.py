"""v3lockpb.Lock: a lock is a queue in which whoever is first holds it. See `turns.py`."""

from __future__ import annotations

from proto.etcd import lock_pb2, rpc_pb2
from store.replica import Replica
from store.serve import turns
from store.serve.server import Services


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""

    async def lock(request: lock_pb2.LockRequest) -> lock_pb2.LockResponse:
        turn = await turns.take_turn(replica, request.name, request.lease)
        return lock_pb2.LockResponse(header=replica.header(), key=turn.key)

    async def unlock(request: lock_pb2.UnlockRequest) -> lock_pb2.UnlockResponse:
        txn = rpc_pb2.TxnRequest()
        txn.success.add().request_delete_range.key = request.key
        await replica.txn(txn)
        return lock_pb2.UnlockResponse(header=replica.header())

    services.add("v3lockpb.Lock", {"Lock": (lock, lock_pb2.LockRequest), "Unlock": (unlock, lock_pb2.UnlockRequest)})
