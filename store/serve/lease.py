"""etcdserverpb.Lease: grant, revoke, keep-alive, time-to-live, list."""

from __future__ import annotations

from collections.abc import AsyncIterator

from proto.etcd import rpc_pb2
from store.mvcc.kv import LeaseNotFound
from store.replica import Replica
from store.serve.server import Context, Services


class Lease:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def grant(self, request: rpc_pb2.LeaseGrantRequest) -> rpc_pb2.LeaseGrantResponse:
        lease, ttl_s = await self._replica.lease_grant(request.TTL, request.ID)
        return rpc_pb2.LeaseGrantResponse(header=self._replica.header(), ID=lease, TTL=ttl_s)

    async def revoke(self, request: rpc_pb2.LeaseRevokeRequest) -> rpc_pb2.LeaseRevokeResponse:
        await self._replica.lease_revoke(request.ID)
        return rpc_pb2.LeaseRevokeResponse(header=self._replica.header())

    async def keep_alive(self, requests: AsyncIterator[rpc_pb2.LeaseKeepAliveRequest], context: Context) -> None:
        async for request in requests:
            ttl_s = await self._replica.lease_keep_alive(request.ID)
            await context.write(rpc_pb2.LeaseKeepAliveResponse(header=self._replica.header(), ID=request.ID, TTL=ttl_s))

    async def time_to_live(self, request: rpc_pb2.LeaseTimeToLiveRequest) -> rpc_pb2.LeaseTimeToLiveResponse:
        header = self._replica.header()
        try:
            remaining_s, granted_s, keys = await self._replica.lease_time_to_live(request.ID, keys=request.keys)
        except LeaseNotFound:
            return rpc_pb2.LeaseTimeToLiveResponse(header=header, ID=request.ID, TTL=-1)
        return rpc_pb2.LeaseTimeToLiveResponse(
            header=header, ID=request.ID, TTL=remaining_s, grantedTTL=granted_s, keys=keys
        )

    async def leases(self, request: rpc_pb2.LeaseLeasesRequest) -> rpc_pb2.LeaseLeasesResponse:
        leases = [rpc_pb2.LeaseStatus(ID=lease) for lease in self._replica.state.leases]
        return rpc_pb2.LeaseLeasesResponse(header=self._replica.header(), leases=leases)


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    lease = Lease(replica)
    services.add(
        "etcdserverpb.Lease",
        {
            "LeaseGrant": (lease.grant, rpc_pb2.LeaseGrantRequest),
            "LeaseRevoke": (lease.revoke, rpc_pb2.LeaseRevokeRequest),
            "LeaseTimeToLive": (lease.time_to_live, rpc_pb2.LeaseTimeToLiveRequest),
            "LeaseLeases": (lease.leases, rpc_pb2.LeaseLeasesRequest),
        },
        {"LeaseKeepAlive": (lease.keep_alive, rpc_pb2.LeaseKeepAliveRequest)},
    )
