"""All volumes of a pod: set up before its containers, refreshed while they run, taken down after them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.pod import Pod
from api.core.volume_matching import claims_of
from api.core.volumes import Volume, VolumeMount
from api.errors import ApiError
from api.quantity import units
from kubelet.cgroups import pod_limits
from kubelet.csi import volumes as csi
from kubelet.csi.volumes import CsiVolumes
from kubelet.downward import PodFacts
from kubelet.environment import ConfigError, expand_strictly
from kubelet.lifecycle import AnyContainer
from kubelet.paths import Paths
from kubelet.pod_parts import all_containers
from kubelet.references import References
from kubelet.volumes import atomic_writer, claims, devices, empty_dir, host_path, mounts
from kubelet.volumes.files import compute_payload
from kubelet.volumes.local_volumes import LocalVolumes
from kubelet.volumes.ownership import show_to_group
from kubelet.volumes.payload import PayloadError
from kubelet.volumes.tokens import TokenSource
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

_PROPAGATIONS = {
    "None": pb.PROPAGATION_PRIVATE,
    "HostToContainer": pb.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": pb.PROPAGATION_BIDIRECTIONAL,
}


class VolumeError(Exception):
    """Volumes cannot be set up now."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages
        """Why, each in words for an event of its own (FailedMount); never empty."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume that is set up."""

    path: Path
    is_read_only: bool = False
    """Whether no container may write, whatever its mount says."""
    is_device: bool = False
    """Whether the path is a block device's, which containers have as a device."""


