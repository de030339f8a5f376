"""What `kubectl get pods` shows: the state of a pod in a few words.

STATUS is the most telling word that the phase, the reasons of conditions and the states of containers have: the
first init container that is not done (`Init:0/1`), a container that waits or ended (`CrashLoopBackOff`,
`Completed`), and above all `Terminating` for a pod that is being deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from api import timestamps
from api.resource import Column

if TYPE_CHECKING:
    from api.core.pod import Pod
    from api.core.pod_status import ContainerStatus

_NONE = "<none>"


@dataclass(slots=True)
class Summary:
    """A pod in a few words."""

    ready: int
    """Containers that run and are ready, restartable init containers among them."""
    total: int
    status: str
    restarts: int
    last_restart_s: float
    """When the newest of the restarts' containers ended; 0 when unknown."""


def summarise(pod: Pod) -> Summary:
    """Return what a user should know at a glance."""
    sidecars = {container.name for container in pod.spec.init_containers if container.restart_policy == "Always"}
    status = pod.status.reason or pod.status.phase
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            status = "SchedulingGated"
    summary = Summary(0, len(pod.spec.containers) + len(sidecars), status, 0, 0.0)
    initializing, sidecar_restarts, sidecar_restart_s = _summarise_init(pod, sidecars, summary)
    if not initializing or _is_true(pod, "Initialized"):
        summary.restarts, summary.last_restart_s = sidecar_restarts, sidecar_restart_s
        _summarise_containers(pod, summary)
    if pod.metadata.deletion_timestamp:
        if pod.status.reason == "NodeLost":
            summary.status = "Unknown"
        elif pod.status.phase not in ("Succeeded", "Failed"):
            summary.status = "Terminating"
    return summary


def _summarise_init(pod: Pod, sidecars: set[str], summary: Summary) -> tuple[bool, int, float]:
    sidecar_restarts, sidecar_restart_s = 0, 0.0
    for i, container in enumerate(pod.status.init_container_statuses):
        _count_restarts(container, summary)
        if container.name in sidecars:
            sidecar_restarts += container.restart_count
            sidecar_restart_s = max(sidecar_restart_s, _last_end(container))
        terminated, waiting = container.state.terminated, container.state.waiting
        if terminated is not None and terminated.exit_code == 0:
            continue
        if container.name in sidecars and container.started:
            summary.ready += container.ready
            continue
        if terminated is not None:
            summary.status = f"Init:{_ending(container)}"
        elif waiting is not None and waiting.reason not in ("", "PodInitializing"):
            summary.status = f"Init:{waiting.reason}"
        else:
            summary.status = f"Init:{i}/{len(pod.spec.init_containers)}"
        return True, sidecar_restarts, sidecar_restart_s
    return False, sidecar_restarts, sidecar_restart_s


def _summarise_containers(pod: Pod, summary: Summary) -> None:
    has_running = False
    for container in reversed(pod.status.container_statuses):
        _count_restarts(container, summary)
        if container.state.waiting is not None and container.state.waiting.reason:
            summary.status = container.state.waiting.reason
        elif container.state.terminated is not None:
            summary.status = _ending(container)
        elif container.ready and container.state.running is not None:
            has_running = True
            summary.ready += 1
    if summary.status == "Completed" and has_running:
        summary.status = "Running" if _is_true(pod, "Ready") else "NotReady"


def _ending(container: ContainerStatus) -> str:
    terminated = container.state.terminated
    assert terminated is not None
    if terminated.reason:
        return terminated.reason
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exit_code}"


def _count_restarts(container: ContainerStatus, summary: Summary) -> None:
    summary.restarts += container.restart_count
    summary.last_restart_s = max(summary.last_restart_s, _last_end(container))


def _last_end(container: ContainerStatus) -> float:
    last = container.last_state.terminated
    return timestamps.parse(last.finished_at) if last is not None and last.finished_at else 0.0


def _is_true(pod: Pod, condition: str) -> bool:
    return any(found.type == condition and found.status == "True" for found in pod.status.conditions)


def _ready(pod: Pod, now: float) -> str:
    summary = summarise(pod)
    return f"{summary.ready}/{summary.total}"


def _restarts(pod: Pod, now: float) -> str:
    summary = summarise(pod)
    if summary.restarts and summary.last_restart_s:
        return f"{summary.restarts} ({timestamps.human_duration(now - summary.last_restart_s)} ago)"
    return str(summary.restarts)


def _ip(pod: Pod, now: float) -> str:
    return (pod.status.pod_ips[0].ip if pod.status.pod_ips else pod.status.pod_ip) or _NONE


def _gates(pod: Pod, now: float) -> str:
    gates = pod.spec.readiness_gates
    if not gates:
        return _NONE
    return f"{sum(_is_true(pod, gate.condition_type) for gate in gates)}/{len(gates)}"


COLUMNS: tuple[Column[Pod], ...] = (
    Column("Ready", "string", _ready, "How many of the pod's containers are ready."),
    Column("Status", "string", lambda pod, now: summarise(pod).status, "The state of the pod and its containers."),
    Column("Restarts", "string", _restarts, "How often containers were restarted, and when the last was."),
    Column(
        "Age", "string", lambda pod, now: timestamps.age(pod.metadata.creation_timestamp, now), "Time since created."
    ),
    Column("IP", "string", _ip, "The pod's address.", priority=1),
    Column("Node", "string", lambda pod, now: pod.spec.node_name or _NONE, "The node the pod is on.", priority=1),
    Column(
        "Nominated Node",
        "string",
        lambda pod, now: pod.status.nominated_node_name or _NONE,
        "The node on which pods make way for this one.",
        priority=1,
    ),
    Column("Readiness Gates", "string", _gates, "How many of the pod's readiness gates are open.", priority=1),
)
