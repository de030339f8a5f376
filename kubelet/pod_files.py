"""Files that the kubelet keeps for a pod beside its volumes: logs, /etc/hosts, termination messages."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from api.core.pod import Pod
from kubelet import logs
from kubelet.lifecycle import AnyContainer
from kubelet.naming import hosts_file
from kubelet.paths import Paths
from kubelet.runtime import labels
from kubelet.runtime.containers import log_path
from proto.cri import api_pb2 as pb

MESSAGE_BYTES_MAX = 4096
_FALLBACK_LINES = 80
_FALLBACK_BYTES = 2048
_DEFAULT_MESSAGE_PATH = "/dev/termination-log"


class PodFiles:
    """Files of one node's pods."""

    def __init__(self, paths: Paths, cluster_domain: str) -> None:
        self._paths = paths
        self._cluster_domain = cluster_domain

    def make_log_directory(self, pod: Pod) -> str:
        """Make the directory that the sandbox logs to, and return it. Raises OSError."""
        directory = self._paths.pod_logs(pod)
        directory.mkdir(parents=True, exist_ok=True)
        return str(directory)

    def container_mounts(
        self, pod: Pod, container: AnyContainer, attempt: int, pod_ips: tuple[str, ...]
    ) -> list[pb.Mount]:
        """Write what every container gets beside its volumes, and return how it is mounted. Raises OSError."""
        uid = pod.metadata.uid
        taken = {mount.mount_path for mount in container.volume_mounts}
        found = []
        if "/etc/hosts" not in taken:
            path = self._paths.hosts_file(uid)
            path.parent.mkdir(parents=True, exist_ok=True)
            node_hosts = ""
            if pod.spec.host_network:
                with contextlib.suppress(OSError):
                    node_hosts = Path("/etc/hosts").read_text()
            # Written in place: containers of the pod that run already have this very file mounted.
            path.write_text(hosts_file(pod, pod_ips, self._cluster_domain, node_hosts))
            path.chmod(0o644)
            found.append(pb.Mount(container_path="/etc/hosts", host_path=str(path)))
        wanted = container.termination_message_path or _DEFAULT_MESSAGE_PATH
        if wanted not in taken:
            path = self._paths.termination_message(uid, container.name, attempt)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            path.chmod(0o666)
            found.append(pb.Mount(container_path=wanted, host_path=str(path)))
        (self._paths.pod_logs(pod) / log_path(container.name, attempt)).parent.mkdir(parents=True, exist_ok=True)
        return found

    def read_message(self, status: pb.ContainerStatus) -> str:
        """Return the termination message of a container that ended, by its policy."""
        wanted = status.annotations.get(labels.TERMINATION_MESSAGE_PATH) or _DEFAULT_MESSAGE_PATH
        for mount in status.mounts:
            if mount.container_path == wanted:
                with contextlib.suppress(OSError), open(mount.host_path, "rb") as stream:
                    message = stream.read(MESSAGE_BYTES_MAX)
                    if message:
                        return message.decode(errors="replace")
        policy = status.annotations.get(labels.TERMINATION_MESSAGE_POLICY)
        if policy == "FallbackToLogsOnError" and status.exit_code != 0 and status.log_path:
            with contextlib.suppress(OSError):
                return logs.last_lines(Path(status.log_path), _FALLBACK_LINES, _FALLBACK_BYTES)
        return ""

    def link_log(self, pod: Pod, name: str, attempt: int, container_id: str) -> None:
        """Make the link by which collectors of logs find a container's, if that is there. Raises OSError."""
        path = self._paths.pod_logs(pod) / log_path(name, attempt)
        link = self._paths.log_link(pod, name, container_id)
        if not path.exists() or link.is_symlink():
            return
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)

    def _unlink_logs(self, name: str, namespace: str) -> None:
        for link in self._paths.log_links_of(namespace, name):
            if not link.exists():
                link.unlink(missing_ok=True)

    def remove_attempt(self, pod: Pod, name: str, attempt: int) -> None:
        """Delete what is left of one attempt at a container: its logs, rotated ones too, and its message."""
        path = self._paths.pod_logs(pod) / log_path(name, attempt)
        for file in [path, *path.parent.glob(f"{path.name}.*")]:
            file.unlink(missing_ok=True)
        self._unlink_logs(pod.metadata.name, pod.metadata.namespace)
        self._paths.termination_message(pod.metadata.uid, name, attempt).unlink(missing_ok=True)

    def remove_logs(self, namespace: str, name: str, uid: str) -> None:
        """Delete all of a pod's logs."""
        shutil.rmtree(self._paths.logs_of(namespace, name, uid), ignore_errors=True)
        self._unlink_logs(name, namespace)

    def pods_with_logs(self) -> list[tuple[str, str, str]]:
        """Return (namespace, name, uid) of pods that have logs."""
        with contextlib.suppress(FileNotFoundError):
            found = [tuple(entry.split("_", 2)) for entry in os.listdir(self._paths.logs)]
            return [(parts[0], parts[1], parts[2]) for parts in found if len(parts) == 3]
        return []
