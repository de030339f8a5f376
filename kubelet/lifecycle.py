"""What to do next for one pod: pure, from the pod, what the runtime has of it, and the probes' verdicts.

`decide` is called again after every change, so each answer only has to be right for what is: nothing is remembered
between calls. What must outlive a call is in the records themselves; the delay before the next restart, for one, is
written into each container when it is made, so a new kubelet backs off exactly as the old one would have.

The order of things: a sandbox with a network; init containers one after another; sidecars (init containers with
restartPolicy Always, KEP-753) beside them, each started before the next begins; then all main containers; restarts by
policy with back-off; and at last the pod is finished. Carrying out is `pod_worker`'s, describing is `status`'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from api.core.containers import Container, EphemeralContainer
from api.core.pod import Pod
from api.core.pod_status import ContainerStatus
from api.timestamps import parse
from kubelet.runtime.records import ContainerRecord, RuntimePod, State

BACKOFF_FIRST_S = 10.0
BACKOFF_MAX_S = 300.0
BACKOFF_RESET_S = 600.0
"""An attempt that began longer ago than this is forgiven: the next restart is immediate."""
GRACE_DEFAULT_S = 30
STOP_GRACE_MIN_S = 2
"""A container is always given this long, however late its turn comes (as upstream)."""

AnyContainer = Container | EphemeralContainer


class Liveness(Enum):
    """What probes say of a running container's health."""

    FINE = "fine"
    FAILED = "failed"
    NEVER_STARTED = "never started"
    """The startup probe gave up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the probes of one container attempt say."""

    is_started: bool = True
    is_ready: bool = True
    liveness: Liveness = Liveness.FINE


@dataclass(frozen=True, slots=True)
class Start:
    """Start an attempt at a container."""

    name: str
    attempt: int
    backoff_s: float
    """To be written into the container: the delay before the attempt after this one."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop one running container; it may be started again later by policy."""

    container_id: str
    name: str
    message: str
    """What the Killing event says."""
    from_startup_probe: bool = False
    from_liveness_probe: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """A container that waits before it is started again."""

    name: str
    delay_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The pod is done: stop whatever is left, and never start anything again."""

    phase: str
    reason: str = ""
    message: str = ""
    was_disrupted: bool = False
    """Whether it was ended for the node's sake, not by anything of its own."""


@dataclass(frozen=True, slots=True)
class PodActions:
    """What to do, in this order: stop the sandbox, make one, kill, start. Empty fields mean nothing to do."""

    stop_sandbox: bool = False
    """Stop the newest sandbox and all that runs in it; it is dead or without a network."""
    sandbox_attempt: int | None = None
    """Make a sandbox with this attempt number, then decide again."""
    kill: tuple[Kill, ...] = ()
    start: tuple[Start, ...] = ()
    backoffs: tuple[Backoff, ...] = ()
    finish: Finish | None = None
    wake_at_s: float | None = field(default=None)
    """Decide again then, even if nothing changes."""

    @property
    def changes_nothing(self) -> bool:
        return not (self.stop_sandbox or self.kill or self.start or self.finish or self.sandbox_attempt is not None)


def is_sidecar(container: Container) -> bool:
    """Whether an init container runs on beside the main ones."""
    return container.restart_policy == "Always"


def spec_hash(container: AnyContainer) -> str:
    """Return a hash of the fields whose change restarts a running container: its name and image."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:16]


def has_finished(pod: Pod) -> bool:
    """Whether the pod's status already says that it will never run again."""
    return pod.status.phase in ("Succeeded", "Failed")


def decide(pod: Pod, runtime: RuntimePod, verdicts: Mapping[str, Verdict], now: float) -> PodActions:
    """Return what to do for a pod that should run.

    Args:
        pod: the newest wish; not one that is being deleted.
        runtime: what the runtime has of it, fresh.
        verdicts: by container id; a running container without one has no probes.
        now: seconds since the epoch.
    """
    if has_finished(pod):
        return PodActions(finish=Finish(pod.status.phase, pod.status.reason, pod.status.message))
    deadline = _deadline(pod)
    if deadline is not None and now >= deadline:
        message = "Pod was active on the node longer than the specified deadline"
        return PodActions(finish=Finish("Failed", "DeadlineExceeded", message))
    finish = _finished(pod, runtime)
    if finish is not None:
        return PodActions(finish=finish)
    sandbox = runtime.ready_sandbox
    if sandbox is None:
        newest = runtime.sandbox
        attempt = newest.attempt + 1 if newest is not None else 0
        must_stop = newest is not None and (newest.is_ready or bool(runtime.running))
        return PodActions(stop_sandbox=must_stop, sandbox_attempt=attempt, wake_at_s=deadline)
    turn = _Turn(pod, runtime, sandbox.id, verdicts, now)
    if turn.run_init_containers():
        turn.run_main_containers()
    turn.run_ephemeral_containers()
    wakes = [backoff.until_s for backoff in turn.backoffs]
    if deadline is not None:
        wakes.append(deadline)
    return PodActions(
        kill=tuple(turn.kill),
        start=tuple(turn.start),
        backoffs=tuple(turn.backoffs),
        wake_at_s=min(wakes, default=None),
    )


