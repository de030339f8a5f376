"""etcdserverpb.Cluster: who the members are, and changing them one at a time.

A member added here is always a learner first. etcd adds voters at once unless asked for a learner; here the leader
promotes such a member itself as soon as it is in sync, so that one that never starts costs no majority.
"""

from __future__ import annotations

from proto.etcd import rpc_pb2
from store.consensus.membership import MemberRecord, MembershipChange
from store.replica import Replica
from store.serve.server import Services


class Cluster:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def _header(self) -> rpc_pb2.ResponseHeader:
        """Return what etcd's answers about members have: which cluster and term, and no revision of keys."""
        header = self._replica.header()
        header.ClearField("revision")
        return header

    async def member_list(self, request: rpc_pb2.MemberListRequest) -> rpc_pb2.MemberListResponse:
        if getattr(request, "linearizable", False):
            await self._replica.read_index()
        records = self._replica.consensus.members.records
        return rpc_pb2.MemberListResponse(header=self._header(), members=map(member_to, records))

    async def member_add(self, request: rpc_pb2.MemberAddRequest) -> rpc_pb2.MemberAddResponse:
        before = {record.id for record in self._replica.consensus.members.records}
        urls = tuple(request.peerURLs)
        change = MembershipChange("add", peer_urls=urls, wants_vote=not request.isLearner)
        members = await self._replica.change_membership(change)
        added = next(r for r in members.records if r.id not in before and set(r.peer_urls) == set(urls))
        return rpc_pb2.MemberAddResponse(
            header=self._header(), member=member_to(added), members=map(member_to, members.records)
        )

    async def member_remove(self, request: rpc_pb2.MemberRemoveRequest) -> rpc_pb2.MemberRemoveResponse:
        members = await self._replica.change_membership(MembershipChange("remove", request.ID))
        return rpc_pb2.MemberRemoveResponse(header=self._header(), members=map(member_to, members.records))

    async def member_update(self, request: rpc_pb2.MemberUpdateRequest) -> rpc_pb2.MemberUpdateResponse:
        change = MembershipChange("update", request.ID, peer_urls=tuple(request.peerURLs))
        members = await self._replica.change_membership(change)
        return rpc_pb2.MemberUpdateResponse(header=self._header(), members=map(member_to, members.records))

    async def member_promote(self, request: rpc_pb2.MemberPromoteRequest) -> rpc_pb2.MemberPromoteResponse:
        members = await self._replica.change_membership(MembershipChange("promote", request.ID))
        return rpc_pb2.MemberPromoteResponse(header=self._header(), members=map(member_to, members.records))


def member_to(record: MemberRecord) -> rpc_pb2.Member:
    """Return a member's message."""
    return rpc_pb2.Member(
        ID=record.id,
        name=record.name,
        peerURLs=record.peer_urls,
        clientURLs=record.client_urls,
        isLearner=record.is_learner,
    )


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    cluster = Cluster(replica)
    services.add(
        "etcdserverpb.Cluster",
        {
            "MemberList": (cluster.member_list, rpc_pb2.MemberListRequest),
            "MemberAdd": (cluster.member_add, rpc_pb2.MemberAddRequest),
            "MemberPromote": (cluster.member_promote, rpc_pb2.MemberPromoteRequest),
            "MemberRemove": (cluster.member_remove, rpc_pb2.MemberRemoveRequest),
            "MemberUpdate": (cluster.member_update, rpc_pb2.MemberUpdateRequest),
        },
    )
