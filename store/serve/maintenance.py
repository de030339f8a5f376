"""etcdserverpb.Maintenance: status, and the list of alarms (there are none yet)."""

from __future__ import annotations

from proto.etcd import rpc_pb2
from store.replica import Replica
from store.serve.errors import NotServed
from store.serve.server import Services

ETCD_VERSION = "3.4.34"
"""The etcd whose API this is; from 3.4.31 on clients may trust progress notices."""


class Maintenance:
    """The service's methods."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def status(self, request: rpc_pb2.StatusRequest) -> rpc_pb2.StatusResponse:
        status = self._replica.status
        size_bytes = self._replica.backend.size_bytes
        return rpc_pb2.StatusResponse(
            header=self._replica.header(),
            version=ETCD_VERSION,
            dbSize=size_bytes,
            dbSizeInUse=size_bytes,
            leader=self._replica.member_id if status.leader == self._replica.name else 0,
            raftIndex=status.commit,
            raftTerm=status.term,
            raftAppliedIndex=status.applied,
            errors=[] if status.leader else ["etcdserver: no leader"],
        )

    async def alarm(self, request: rpc_pb2.AlarmRequest) -> rpc_pb2.AlarmResponse:
        if request.action == rpc_pb2.AlarmRequest.ACTIVATE:
            raise NotServed("Maintenance.Alarm: alarms can't be raised by hand in this store")
        return rpc_pb2.AlarmResponse(header=self._replica.header())


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    maintenance = Maintenance(replica)
    services.add(
        "etcdserverpb.Maintenance",
        {
            "Status": (maintenance.status, rpc_pb2.StatusRequest),
            "Alarm": (maintenance.alarm, rpc_pb2.AlarmRequest),
        },
    )
