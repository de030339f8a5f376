"""Pods and what a runtime has of them, with only what a test cares about written out."""

from __future__ import annotations

from typing import Any

import msgspec

from api.core.pod import Pod
from kubelet.runtime.records import ContainerRecord, RuntimePod, SandboxRecord, State

NOW = 1_700_000_000.0
UID = "uid-1"


def pod(containers: list[str] | None = None, **spec: Any) -> Pod:
    """A pod named `web`; `metadata` and `status` may be given among the spec's fields."""
    metadata = {"name": "web", "namespace": "default", "uid": UID} | spec.pop("metadata", {})
    status = spec.pop("status", {})
    listed = [{"name": name, "image": f"{name}:1"} for name in containers or ["main"]]
    body = {"containers": listed, "restartPolicy": "Always", "nodeName": "n1"} | spec
    return msgspec.convert({"metadata": metadata, "spec": body, "status": status}, Pod)


def sandbox(attempt: int = 0, *, ready: bool = True, ips: tuple[str, ...] = ("10.0.0.5",)) -> SandboxRecord:
    return SandboxRecord(f"sandbox-{attempt}", attempt, ready, NOW - 100, ips if ready else ())


def record(name: str = "main", attempt: int = 0, state: State = State.RUNNING, **fields: Any) -> ContainerRecord:
    values: dict[str, Any] = {"created_at_s": NOW - 60, "started_at_s": NOW - 60, "sandbox_id": "sandbox-0"}
    if state is State.EXITED:
        values["finished_at_s"] = NOW - 1
    return ContainerRecord(f"{name}-{attempt}", name, attempt, state=state, **(values | fields))


def exited(name: str = "main", code: int = 1, attempt: int = 0, **fields: Any) -> ContainerRecord:
    return record(name, attempt, State.EXITED, exit_code=code, **fields)


def runtime(*containers: ContainerRecord, sandboxes: tuple[SandboxRecord, ...] | None = None) -> RuntimePod:
    newest_first = tuple(sorted(containers, key=lambda c: c.attempt, reverse=True))
    return RuntimePod(UID, "default", "web", (sandbox(),) if sandboxes is None else sandboxes, newest_first)


NOTHING = RuntimePod(UID)
