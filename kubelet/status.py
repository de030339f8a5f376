"""What to say of a pod: pure, from what the runtime has of it to a PodStatus, in upstream's words.

Phases, conditions, container states and their reasons follow upstream's observable behaviour, since people and
controllers read them. `diff` turns two statuses into the strategic merge patch that is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from api.core.containers import Container
from api.core.pod import Pod
from api.core.pod_status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    PodCondition,
    PodIP,
    PodStatus,
    VolumeMountStatus,
)
from api.core.static_pods import is_static
from api.timestamps import render
from kubelet import qos
from kubelet.lifecycle import AnyContainer, Finish, Verdict, attempts_of, is_initialized, is_sidecar
from kubelet.runtime.records import ContainerRecord, RuntimePod, State


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run, beyond what its records show."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a status depends on beside the pod and its records."""

    host_ips: tuple[str, ...]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """By container name: back-off, image and configuration troubles."""
    finish: Finish | None = None
    is_stopping: bool = False


def compute_status(pod: Pod, runtime: RuntimePod, around: Circumstances, now: float) -> PodStatus:
    """Return the pod's status; what others wrote (conditions of their own, nominatedNodeName) is kept."""
    old = pod.status
    finish = around.finish
    if finish is not None and not runtime.containers and not old.container_statuses:
        # The node never took it: there is nothing to say of containers.
        return msgspec.structs.replace(
            old,
            phase=finish.phase,
            reason=finish.reason,
            message=finish.message,
            start_time=old.start_time or render(now),
            qos_class=old.qos_class or qos.qos_class(pod),
        )
    initialized = is_initialized(pod, runtime)
    started_init = _Describer(pod, runtime, around, "PodInitializing", old.init_container_statuses, initialized)
    waiting_reason = "PodInitializing" if pod.spec.init_containers else "ContainerCreating"
    describer = _Describer(pod, runtime, around, waiting_reason, old.container_statuses, initialized)
    init_statuses = [started_init.describe(container) for container in pod.spec.init_containers]
    statuses = [describer.describe(container) for container in pod.spec.containers]
    ephemeral = _Describer(pod, runtime, around, "ContainerCreating", old.ephemeral_container_statuses, initialized)
    # No probe judges these: they count neither as started nor as ready.
    ephemeral_statuses = [
        msgspec.structs.replace(ephemeral.describe(container), ready=False, started=None)
        for container in pod.spec.ephemeral_containers
    ]
    is_over = around.is_stopping and not runtime.running
    if is_over:
        _presume_failed(init_statuses, statuses)
    if runtime.running:
        # What ends a pod is told when nothing of it runs any more: others take a finished pod's room at once.
        finish = None
    phase = compute_phase(pod, init_statuses, statuses, is_over=is_over)
    if old.phase in ("Succeeded", "Failed"):
        phase = old.phase
    elif finish is not None:
        phase = finish.phase
    elif is_over and phase != "Succeeded" and not is_static(pod):
        # Nothing of it will ever run, so whoever waits for its end (a Job, by its finalizer) must be told one.
        phase = "Failed"
    sandbox = runtime.ready_sandbox
    ips = (around.host_ips if pod.spec.host_network else sandbox.ips) if sandbox is not None else ()
    if not ips and old.pod_ip and (around.is_stopping or phase in ("Succeeded", "Failed")):
        # A finished pod still shows the address it had.
        ips = tuple(item.ip for item in old.pod_ips) or (old.pod_ip,)
    status = PodStatus(
        phase=phase,
        message=(finish.message if finish is not None else "") or old.message,
        reason=(finish.reason if finish is not None else "") or old.reason,
        nominated_node_name=old.nominated_node_name,
        host_ip=around.host_ips[0] if around.host_ips else "",
        host_ips=[HostIP(ip=ip) for ip in around.host_ips],
        pod_ip=ips[0] if ips else "",
        pod_ips=[PodIP(ip=ip) for ip in ips],
        start_time=old.start_time or render(now),
        init_container_statuses=init_statuses,
        container_statuses=statuses,
        ephemeral_container_statuses=ephemeral_statuses,
        qos_class=old.qos_class or qos.qos_class(pod),
        resize=old.resize,
        resource_claim_statuses=old.resource_claim_statuses,
    )
    status.conditions = compute_conditions(pod, status, sandbox is not None, now)
    if around.finish is not None and around.finish.was_disrupted:
        disrupted = PodCondition(
            type="DisruptionTarget",
            status="True",
            reason="TerminationByKubelet",
            message=around.finish.message,
            last_transition_time=render(now),
        )
        if all(known.type != disrupted.type for known in status.conditions):
            status.conditions.append(disrupted)
    return status