class _Turn:
    """The lists that one call of `decide` fills, for a pod whose sandbox is ready."""

    def __init__(
        self, pod: Pod, runtime: RuntimePod, sandbox_id: str, verdicts: Mapping[str, Verdict], now: float
    ) -> None:
        self._pod = pod
        self._runtime = runtime
        self._sandbox_id = sandbox_id
        self._verdicts = verdicts
        self._now = now
        self.kill: list[Kill] = []
        self.start: list[Start] = []
        self.backoffs: list[Backoff] = []

    def run_init_containers(self) -> bool:
        """Step init containers and sidecars; return whether main containers may run."""
        was_initialized = is_initialized(self._pod, self._runtime)
        for container in self._pod.spec.init_containers:
            record = self._record(container)
            if is_sidecar(container):
                self._keep_running(container, record, always=True)
                is_started = record is not None and record.is_running and self._verdict(record).is_started
                if not is_started and not was_initialized:
                    return False
            elif was_initialized:
                continue
            elif record is None or record.state is State.CREATED:
                self._begin(container, record)
                return False
            elif record.is_running:
                return False
            elif record.exit_code != 0:
                self._begin(container, record)
                return False
        return True

    def run_main_containers(self) -> None:
        """Start, restart and kill main containers."""
        for container in self._pod.spec.containers:
            self._keep_running(container, self._record(container), always=False)

    def run_ephemeral_containers(self) -> None:
        """Start ephemeral containers once, never again; one that was made and not started has not been."""
        for container in self._pod.spec.ephemeral_containers:
            newest = self._runtime.newest(container.name)
            if newest is None or newest.state is State.CREATED:
                self.start.append(Start(container.name, self._next_attempt(container), 0.0))

    def _record(self, container: AnyContainer) -> ContainerRecord | None:
        return self._runtime.in_sandbox(container.name, self._sandbox_id)

    def _verdict(self, record: ContainerRecord) -> Verdict:
        return self._verdicts.get(record.id, Verdict())

    def _keep_running(self, container: Container, record: ContainerRecord | None, *, always: bool) -> None:
        if record is None or record.state is State.CREATED:
            # What ended for good in an earlier sandbox is not run again in this one.
            before = self._runtime.newest(container.name)
            if always or before is None or not before.has_ended or _restarts(self._pod, before):
                self._begin(container, record)
        elif record.is_running:
            kill = self._reason_to_kill(container, record)
            if kill is not None:
                self.kill.append(kill)
        elif always or _restarts(self._pod, record):
            self._begin(container, record)

    def _reason_to_kill(self, container: Container, record: ContainerRecord) -> Kill | None:
        name = container.name
        if record.spec_hash and record.spec_hash != spec_hash(container):
            return Kill(record.id, name, f"Container {name} definition changed, will be restarted")
        match self._verdict(record).liveness:
            case Liveness.FAILED:
                message = f"Container {name} failed liveness probe, will be restarted"
                return Kill(record.id, name, message, from_liveness_probe=True)
            case Liveness.NEVER_STARTED:
                message = f"Container {name} failed startup probe, will be restarted"
                return Kill(record.id, name, message, from_startup_probe=True)
            case Liveness.FINE:
                return None

    def _begin(self, container: AnyContainer, last: ContainerRecord | None) -> None:
        """Start the next attempt, or wait for its time."""
        attempt = self._next_attempt(container)
        if last is None or not last.has_ended:
            # The first in this sandbox: a sandbox that was remade is not the container's fault.
            self.start.append(Start(container.name, attempt, 0.0))
            return
        if last.spec_hash and last.spec_hash != spec_hash(container):
            # It is another container now: what the one before did is not held against it.
            self.start.append(Start(container.name, attempt, BACKOFF_FIRST_S))
            return
        is_forgiven = self._now - last.created_at_s > BACKOFF_RESET_S
        until = last.finished_at_s + last.backoff_s
        if last.backoff_s and not is_forgiven and self._now < until:
            self.backoffs.append(Backoff(container.name, last.backoff_s, until))
            return
        self.start.append(Start(container.name, attempt, next_backoff(last, self._now)))

    def _next_attempt(self, container: AnyContainer) -> int:
        """Return the number of the next attempt: one that the runtime has lost, but the status knows of, counts."""
        newest = self._runtime.newest(container.name)
        if newest is not None:
            return newest.attempt + 1
        status = self._pod.status
        told = [*status.container_statuses, *status.init_container_statuses, *status.ephemeral_container_statuses]
        return max((attempts_of(each) for each in told if each.name == container.name), default=0)