class PodVolumes:
    """Volumes of one node's pods, on its disk."""

    def __init__(
        self,
        paths: Paths,
        references: References,
        tokens: TokenSource,
        node: Callable[[], Node | None],
        local: LocalVolumes | None = None,
        drivers: CsiVolumes | None = None,
    ) -> None:
        """Make it; `node` returns the Node object, once it is known.

        `local` makes volumes' directories here, `drivers` has storage drivers mount theirs.
        """
        self._paths = paths
        self._references = references
        self._tokens = tokens
        self._node = node
        self._local = local
        self._drivers = drivers
        self._claimed: dict[str, dict[str, tuple[str, Path]]] = {}

    def claimed(self, uid: str) -> Mapping[str, tuple[str, Path]]:
        """Return what directories a pod has by claims: claim and path by the volume's name."""
        return self._claimed.get(uid, {})

    async def set_up(
        self, pod: Pod, facts: PodFacts, running: Mapping[str, Mounted] | None = None
    ) -> dict[str, Mounted]:
        """Set up every volume that a container mounts and return where each is; others are not looked at.

        `running` is what is known to be mounted of a pod that runs, none if an earlier kubelet did it: then what may
        have changed is brought up to date, and files of the pod's own are left as they are.

        Raises:
            VolumeError: some cannot be set up; all others are by then.
        """
        mounted: dict[str, Mounted] = {}
        failed: list[str] = []
        unprocessed: dict[str, str] = {}
        wanted = [volume for volume in pod.spec.volumes if volume.name in _used(pod)]
        for volume in wanted:
            known = (running or {}).get(volume.name)
            if known is not None and not _may_change(volume):
                mounted[volume.name] = known
                continue
            try:
                mounted[volume.name] = await self._set_up(pod, volume, facts, is_running=running is not None)
            except claims.NotProcessed as error:
                unprocessed[volume.name] = str(error)
            except VolumeError as error:
                failed += error.messages
        claimed = {
            name: (claim, mounted[name].path)
            for name, claim in claims_of(pod).items()
            if name in mounted and not mounted[name].is_device
        }
        if claimed:
            self._claimed[pod.metadata.uid] = claimed
        if unprocessed:
            left = " ".join(sorted(volume.name for volume in wanted if volume.name not in mounted))
            unknown, why = " ".join(sorted(unprocessed)), "; ".join(unprocessed.values())
            told = f"unmounted volumes=[{left}], unattached volumes=[], failed to process volumes=[{unknown}]: {why}"
            failed.append(f"Unable to attach or mount volumes: {told}")
        if failed:
            raise VolumeError(*failed)
        return mounted

    async def _set_up(self, pod: Pod, volume: Volume, facts: PodFacts, *, is_running: bool) -> Mounted:
        failed = f'failed for volume "{volume.name}" : '
        try:
            return await self._set_up_one(pod, volume, facts, is_running=is_running)
        except claims.NotMounted as error:
            raise VolumeError(f"MountVolume.{error.step} {failed}{error}") from None
        except ApiError as error:
            raise VolumeError(f"MountVolume.SetUp {failed}{error.message}") from None
        except (PayloadError, host_path.WrongKind, OSError) as error:
            raise VolumeError(f"MountVolume.SetUp {failed}{error}") from None

    async def _set_up_one(self, pod: Pod, volume: Volume, facts: PodFacts, *, is_running: bool) -> Mounted:
        uid = pod.metadata.uid
        security = pod.spec.security_context
        group = security.fs_group if security is not None else None
        claim = claims_of(pod).get(volume.name)
        if claim is not None:
            found = await claims.resolve(pod, volume, claim, self._references)
            if self._local is not None:
                await self._local.make(found)
            chosen = volume.persistent_volume_claim
            is_read_only = chosen is not None and chosen.read_only
            policy = (security.fs_group_change_policy if security is not None else None) or "Always"
            if found.spec.csi is not None and self._drivers is not None:
                claims.check_usable(found, self._node())
                asked = csi.of_claim(found, is_read_only)
                return Mounted(await self._mounted_by_driver(pod, asked, group, policy), asked.is_read_only)
            # A large tree takes long to be given to the group, which one that is in use already was.
            wanted = None if is_read_only or is_running else group
            mounting = functools.partial(self._mount_device, uid)
            path = await asyncio.to_thread(claims.set_up, found, self._node(), wanted, policy, mounting)
            return Mounted(path, is_read_only, is_device=claims.is_block(found))
        if volume.host_path is not None:
            return Mounted(host_path.set_up(volume.host_path))
        if volume.empty_dir is not None:
            directory = self._paths.volume(uid, "empty-dir", volume.name)
            empty_dir.set_up(directory, volume.empty_dir, group, _memory_of(pod, facts))
            return Mounted(directory)
        if volume.csi is not None and self._drivers is not None:
            asked = csi.of_pod(pod, volume.name, volume.csi)
            return Mounted(await self._mounted_by_driver(pod, asked, group), asked.is_read_only)
        kind = _kind_of_files(volume)
        if kind is None:
            raise claims.NotMounted("SetUp", claims.refusal(volume))
        directory = self._paths.volume(uid, kind, volume.name)
        payload = await compute_payload(pod, volume, self._references, self._tokens, facts)
        directory.mkdir(parents=True, exist_ok=True)
        if kind != "configmap" and not mounts.is_mount(directory):
            # Secrets stay off the disk, where we may mount; what a pod is told of itself is in memory as well.
            with contextlib.suppress(PermissionError):
                mounts.mount_tmpfs(directory, None, empty_dir.OPEN_IN_MEMORY)
        if group is None or not directory.stat().st_mode & stat.S_ISGID:
            directory.chmod(empty_dir.OPEN_IN_MEMORY if mounts.is_mount(directory) else empty_dir.OPEN)
        atomic_writer.write(directory, payload, group)
        if group is not None:
            show_to_group(directory, group)
        return Mounted(directory, is_read_only=True)

    def _mount_device(self, uid: str, volume: PersistentVolume, device: Path) -> Path:
        assert volume.spec.local is not None
        name = volume.metadata.name
        target = self._paths.volume(uid, "local-volume", name)
        options = volume.spec.mount_options
        devices.mount(device, self._paths.devices / name, target, volume.spec.local.fs_type or "", options)
        return target

    async def _mounted_by_driver(self, pod: Pod, asked: csi.Wanted, group: int | None, policy: str = "Always") -> Path:
        assert self._drivers is not None
        return await self._drivers.set_up(pod, asked, group, only_if_root_differs=policy == "OnRootMismatch")

    async def release(self, uid: str) -> None:
        """Have storage drivers unmount what is a pod's; before `tear_down`. Safe to call again. Raises OSError."""
        if self._drivers is not None:
            await self._drivers.release(uid)

    def renew_at_s(self, uid: str) -> float | None:
        """Return when the pod's volumes should be set up again, by the wall clock, though nothing changes."""
        times = [self._tokens.renew_at_s(uid), self._drivers.renew_at_s(uid) if self._drivers is not None else None]
        return min((each for each in times if each is not None), default=None)

    def tear_down(self, uid: str) -> None:
        """Unmount and delete all of a pod's volumes. Safe to call again. Raises OSError."""
        self._tokens.forget(uid)
        self._claimed.pop(uid, None)
        directory = self._paths.pod(uid)
        if not directory.exists():
            return
        for point in mounts.mounts_below(directory):
            mounts.unmount(point)
        if mounts.mounts_below(directory):
            raise OSError(f"{directory} is still mounted; not deleting what may not be the pod's")
        shutil.rmtree(directory)
        if self._paths.devices.is_dir():
            devices.let_go(self._paths.devices, self._paths.pods)

    def uids(self) -> set[str]:
        """Return UIDs of pods that have anything on disk."""
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self._paths.pods))
        return set()