def _presume_failed(init_statuses: Sequence[ContainerStatus], statuses: Sequence[ContainerStatus]) -> None:
    """Say of containers that were still to start when their pod was stopped for good that they failed.

    Of init containers that is said up to the last one that was ever tried, at least of the first; of the others only
    once the pod is initialized.
    """
    tried = [i for i, status in enumerate(init_statuses) if not status.state.waiting or status.last_state.terminated]
    main_tried = any(not status.state.waiting or status.last_state.terminated for status in statuses)
    last = init_statuses[-1].state.terminated if init_statuses else None
    is_initialized = not init_statuses or main_tried or (last is not None and last.exit_code == 0)
    for status in [*init_statuses[: max(tried, default=0) + 1], *(statuses if is_initialized else ())]:
        if status.state.terminated is None:
            status.state = ContainerState(terminated=_never_seen())


def _never_seen(container_id: str = "") -> ContainerStateTerminated:
    """Return how a container ended of whose end nothing is known."""
    return ContainerStateTerminated(
        exit_code=137,
        reason="ContainerStatusUnknown",
        message="The container could not be located when the pod was terminated",
        container_id=container_id,
    )


def compute_phase(
    pod: Pod, init_statuses: Sequence[ContainerStatus], statuses: Sequence[ContainerStatus], *, is_over: bool = False
) -> str:
    """Return Pending, Running, Succeeded or Failed by what containers do and the restart policy.

    A pod that `is_over` has been stopped for good: what has ended will not be restarted, whatever the policy.
    """
    initializing = False
    sidecars = 0
    for container, init in zip(pod.spec.init_containers, init_statuses, strict=True):
        if is_sidecar(container):
            initializing = initializing or (not init.started and init.state.terminated is None)
            sidecars += init.state.running is not None
            continue
        ended = init.state.terminated
        if ended is not None and ended.exit_code != 0 and pod.spec.restart_policy == "Never":
            return "Failed"
        initializing = initializing or ended is None or ended.exit_code != 0
    running = waiting = stopped = succeeded = 0
    for status in statuses:
        if status.state.running is not None:
            running += 1
        elif status.state.terminated is not None:
            stopped += 1
            succeeded += status.state.terminated.exit_code == 0
        elif status.last_state.terminated is not None:
            stopped += 1
        else:
            waiting += 1
    if waiting or (initializing and not running and not stopped):
        return "Pending"
    if running or (stopped and sidecars):
        # A sidecar outlives the others: its pod is done when it has ended too (KEP-753).
        return "Running"
    if stopped:
        if is_over:
            return "Succeeded" if stopped == succeeded else "Failed"
        if pod.spec.restart_policy == "Always":
            return "Running"
        if stopped == succeeded:
            return "Succeeded"
        return "Failed" if pod.spec.restart_policy == "Never" else "Running"
    return "Pending"


