"""How others learn that this member is well: grpc.health.v1 on the client port, and what plain HTTP says beside it.

`component.health` listens, as in every process of ours; here is what it is given to say.
"""

from __future__ import annotations

import resource

from store.replica import Replica
from store.serve.server import Services

_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


class _AnyRequest:
    @staticmethod
    def FromString(raw: bytes) -> bytes:
        return raw


def add_to(services: Services, replica: Replica) -> None:
    """Add grpc.health.v1.Health/Check: serving while a leader is known."""

    async def check(request: bytes) -> bytes:
        return _SERVING if replica.status.leader else b"\x08\x02"

    services.add("grpc.health.v1.Health", {"Check": (check, _AnyRequest)})


def readiness(replica: Replica) -> str | None:
    """Return what keeps this member from serving, or None."""
    return None if replica.status.leader else "no leader is known"


def metrics(replica: Replica) -> bytes:
    """Return the metrics in Prometheus' text form, under etcd's names where they mean the same."""
    status, state = replica.status, replica.state
    values: dict[str, tuple[str, float]] = {
        "etcd_server_has_leader": ("gauge", int(status.leader is not None)),
        "etcd_server_is_leader": ("gauge", int(status.role == "leader")),
        "etcd_server_proposals_committed_total": ("gauge", status.commit),
        "etcd_server_proposals_applied_total": ("gauge", status.applied),
        "etcd_mvcc_db_total_size_in_bytes": ("gauge", replica.backend.size_bytes),
        "etcd_debugging_mvcc_current_revision": ("gauge", state.mvcc.revision),
        "etcd_debugging_mvcc_compact_revision": ("gauge", state.mvcc.compact_revision),
        "etcd_debugging_mvcc_watcher_total": ("gauge", len(state.watchers)),
        "steersman_store_raft_term": ("gauge", status.term),
        "steersman_store_log_durable_index": ("gauge", status.durable),
        "process_max_resident_memory_bytes": ("gauge", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
    }
    text = "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, (kind, value) in values.items())
    return text.encode()
