"""etcdserverpb.Cluster: who the members are. Changing them is refused by `Consensus.change_membership`."""

from __future__ import annotations

from typing import Any

from proto.etcd import rpc_pb2
from store.consensus.consensus import MembershipChange
from store.replica import Replica
from store.serve.server import Services, Unary


class Cluster:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def member_list(self, request: rpc_pb2.MemberListRequest) -> rpc_pb2.MemberListResponse:
        replica = self._replica
        member = rpc_pb2.Member(
            ID=replica.member_id, name=replica.name, peerURLs=replica.peer_urls, clientURLs=replica.client_urls
        )
        return rpc_pb2.MemberListResponse(header=replica.header(), members=[member])

    def change(self, kind: Any) -> Unary:
        """Return the method that makes one kind of change."""

        async def method(request: Any) -> None:
            await self._replica.consensus.change_membership(MembershipChange(kind, ""))

        return method


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    cluster = Cluster(replica)
    services.add(
        "etcdserverpb.Cluster",
        {
            "MemberList": (cluster.member_list, rpc_pb2.MemberListRequest),
            "MemberAdd": (cluster.change("add-learner"), rpc_pb2.MemberAddRequest),
            "MemberPromote": (cluster.change("promote"), rpc_pb2.MemberPromoteRequest),
            "MemberRemove": (cluster.change("remove"), rpc_pb2.MemberRemoveRequest),
            "MemberUpdate": (cluster.change("update"), rpc_pb2.MemberUpdateRequest),
        },
    )
