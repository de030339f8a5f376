"""Where the kubelet keeps a pod's files, all below its root directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api.core.pod import Pod


@dataclass(frozen=True, slots=True)
class Paths:
    """Directories of one node."""

    root: Path

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def plugin_sockets(self) -> Path:
        """Where storage drivers make themselves known."""
        return self.root / "plugins_registry"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def pod(self, uid: str) -> Path:
        """Everything of one pod but its logs."""
        return self.pods / uid

    def volume(self, uid: str, kind: str, name: str) -> Path:
        return self.pod(uid) / "volumes" / f"kubernetes.io~{kind}" / name

    def hosts_file(self, uid: str) -> Path:
        return self.pod(uid) / "etc-hosts"

    def termination_message(self, uid: str, container: str, attempt: int) -> Path:
        return self.pod(uid) / "containers" / container / f"termination-{attempt}"

    def pod_logs(self, pod: Pod) -> Path:
        return self.logs_of(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid)

    def logs_of(self, namespace: str, name: str, uid: str) -> Path:
        return self.logs / f"{namespace}_{name}_{uid}"