def attempts_of(told: ContainerStatus) -> int:
    """Return how many attempts at a container there were, by a status of which the runtime has lost the container."""
    return told.restart_count + (1 if told.container_id else 0)


def next_backoff(last: ContainerRecord, now: float) -> float:
    """Return the delay to write into the attempt that follows `last`: 10 s, doubling to 5 min."""
    if not last.backoff_s or now - last.created_at_s > BACKOFF_RESET_S:
        return BACKOFF_FIRST_S
    return min(last.backoff_s * 2, BACKOFF_MAX_S)


def is_initialized(pod: Pod, runtime: RuntimePod) -> bool:
    """Whether main containers have been started in the present sandbox, so that init containers are past.

    Init containers' records may be gone by then, so theirs cannot be asked.
    """
    sandbox = runtime.sandbox
    return sandbox is not None and any(
        runtime.in_sandbox(container.name, sandbox.id) is not None for container in pod.spec.containers
    )


def _restarts(pod: Pod, record: ContainerRecord) -> bool:
    match pod.spec.restart_policy:
        case "Never":
            return False
        case "OnFailure":
            return record.exit_code != 0 or record.state is State.UNKNOWN
        case _:
            return True


def _finished(pod: Pod, runtime: RuntimePod) -> Finish | None:
    """Return how the pod ended, once nothing of it will ever run again by its restart policy."""
    if pod.spec.restart_policy not in ("Never", "OnFailure"):
        return None
    if pod.spec.restart_policy == "Never":
        for container in pod.spec.init_containers:
            record = runtime.newest(container.name)
            if record is not None and not is_sidecar(container) and record.has_ended and record.exit_code != 0:
                return Finish("Failed")
    records = [runtime.newest(container.name) for container in pod.spec.containers]
    ended = [r for r in records if r is not None and r.has_ended and not _restarts(pod, r)]
    if len(ended) < len(records) or not records:
        return None
    return Finish("Failed" if any(record.exit_code for record in ended) else "Succeeded")


def _deadline(pod: Pod) -> float | None:
    if pod.spec.active_deadline_seconds is None or not pod.status.start_time:
        return None
    return parse(pod.status.start_time) + pod.spec.active_deadline_seconds


def grace_period_s(pod: Pod, at_most_s: int | None = None) -> int:
    """Return how long the pod's containers are given to end; never more than `at_most_s`.

    A deletion names its own period; otherwise the pod's applies. Once stopping has begun the period can only shrink:
    hand in the one in force.
    """
    if pod.metadata.deletion_timestamp and pod.metadata.deletion_grace_period_seconds is not None:
        grace = pod.metadata.deletion_grace_period_seconds
    elif pod.spec.termination_grace_period_seconds is not None:
        grace = pod.spec.termination_grace_period_seconds
    else:
        grace = GRACE_DEFAULT_S
    return max(0, grace if at_most_s is None else min(grace, at_most_s))


def stop_order(pod: Pod, runtime: RuntimePod) -> Sequence[Sequence[ContainerRecord]]:
    """Return running containers in groups that are stopped one after another.

    Main and ephemeral containers together, then sidecars from the last to the first (KEP-753).
    """
    sidecars = [container.name for container in pod.spec.init_containers if is_sidecar(container)]
    first = [record for record in runtime.running if record.name not in sidecars]
    rest = [[record for record in runtime.running if record.name == name] for name in reversed(sidecars)]
    return [group for group in [first, *rest] if group]


def to_forget(pod: Pod | None, runtime: RuntimePod) -> tuple[list[str], list[str]]:
    """Return ids of containers and of sandboxes that are of no more use, to be removed.

    Of each container the newest attempt and the one before it are kept, for `kubectl logs --previous` and
    lastState; of sandboxes the newest, and any that still holds a container that is kept.
    """
    kept: dict[str, int] = {}
    containers: list[str] = []
    sandboxes_in_use: set[str] = set()
    for record in runtime.containers:
        kept[record.name] = kept.get(record.name, 0) + 1
        if kept[record.name] > 2 and not record.is_running:
            containers.append(record.id)
        else:
            sandboxes_in_use.add(record.sandbox_id)
    sandboxes = [s.id for s in runtime.sandboxes[1:] if s.id not in sandboxes_in_use and not s.is_ready]
    return containers, sandboxes