class _Describer:
    """Describes the containers of one list of the pod."""

    def __init__(
        self,
        pod: Pod,
        runtime: RuntimePod,
        around: Circumstances,
        waiting_reason: str,
        old: Sequence[ContainerStatus],
        initialized: bool,
    ) -> None:
        self._pod = pod
        self._runtime = runtime
        self._around = around
        self._waiting_reason = waiting_reason
        self._old = {status.name: status for status in old}
        self._initialized = initialized

    def describe(self, container: AnyContainer) -> ContainerStatus:
        old = self._old.get(container.name)
        attempts = [r for r in self._runtime.attempts(container.name) if r.state is not State.CREATED]
        waiting = self._around.waiting.get(container.name)
        if not attempts:
            return self._unknown(container, old, waiting)
        newest = attempts[0]
        status = ContainerStatus(
            name=container.name,
            restart_count=newest.attempt,
            image=newest.image or container.image,
            image_id=newest.image_ref,
            container_id=_container_id(newest),
            volume_mounts=_volume_mounts(container),
        )
        previous = attempts[1] if len(attempts) > 1 else None
        if newest.is_running:
            verdict = self._around.verdicts.get(newest.id, Verdict())
            status.state = ContainerState(running=ContainerStateRunning(started_at=render(newest.started_at_s)))
            status.started = verdict.is_started
            # One that is being stopped stays ready for as long as its probe says: it may serve what it has begun.
            status.ready = not self._is_plain_init(container) and verdict.is_ready and verdict.is_started
        elif waiting is not None and not self._around.is_stopping:
            status.state = ContainerState(waiting=ContainerStateWaiting(reason=waiting.reason, message=waiting.message))
            status.started = False
            previous = newest
        else:
            status.state = ContainerState(terminated=_terminated(newest))
            status.started = False
            # A plain init container is ready once it has completed.
            status.ready = self._is_plain_init(container) and newest.exit_code == 0 and newest.state is State.EXITED
        if previous is not None:
            status.last_state = ContainerState(terminated=_terminated(previous))
        elif old is not None and old.last_state.terminated is not None and old.container_id == status.container_id:
            status.last_state = old.last_state
        return status

    def _unknown(
        self, container: AnyContainer, old: ContainerStatus | None, waiting: Waiting | None
    ) -> ContainerStatus:
        """Describe a container that the runtime has nothing of."""
        status = ContainerStatus(name=container.name, image=container.image, started=False)
        if (
            old is not None
            and old.state.terminated is not None
            and (self._around.is_stopping or self._is_past(container))
        ):
            return old
        if old is not None:
            # It may wait for long: what it waits for is another attempt all the same.
            status.restart_count, status.last_state = attempts_of(old), old.last_state
            if old.state.terminated is not None:
                status.last_state = old.state
        if old is not None and old.state.running is not None:
            # It ran, and the runtime has lost every trace: nobody will ever know how it ended.
            status.image_id = old.image_id
            gone = _never_seen(old.container_id)
            if self._around.is_stopping or self._around.finish is not None:
                status.restart_count = old.restart_count
                status.state = ContainerState(terminated=gone)
                return status
            status.last_state = ContainerState(terminated=gone)
        reason = waiting or Waiting(self._waiting_reason)
        status.state = ContainerState(waiting=ContainerStateWaiting(reason=reason.reason, message=reason.message))
        return status

    def _is_plain_init(self, container: AnyContainer) -> bool:
        is_init = any(container is init for init in self._pod.spec.init_containers)
        return is_init and isinstance(container, Container) and not is_sidecar(container)

    def _is_past(self, container: AnyContainer) -> bool:
        return self._initialized and self._is_plain_init(container)


def _volume_mounts(container: AnyContainer) -> list[VolumeMountStatus]:
    """Return how volumes are mounted; what is mounted below a read-only one may still be written (KEP-3857)."""
    return [
        VolumeMountStatus(
            name=mount.name,
            mount_path=mount.mount_path,
            read_only=mount.read_only,
            recursive_read_only="Disabled" if mount.read_only else None,
        )
        for mount in container.volume_mounts
    ]


def _container_id(record: ContainerRecord) -> str:
    return f"containerd://{record.id}"


def _terminated(record: ContainerRecord) -> ContainerStateTerminated:
    reason = record.reason
    if record.state is State.UNKNOWN:
        reason = reason or "ContainerStatusUnknown"
    return ContainerStateTerminated(
        exit_code=record.exit_code,
        reason=reason or ("Completed" if record.exit_code == 0 else "Error"),
        message=record.message,
        # One that never got going is said to have started when time began, as upstream has it.
        started_at=render(record.started_at_s),
        finished_at=render(record.finished_at_s) if record.finished_at_s else "",
        container_id=_container_id(record),
    )


