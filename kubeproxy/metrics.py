"""What a node's proxy tells of its work, under the names of upstream's (k8s.io/kubernetes, pkg/proxy/metrics)."""

from __future__ import annotations

from typing import Final

from component.metrics import Level, Spread, Tally, exponential, shared

_BOUNDS: Final = exponential(0.001, 2, 15)

SYNC: Final = shared(
    Spread("kubeproxy_sync_proxy_rules_duration_seconds", "Bringing the rules up to date.", bounds=_BOUNDS)
)
_LATENESS: Final = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
LATENESS: Final = shared(
    Spread(
        "kubeproxy_network_programming_duration_seconds",
        "From a pod's becoming ready, or ceasing to be, until the rules say so.",
        bounds=_LATENESS,
    )
)
FULL_SYNC: Final = shared(
    Spread("kubeproxy_sync_full_proxy_rules_duration_seconds", "Writing all rules anew.", bounds=_BOUNDS)
)
PARTIAL_SYNC: Final = shared(
    Spread("kubeproxy_sync_partial_proxy_rules_duration_seconds", "Writing what changed.", bounds=_BOUNDS)
)
LAST_SYNC: Final = shared(
    Level("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the rules were last right.")
)  # fmt: skip
LAST_QUEUED: Final = shared(
    Level("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When something last asked for a sync.")
)
SERVICE_CHANGES: Final = shared(
    Tally("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of Services that came in.")
)
SERVICES_PENDING: Final = shared(
    Level("kubeproxy_sync_proxy_rules_service_changes_pending", "Services whose rules are not yet right.")
)
ENDPOINT_CHANGES: Final = shared(
    Tally("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of EndpointSlices that came in.")
)
FAILURES: Final = shared(
    Tally("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "Syncs that the kernel refused.")
)
PARTIAL_FAILURES: Final = shared(
    Tally("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", "Of those, syncs of what had changed.")
)
RULES: Final = shared(Level("kubeproxy_sync_proxy_rules_iptables_total", "Rules of ours in the kernel.", ("table",)))
SERVED_PORTS: Final = shared(Level("kubeproxy_served_ports", "Ports of Services that this node serves."))
