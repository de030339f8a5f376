"""Where the kubelet keeps a pod's files, all below its root directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from api.core.pod import Pod

_NAME_MAX = 255
_COMMON = 180
"""What is never cut off of a link's name, which ends in an id of 64 characters."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Directories of one node."""

    root: Path
    pod_logs_dir: Path | None = None
    """Where logs go if not below the root: `/var/log/pods`, where collectors of logs look (upstream's podLogsDir)."""

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def plugin_sockets(self) -> Path:
        """Where storage drivers make themselves known."""
        return self.root / "plugins_registry"

    @property
    def devices(self) -> Path:
        """Where file systems on block devices are mounted, one directory for each volume."""
        return self.root / "plugins" / "kubernetes.io" / "local-volume" / "mounts"

    @property
    def logs(self) -> Path:
        """A directory for each pod, one in it for each container."""
        return self.pod_logs_dir or self.root / "logs" / "pods"

    @property
    def log_links(self) -> Path:
        """A link for each container's log, whose name tells whose it is (`/var/log/containers`)."""
        return self.logs.parent / "containers"

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

    def log_link(self, pod: Pod, container: str, container_id: str) -> Path:
        """Return the link to the log of one container; a name that is too long for a file is cut short, as upstream."""
        end = f"-{container_id}.log"
        name = f"{pod.metadata.name}_{pod.metadata.namespace}_{container}"
        return self.log_links / f"{name[: _NAME_MAX - len(end)]}{end}"

    def log_links_of(self, namespace: str, name: str) -> list[Path]:
        """Return the links to a pod's logs, and perhaps others whose names begin alike."""
        return list(self.log_links.glob(f"{f'{name}_{namespace}_'[:_COMMON]}*.log"))

    def logs_of(self, namespace: str, name: str, uid: str) -> Path:
        return self.logs / f"{namespace}_{name}_{uid}"
