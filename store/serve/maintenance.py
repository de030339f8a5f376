"""etcdserverpb.Maintenance: status, alarms, defragmentation, hashes, snapshots, handing over leadership.

Some answers have no header, as etcd 3.4's do not.
"""

from __future__ import annotations

import asyncio
import logging
import time

from proto.etcd import rpc_pb2
from store import backup
from store.consensus.consensus import NotLeader
from store.replica import Replica
from store.serve.errors import NotLeading
from store.serve.server import Context, Services

log = logging.getLogger(__name__)

ETCD_VERSION = "3.4.34"
"""The etcd whose API this is; from 3.4.31 on clients may trust progress notices."""
CATCH_UP_S = 5.0
"""How long a member that lags may take to catch up before a snapshot of it begins."""
NEVER_COMPACTED = -1
SIGN_OF_LIFE_S = 3.0
"""A client that waits for a snapshot to begin is sent an empty piece after so long."""
STALLED_S = 60.0
"""A snapshot's reader that takes nothing for so long is given up: it keeps pages of the state from being reused."""


class Maintenance:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def status(self, request: rpc_pb2.StatusRequest) -> rpc_pb2.StatusResponse:
        replica, status, backend = self._replica, self._replica.status, self._replica.backend
        errors = [] if status.leader else ["etcdserver: no leader"]
        errors += [f"memberID:{member} alarm:{rpc_pb2.AlarmType.Name(kind)} " for kind, member in replica.state.alarms]
        return rpc_pb2.StatusResponse(
            header=replica.header(),
            version=ETCD_VERSION,
            dbSize=backend.size_bytes,
            dbSizeInUse=backend.in_use_bytes,
            dbSizeQuota=max(0, replica.upkeep.quota_bytes),
            leader=replica.leader_id,
            raftIndex=status.commit,
            raftTerm=status.term,
            raftAppliedIndex=status.applied,
            isLearner=replica.is_learner,
            errors=errors,
        )

    async def alarm(self, request: rpc_pb2.AlarmRequest) -> rpc_pb2.AlarmResponse:
        await self._replica.access.caller()
        meant = await self._replica.upkeep.alarm(request.action, request.alarm, request.memberID)
        response = rpc_pb2.AlarmResponse()
        for kind, member in meant:
            raised = response.alarms.add(memberID=member)
            raised.alarm = kind  # type: ignore[assignment]
        return response

    async def defragment(self, request: rpc_pb2.DefragmentRequest) -> rpc_pb2.DefragmentResponse:
        await self._replica.access.require_admin()
        await self._replica.backend.defragment()
        return rpc_pb2.DefragmentResponse()

    async def hash(self, request: rpc_pb2.HashRequest) -> rpc_pb2.HashResponse:
        await self._replica.access.require_admin()
        found = await self._replica.upkeep.hash_all()
        return rpc_pb2.HashResponse(header=self._replica.header(), hash=found)

    async def hash_kv(self, request: rpc_pb2.HashKVRequest) -> rpc_pb2.HashKVResponse:
        await self._replica.access.require_admin()
        found, revision, compact_revision = await self._replica.upkeep.hash_kv(request.revision)
        return rpc_pb2.HashKVResponse(
            header=self._replica.header(),
            hash=found,
            compact_revision=compact_revision or NEVER_COMPACTED,
            hash_revision=revision,
        )

    async def snapshot(self, request: rpc_pb2.SnapshotRequest, context: Context) -> None:
        """Stream a backup (see `store.backup`): of everything acknowledged before the call, if there is a leader."""
        replica = self._replica
        await replica.access.require_admin()
        try:
            async with asyncio.timeout(CATCH_UP_S):
                await replica.consensus.read_index()
        except (NotLeader, TimeoutError):
            # Without a majority a backup of what this member has is what its operator needs most.
            log.warning("a snapshot is taken without a leader: it may lack the newest writes")
        await replica.backend.settle()
        with replica.backend.read() as reading:
            meta = reading.meta
            description = backup.Description(
                cluster_id=replica.cluster_id,
                member=replica.name,
                revision=meta.revision,
                compact_revision=meta.compact_revision,
                index=meta.applied,
                term=meta.term,
                created_s=round(time.time(), 3),
                version=ETCD_VERSION,
            )
            header = replica.header(meta.revision)
            preparing = asyncio.ensure_future(asyncio.to_thread(backup.Outgoing, description, reading))
            while not (await asyncio.wait({preparing}, timeout=SIGN_OF_LIFE_S))[0]:
                left_bytes = replica.backend.in_use_bytes
                await context.write(rpc_pb2.SnapshotResponse(header=header, remaining_bytes=left_bytes))
            outgoing = preparing.result()
            left_bytes, pieces = outgoing.size_bytes, outgoing.pieces()
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                left_bytes -= len(piece)
                response = rpc_pb2.SnapshotResponse(header=header, remaining_bytes=left_bytes, blob=piece)
                response.version = ETCD_VERSION
                async with asyncio.timeout(STALLED_S):
                    await context.write(response)

    async def move_leader(self, request: rpc_pb2.MoveLeaderRequest) -> rpc_pb2.MoveLeaderResponse:
        if self._replica.leader_id != self._replica.member_id:
            raise NotLeading
        await self._replica.consensus.transfer_leadership(request.targetID)
        return rpc_pb2.MoveLeaderResponse()


def add_to(services: Services, replica: Replica) -> None:
    """Add the service; what is not added (Downgrade) answers that it is not served."""
    maintenance = Maintenance(replica)
    services.add(
        "etcdserverpb.Maintenance",
        {
            "Status": (maintenance.status, rpc_pb2.StatusRequest),
            "Alarm": (maintenance.alarm, rpc_pb2.AlarmRequest),
            "Defragment": (maintenance.defragment, rpc_pb2.DefragmentRequest),
            "Hash": (maintenance.hash, rpc_pb2.HashRequest),
            "HashKV": (maintenance.hash_kv, rpc_pb2.HashKVRequest),
            "MoveLeader": (maintenance.move_leader, rpc_pb2.MoveLeaderRequest),
        },
        server_streams={"Snapshot": (maintenance.snapshot, rpc_pb2.SnapshotRequest)},
    )
