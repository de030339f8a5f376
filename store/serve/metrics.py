"""The metrics in Prometheus' text form, under etcd's names where they mean the same."""

from __future__ import annotations

import resource
from pathlib import Path

from proto.etcd import rpc_pb2
from store.replica import Replica


def text(replica: Replica, version: str) -> bytes:
    """Return everything; `version` is the etcd whose API this is."""
    state, backend, counts, status = replica.state, replica.backend, replica.counts, replica.status
    counts.see_leader(status.leader)
    while backend.commit_seconds:
        counts.commits.observe(backend.commit_seconds.pop())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    values: list[tuple[str, str, str, float]] = [
        ("etcd_server_has_leader", "gauge", "Whether a leader is known.", int(status.leader is not None)),
        ("etcd_server_is_leader", "gauge", "Whether this member leads.", int(status.role == "leader")),
        ("etcd_server_is_learner", "gauge", "Whether this member has no vote.", int(replica.is_learner)),
        ("etcd_server_leader_changes_seen_total", "counter", "Leaders seen.", counts.leader_changes),
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
        ("process_start_time_seconds", "gauge", "When it started.", round(counts.started_s, 3)),
        ("process_cpu_seconds_total", "counter", "CPU used.", round(usage.ru_utime + usage.ru_stime, 3)),
        ("process_resident_memory_bytes", "gauge", "Memory used.", resident_bytes()),
        ("process_max_resident_memory_bytes", "gauge", "Most memory used.", usage.ru_maxrss * 1024),
    ]
    lines = [f"# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n" for name, kind, help, value in values]
    alarms = [
        f'etcd_server_alarms{{server_id="{member:x}",alarm_type="{rpc_pb2.AlarmType.Name(kind)}"}} 1\n'
        for kind, member in state.alarms
    ]
    lines += ["# HELP etcd_server_alarms Alarms raised.\n# TYPE etcd_server_alarms gauge\n", *alarms]
    lines += ["# HELP etcd_server_version Whose API this is.\n# TYPE etcd_server_version gauge\n"]
    lines += [f'etcd_server_version{{server_version="{version}"}} 1\n']
    name = "etcd_disk_backend_commit_duration_seconds"
    lines.append(counts.commits.text(name, "How long it took to write the state."))
    lines.append("# HELP grpc_server_handled_total Calls answered.\n# TYPE grpc_server_handled_total counter\n")
    for (service, method, code), count in sorted(counts.calls.items()):
        labels = f'grpc_service="{service}",grpc_method="{method}",grpc_code="{code}"'
        lines.append(f"grpc_server_handled_total{{{labels}}} {count}\n")
    return "".join(lines).encode()


def resident_bytes() -> int:
    """Return how much memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
