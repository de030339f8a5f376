"""What stands in for disk and kernel on a hollow node: nothing is written, nothing is limited.

The rest of the kubelet is the real one; `kubelet.runtime.hollow` is the runtime beneath it. Volumes are not set up, so
a hollow pod starts even if a ConfigMap that it mounts is missing; its environment is computed like any other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from api.core.pod import Pod
from kubelet.downward import PodFacts
from kubelet.lifecycle import AnyContainer
from kubelet.volumes.pod_volumes import Mounted
from proto.cri import api_pb2 as pb


class HollowVolumes:
    """Volumes that are nowhere."""

    async def set_up(
        self, pod: Pod, facts: PodFacts, running: Mapping[str, Mounted] | None = None
    ) -> dict[str, Mounted]:
        return {volume.name: Mounted(Path("/nowhere")) for volume in pod.spec.volumes}

    async def release(self, uid: str) -> None:
        return

    def renew_at_s(self, uid: str) -> float | None:
        return None

    def claimed(self, uid: str) -> Mapping[str, tuple[str, Path]]:
        return {}

    def tear_down(self, uid: str) -> None:
        return

    def uids(self) -> set[str]:
        return set()


class HollowCgroups:
    """Control groups that limit nothing."""

    def parent(self, pod: Pod) -> str:
        return "/"

    def make(self, pod: Pod) -> None:
        return

    def remove(self, uid: str) -> None:
        return

    def uids(self) -> set[str]:
        return set()


class HollowFiles:
    """Files that are not written."""

    def make_log_directory(self, pod: Pod) -> str:
        return ""

    def container_mounts(
        self, pod: Pod, container: AnyContainer, attempt: int, pod_ips: tuple[str, ...]
    ) -> list[pb.Mount]:
        return []

    def link_log(self, pod: Pod, name: str, attempt: int, container_id: str) -> None:
        return

    def remove_attempt(self, pod: Pod, name: str, attempt: int) -> None:
        return

    def remove_logs(self, namespace: str, name: str, uid: str) -> None:
        return

    def pods_with_logs(self) -> list[tuple[str, str, str]]:
        return []
