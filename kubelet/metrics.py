"""What a kubelet tells of its own work, under upstream's names (k8s.io/kubernetes, pkg/kubelet/metrics).

What its pods use is `metrics_pages`'. Hollow nodes of one process share these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from component.clock import Clock
from component.metrics import Level, Spread, Tally, exponential, shared

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_POD_START_S: Final = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800,
                       2700, 3600)  # fmt: skip
_CALL_S: Final = exponential(0.005, 2.5, 14)

OPERATIONS: Final = shared(Tally("kubelet_runtime_operations_total", "Calls of the runtime.", ("operation_type",)))
OPERATION_ERRORS: Final = shared(
    Tally("kubelet_runtime_operations_errors_total", "Calls of the runtime that failed.", ("operation_type",))
)
OPERATION_DURATION: Final = shared(
    Spread("kubelet_runtime_operations_duration_seconds", "How long they took.", ("operation_type",), _CALL_S)
)
RELIST_DURATION: Final = shared(
    Spread("kubelet_pleg_relist_duration_seconds", "Looking at all that runs.", bounds=_SECONDS)
)  # fmt: skip
RELIST_INTERVAL: Final = shared(
    Spread("kubelet_pleg_relist_interval_seconds", "From one look to the next.", bounds=_SECONDS)
)  # fmt: skip
LAST_SEEN: Final = shared(Level("kubelet_pleg_last_seen_seconds", "When all that runs was last seen."))
POD_START: Final = shared(
    Spread("kubelet_pod_start_duration_seconds", "From a pod's being seen first to its running.", bounds=_POD_START_S)
)
POD_START_TOTAL: Final = shared(
    Spread("kubelet_pod_start_total_duration_seconds", "From a pod's being made to its running.", bounds=_POD_START_S)
)
EVICTIONS: Final = shared(Tally("kubelet_evictions", "Pods ended for the node's sake.", ("eviction_signal",)))
PREEMPTIONS: Final = shared(
    Tally("kubelet_preemptions", "Pods ended so that a critical one may start.", ("preemption_signal",))
)
REQUESTS: Final = shared(
    Tally("kubelet_http_requests_total", "Requests to the server.", ("long_running", "method", "path", "server_type"))
)
REQUEST_DURATION: Final = shared(
    Spread("kubelet_http_requests_duration_seconds", "How long they took.",
           ("long_running", "method", "path", "server_type"), _SECONDS)
)  # fmt: skip
IN_FLIGHT: Final = shared(
    Level("kubelet_http_inflight_requests", "Requests under way.", ("long_running", "method", "path", "server_type"))
)
RENEWAL_ERRORS: Final = shared(
    Tally("kubelet_certificate_manager_client_expiration_renew_errors", "Renewals of certificates that failed.")
)

_OPERATIONS: Final = {
    "RunPodSandbox": "run_podsandbox",
    "StopPodSandbox": "stop_podsandbox",
    "RemovePodSandbox": "remove_podsandbox",
    "PodSandboxStatus": "podsandbox_status",
    "ListPodSandbox": "list_podsandbox",
    "ReopenContainerLog": "reopen_container_log",
    "ImageFsInfo": "image_fs_info",
}


def operation(request: str) -> str:
    """Return upstream's name of a call, from its request's type: `CreateContainerRequest` is `create_container`."""
    name = request.removesuffix("Request")
    found = _OPERATIONS.get(name)
    if found is None:
        found = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return found


class PodStarts:
    """How long pods take from being seen to running; told once of each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}

    def saw(self, uid: str) -> None:
        """Note that a pod was seen that had not begun."""
        self._seen.setdefault(uid, self._clock.monotonic())

    def runs(self, uid: str, age_s: float) -> None:
        """Note that it runs, `age_s` after it was made."""
        since = self._seen.pop(uid, None)
        if since is not None:
            POD_START.of().observe(self._clock.monotonic() - since)
            POD_START_TOTAL.of().observe(age_s)

    def forget(self, uid: str) -> None:
        """Note that it is gone."""
        self._seen.pop(uid, None)


_METHODS: Final = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"))
_PAGES: Final = frozenset((
    "attach", "checkpoint", "configz", "containerLogs", "exec", "healthz", "livez", "logs", "metrics", "pods",
    "portForward", "readyz", "runningpods", "stats", "tunnel",
))  # fmt: skip


@contextlib.contextmanager
def serving(method: str, path: str, is_long: bool) -> Iterator[None]:
    """Count a request to the server; of `path` only its first part is told, as the rest names pods.

    What there is no page for has one series, whatever it is called: callers do not say how many there are.
    """
    page = path.lstrip("/").partition("?")[0].partition("/")[0]
    told = (method if method in _METHODS else "other", page if page in _PAGES else "other")
    labels = ("true" if is_long else "false", *told, "readwrite")
    REQUESTS.add(labels)
    IN_FLIGHT.add(labels)
    try:
        with REQUEST_DURATION.of(labels).timing():
            yield
    finally:
        IN_FLIGHT.add(labels, -1)
