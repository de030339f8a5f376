"""What the runtime says of one pod, as values: sandboxes and containers, newest first.

Everything here can be read back from the runtime alone (labels, annotations, attempts), so a kubelet that starts
anew knows what its predecessor did. Times are seconds since the epoch; 0 means not yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """Where a container stands."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """One sandbox of a pod."""

    id: str
    attempt: int
    is_ready: bool
    created_at_s: float
    ips: tuple[str, ...] = ()
    """Empty when the pod shares the node's network, or when the sandbox is not ready."""
    host_network: bool = False
    grace_period_s: int = 30
    """What the pod asked for when the sandbox was made: all that is left to go by once the pod object is gone."""

    @property
    def has_network(self) -> bool:
        """Containers can be started in it."""
        return self.is_ready and (self.host_network or bool(self.ips))


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One container: one attempt at running a container of the pod's specification."""

    id: str
    name: str
    attempt: int
    sandbox_id: str
    state: State
    created_at_s: float
    started_at_s: float = 0.0
    finished_at_s: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    spec_hash: str = ""
    """Of what it was made from; empty when unknown."""
    backoff_s: float = 0.0
    """How long to wait, after this attempt ends, before the next. Written into the container when it is made."""
    log_path: str = ""

    @property
    def is_running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def has_ended(self) -> bool:
        return self.state in (State.EXITED, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class RuntimePod:
    """All that the runtime has of one pod."""

    uid: str
    namespace: str = ""
    name: str = ""
    sandboxes: tuple[SandboxRecord, ...] = field(default=())
    """Newest first."""
    containers: tuple[ContainerRecord, ...] = field(default=())
    """Newest first, of all sandboxes."""

    @property
    def sandbox(self) -> SandboxRecord | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> SandboxRecord | None:
        """The newest sandbox, if containers can be started in it."""
        newest = self.sandbox
        return newest if newest is not None and newest.has_network else None

    def newest(self, name: str) -> ContainerRecord | None:
        """Return the latest attempt at a container."""
        return next((record for record in self.containers if record.name == name), None)

    def attempts(self, name: str) -> list[ContainerRecord]:
        """Return all attempts that are still known, newest first."""
        return [record for record in self.containers if record.name == name]

    def in_sandbox(self, name: str, sandbox_id: str) -> ContainerRecord | None:
        """Return the latest attempt at a container in one sandbox."""
        return next((r for r in self.containers if r.name == name and r.sandbox_id == sandbox_id), None)

    @property
    def running(self) -> list[ContainerRecord]:
        """Containers that run."""
        return [record for record in self.containers if record.is_running]

    @property
    def is_empty(self) -> bool:
        return not self.sandboxes and not self.containers
