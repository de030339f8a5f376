"""The metrics in Prometheus' text form, under etcd's names where they mean the same."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Literal

from component import process_metrics
from component.metrics import SHARED, Family, Gauge, Labels, render
from proto.etcd import rpc_pb2
from store.replica import Replica


def text(replica: Replica, version: str) -> bytes:
    """Return everything; `version` is the etcd whose API this is."""
    state, backend, status = replica.state, replica.backend, replica.status
    replica.leaders.see(status.leader)
    Kind = Literal["gauge", "counter"]
    values: list[tuple[str, Kind, str, float]] = [
        ("etcd_server_has_leader", "gauge", "Whether a leader is known.", int(status.leader is not None)),
        ("etcd_server_is_leader", "gauge", "Whether this member leads.", int(status.role == "leader")),
        ("etcd_server_is_learner", "gauge", "Whether this member has no vote.", int(replica.is_learner)),
        ("etcd_server_leader_changes_seen_total", "counter", "Leaders seen.", replica.leaders.changes),
        ("etcd_server_proposals_committed_total", "gauge", "Log entries committed.", status.commit),
        ("etcd_server_proposals_applied_total", "gauge", "Log entries applied.", status.applied),
        ("etcd_server_quota_backend_bytes", "gauge", "The state's quota.", max(0, replica.upkeep.quota_bytes)),
        ("etcd_mvcc_db_total_size_in_bytes", "gauge", "Size of the state file.", backend.size_bytes),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "What of it is in use.", backend.in_use_bytes),
        ("etcd_mvcc_put_total", "counter", "Keys put here since the start.", state.mvcc.puts),
        ("etcd_mvcc_delete_total", "counter", "Keys deleted here since the start.", state.mvcc.deletes),
        ("etcd_mvcc_txn_total", "counter", "Transactions applied here since the start.", state.mvcc.txns),
        ("etcd_mvcc_range_total", "counter", "Ranges read here since the start.", state.mvcc.ranges),
        ("etcd_debugging_mvcc_keys_total", "gauge", "Keys in the index.", state.mvcc.keys),
        ("etcd_debugging_mvcc_current_revision", "gauge", "The newest revision.", state.mvcc.revision),
        ("etcd_debugging_mvcc_compact_revision", "gauge", "The last compaction.", state.mvcc.compact_revision),
        ("etcd_debugging_mvcc_watcher_total", "gauge", "Watches.", len(state.watchers)),
        ("etcd_debugging_mvcc_slow_watcher_total", "gauge", "Watches behind.", state.watchers.behind),
        ("etcd_debugging_mvcc_pending_events_total", "gauge", "Events not sent yet.", state.watchers.pending_events),
        ("etcd_debugging_lease_granted_total", "gauge", "Leases there are.", sum(1 for _ in state.leases)),
        ("steersman_store_raft_term", "gauge", "Raft's term.", status.term),
        ("steersman_store_log_durable_index", "gauge", "Entries on this disk.", status.durable),
        ("process_max_resident_memory_bytes", "gauge", "Most memory held.", _most_memory_bytes()),
    ]
    families: list[Family] = [Gauge(name, help, _telling(value), kind=kind) for name, kind, help, value in values]
    alarms: dict[Labels, float] = {(f"{member:x}", rpc_pb2.AlarmType.Name(kind)): 1 for kind, member in state.alarms}
    families += [
        Gauge("etcd_server_alarms", "Alarms raised.", lambda: alarms, ("server_id", "alarm_type")),
        Gauge("etcd_server_version", "Whose API this is.", lambda: {(version,): 1}, ("server_version",)),
        *process_metrics.families(),
        *SHARED,
    ]
    return render(families)


def _most_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _telling(value: float) -> Callable[[], float]:
    return lambda: value
