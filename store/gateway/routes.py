"""Which path is which method. As in etcd 3.4, whose paths later versions have kept."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor

from proto.etcd import election_pb2, lock_pb2, rpc_pb2

_PATHS: dict[str, dict[str, str]] = {
    "KV": {
        "kv/range": "Range",
        "kv/put": "Put",
        "kv/deleterange": "DeleteRange",
        "kv/txn": "Txn",
        "kv/compaction": "Compact",
    },
    "Watch": {"watch": "Watch"},
    "Lease": {
        "lease/grant": "LeaseGrant",
        "lease/revoke": "LeaseRevoke",
        "kv/lease/revoke": "LeaseRevoke",
        "lease/keepalive": "LeaseKeepAlive",
        "lease/timetolive": "LeaseTimeToLive",
        "kv/lease/timetolive": "LeaseTimeToLive",
        "lease/leases": "LeaseLeases",
        "kv/lease/leases": "LeaseLeases",
    },
    "Cluster": {
        "cluster/member/add": "MemberAdd",
        "cluster/member/remove": "MemberRemove",
        "cluster/member/update": "MemberUpdate",
        "cluster/member/list": "MemberList",
        "cluster/member/promote": "MemberPromote",
    },
    "Maintenance": {
        "maintenance/alarm": "Alarm",
        "maintenance/status": "Status",
        "maintenance/defragment": "Defragment",
        "maintenance/hash": "Hash",
        "maintenance/hashkv": "HashKV",
        "maintenance/snapshot": "Snapshot",
        "maintenance/transfer-leadership": "MoveLeader",
    },
    "Auth": {
        "auth/enable": "AuthEnable",
        "auth/disable": "AuthDisable",
        "auth/status": "AuthStatus",
        "auth/authenticate": "Authenticate",
        "auth/user/add": "UserAdd",
        "auth/user/get": "UserGet",
        "auth/user/list": "UserList",
        "auth/user/delete": "UserDelete",
        "auth/user/changepw": "UserChangePassword",
        "auth/user/grant": "UserGrantRole",
        "auth/user/revoke": "UserRevokeRole",
        "auth/role/add": "RoleAdd",
        "auth/role/get": "RoleGet",
        "auth/role/list": "RoleList",
        "auth/role/delete": "RoleDelete",
        "auth/role/grant": "RoleGrantPermission",
        "auth/role/revoke": "RoleRevokePermission",
    },
}
_LOCK = {"lock/lock": "Lock", "lock/unlock": "Unlock"}
_ELECTION = {f"election/{name}": name.capitalize() for name in ("campaign", "proclaim", "leader", "observe", "resign")}


class Route:
    """A method's path in gRPC, and the classes of what it is asked and answers."""

    __slots__ = ("method", "request_class", "response_class")

    def __init__(self, service: ServiceDescriptor, name: str) -> None:
        described = service.methods_by_name[name]
        self.method = f"/{service.full_name}/{name}"
        self.request_class = message_factory.GetMessageClass(described.input_type)
        self.response_class = message_factory.GetMessageClass(described.output_type)


def _all() -> Iterator[tuple[str, Route]]:
    services = rpc_pb2.DESCRIPTOR.services_by_name
    tables = [(services[name], paths) for name, paths in _PATHS.items()]
    tables.append((lock_pb2.DESCRIPTOR.services_by_name["Lock"], _LOCK))
    tables.append((election_pb2.DESCRIPTOR.services_by_name["Election"], _ELECTION))
    for service, paths in tables:
        for path, name in paths.items():
            route = Route(service, name)
            yield f"/v3/{path}", route
            yield f"/v3beta/{path}", route


ROUTES: dict[str, Route] = dict(_all())
