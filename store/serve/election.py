"""v3electionpb.Election: an election is a queue whose first leads, and whose key's value is what it proclaims.

See `turns.py`.
"""

from __future__ import annotations

from proto.etcd import election_pb2
from store.mvcc.kv import prefix_end
from store.replica import Replica
from store.serve import turns
from store.serve.server import Context, Services
from store.wire import kv_to


class Election:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def campaign(self, request: election_pb2.CampaignRequest) -> election_pb2.CampaignResponse:
        turn = await turns.take_turn(self._replica, request.name, request.lease, request.value)
        leader = election_pb2.LeaderKey(name=request.name, key=turn.key, rev=turn.create_revision, lease=turn.lease)
        return election_pb2.CampaignResponse(header=self._replica.header(), leader=leader)

    async def proclaim(self, request: election_pb2.ProclaimRequest) -> election_pb2.ProclaimResponse:
        if not await turns.change_value(self._replica, _turn_of(request.leader), request.value):
            raise turns.NotElected
        return election_pb2.ProclaimResponse(header=self._replica.header())

    async def leader(self, request: election_pb2.LeaderRequest) -> election_pb2.LeaderResponse:
        found, _ = await turns.first(self._replica, request.name)
        if found is None:
            raise turns.NoLeaderElected
        return election_pb2.LeaderResponse(header=self._replica.header(), kv=kv_to(found))

    async def observe(self, request: election_pb2.LeaderRequest, context: Context) -> None:
        """Send who leads, and again whenever that or its value changes."""
        prefix, sent = turns.prefix_of(request.name), 0
        while True:
            found, revision = await turns.first(self._replica, request.name)
            if found is not None and found.mod_revision != sent:
                sent = found.mod_revision
                header = self._replica.header(revision)
                await context.write(election_pb2.LeaderResponse(header=header, kv=kv_to(found)))
            await turns.wait_change(self._replica, prefix, prefix_end(prefix), revision)

    async def resign(self, request: election_pb2.ResignRequest) -> election_pb2.ResignResponse:
        await turns.leave(self._replica, _turn_of(request.leader))
        return election_pb2.ResignResponse(header=self._replica.header())


def _turn_of(leader: election_pb2.LeaderKey) -> turns.Turn:
    return turns.Turn(leader.key, leader.rev, leader.lease)


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    election = Election(replica)
    services.add(
        "v3electionpb.Election",
        {
            "Campaign": (election.campaign, election_pb2.CampaignRequest),
            "Proclaim": (election.proclaim, election_pb2.ProclaimRequest),
            "Leader": (election.leader, election_pb2.LeaderRequest),
            "Resign": (election.resign, election_pb2.ResignRequest),
        },
        server_streams={"Observe": (election.observe, election_pb2.LeaderRequest)},
    )