def _memory_of(pod: Pod, facts: PodFacts) -> int | None:
    """Return how much memory a pod may use at most, so that what it keeps in memory is no more than that."""
    limit = pod_limits(pod).memory_limit_bytes
    allocatable = units((facts.allocatable or {}).get("memory", "0")) or None
    return min((each for each in (limit, allocatable) if each), default=None)


def _used(pod: Pod) -> set[str]:
    """Return the names of the volumes that a container mounts, or has as a device."""
    containers = all_containers(pod)
    mounted = {mount.name for container in containers for mount in container.volume_mounts}
    return mounted | {device.name for container in containers for device in container.volume_devices}


def _may_change(volume: Volume) -> bool:
    """Return whether a volume may have to be brought up to date while its pod runs: a driver may ask for that, too."""
    source = volume.persistent_volume_claim or volume.ephemeral or volume.csi
    return source is not None or _kind_of_files(volume) is not None


def _kind_of_files(volume: Volume) -> str | None:
    if volume.config_map is not None:
        return "configmap"
    if volume.secret is not None:
        return "secret"
    if volume.downward_api is not None:
        return "downward-api"
    return "projected" if volume.projected is not None else None


def container_mounts(
    container: AnyContainer, volumes: Mapping[str, Mounted], variables: Mapping[str, str]
) -> list[pb.Mount]:
    """Return the mounts of a container's volumes.

    Raises:
        ConfigError: a volume or a subPath is not there, or leads out of its volume.
    """
    return [_mount(mount, volumes, variables) for mount in container.volume_mounts]


def container_devices(container: AnyContainer, volumes: Mapping[str, Mounted]) -> list[pb.Device]:
    """Return the devices among a container's volumes. Raises ConfigError if one is not there, or is no device."""
    found = []
    for device in container.volume_devices:
        mounted = volumes.get(device.name)
        if mounted is None or not mounted.is_device:
            raise ConfigError(f'cannot find volume "{device.name}" to pass into container')
        permissions = "r" if mounted.is_read_only else "mrw"
        # Links are for those who name devices; the runtime wants the device itself.
        source = str(mounted.path.resolve())
        found.append(pb.Device(container_path=device.device_path, host_path=source, permissions=permissions))
    return found


def _mount(mount: VolumeMount, volumes: Mapping[str, Mounted], variables: Mapping[str, str]) -> pb.Mount:
    mounted = volumes.get(mount.name)
    if mounted is None:
        raise ConfigError(f'cannot find volume "{mount.name}" to mount into container')
    if mount.recursive_read_only == "Enabled":
        why = "requested recursive read-only mode, but it is not supported by the runtime"
        raise ConfigError(f'volume "{mount.name}" {why}')
    source = mounted.path
    below = expand_strictly(mount.sub_path_expr, variables) if mount.sub_path_expr else mount.sub_path
    if below:
        if below.startswith("/") or ".." in below.split("/"):
            raise ConfigError(f'subPath "{below}" must be relative and may not contain ".."')
        source = _sub_path(source, below, mount.name)
    path = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
    return pb.Mount(
        container_path=path,
        host_path=str(source),
        readonly=mount.read_only or mounted.is_read_only,
        propagation=_PROPAGATIONS[mount.mount_propagation or "None"],
    )


def _sub_path(volume: Path, below: str, name: str) -> Path:
    """Return the place below a volume, made as a directory if missing; links are followed, but not out of it."""
    root = volume.resolve()
    wanted = (volume / below).resolve()
    if wanted != root and root not in wanted.parents:
        raise ConfigError(f'subPath "{below}" leads out of volume "{name}"')
    if not wanted.exists():
        try:
            # As open as the volume, its group's and sticky where that is: each directory, whatever our umask.
            mode = stat.S_IMODE(root.stat().st_mode)
            missing = [each for each in (*reversed(wanted.parents), wanted) if not each.exists()]
            for each in missing:
                each.mkdir()
                each.chmod(mode)
        except OSError as error:
            raise ConfigError(f'failed to prepare subPath for volumeMount "{name}": {error}') from None
    return wanted