def compute_conditions(pod: Pod, status: PodStatus, has_network: bool, now: float) -> list[PodCondition]:
    """Return the pod's conditions: ours computed, those of others as they are."""
    ready, containers_ready = _readiness(pod, status)
    ours = {
        "PodReadyToStartContainers": (has_network, "", ""),
        "Initialized": _initialized(pod, status),
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": (True, "", ""),
    }
    old = {condition.type: condition for condition in pod.status.conditions}
    conditions = []
    for type_, (is_true, reason, message) in ours.items():
        before = old.pop(type_, None)
        condition = PodCondition(type=type_, status="True" if is_true else "False", reason=reason, message=message)
        is_unchanged = before is not None and before.status == condition.status
        condition.last_transition_time = (before.last_transition_time if before and is_unchanged else "") or render(now)
        conditions.append(condition)
    return [*conditions, *old.values()]


Claim = tuple[bool, str, str]
"""Whether a condition holds, its reason, its message."""


def _initialized(pod: Pod, status: PodStatus) -> Claim:
    if status.phase == "Succeeded":
        return True, "PodCompleted", ""
    incomplete = [
        init.name
        for container, init in zip(pod.spec.init_containers, status.init_container_statuses, strict=True)
        if not (init.started if is_sidecar(container) and not init.state.terminated else init.ready)
    ]
    has_run = any(s.state.running or s.state.terminated or s.last_state.terminated for s in status.container_statuses)
    if incomplete and not has_run:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
    return True, "", ""


def _readiness(pod: Pod, status: PodStatus) -> tuple[Claim, Claim]:
    """Return the claims of Ready and ContainersReady."""
    if status.phase in ("Succeeded", "Failed"):
        reason = "PodCompleted" if status.phase == "Succeeded" else "PodFailed"
        return (False, reason, ""), (False, reason, "")
    unready = [
        init.name
        for container, init in zip(pod.spec.init_containers, status.init_container_statuses, strict=True)
        if is_sidecar(container) and not init.ready
    ]
    unready += [s.name for s in status.container_statuses if not s.ready]
    if unready:
        claim = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
        return claim, claim
    containers_ready = (True, "", "")
    by_type = {condition.type: condition for condition in pod.status.conditions}
    problems = []
    for gate in pod.spec.readiness_gates:
        condition = by_type.get(gate.condition_type)
        name = f'pod readiness gate "{gate.condition_type}"'
        if condition is None:
            problems.append(f"corresponding condition of {name} does not exist.")
        elif condition.status != "True":
            problems.append(f'the status of {name} is not "True", but {condition.status}')
    if problems:
        return (False, "ReadinessGatesNotReady", ", ".join(problems)), containers_ready
    return containers_ready, containers_ready


def diff(old: PodStatus, new: PodStatus) -> dict[str, Any]:
    """Return the strategic merge patch of `status` that turns `old` into `new`; empty when they are equal.

    Conditions are merged by type, so that only ours are ever written. Lists that strategic merge would also merge,
    by address, are replaced as a whole.
    """
    before, after = _builtins(old), _builtins(new)
    patch: dict[str, Any] = {}
    for key in before.keys() | after.keys():
        if before.get(key) == after.get(key):
            continue
        if key == "conditions":
            known = {item["type"]: item for item in before.get(key, [])}
            changed = []
            for item in after.get(key, []):
                was = known.get(item["type"], {})
                if item != was:
                    changed.append(item | dict.fromkeys(was.keys() - item.keys()))
            if changed:
                patch[key] = changed
        elif key in ("podIPs", "hostIPs") and before.get(key) and after.get(key):
            patch[key] = [*after[key], {"$patch": "replace"}]
        else:
            patch[key] = after.get(key)
    return dict(sorted(patch.items()))


def _builtins(status: PodStatus) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(status)
    return plain
