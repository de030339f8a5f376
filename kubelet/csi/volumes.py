"""Volumes that storage drivers mount: staged once for the node where the driver wants that, published for each pod.

What is done for a pod is written down beside it before it is done (`vol_data.json`, as upstream), so that a kubelet
that begins anew can undo it. A volume is unstaged when no pod of the node uses it any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.core.attachments import attachment_name, unique_name
from api.core.persistentvolume import PersistentVolume
from api.core.pod import Pod
from api.core.references import SecretReference
from api.core.volumes import CSIVolumeSource
from api.errors import NotFound
from api.resource import ObjectKey
from api.storage import csidriver, volumeattachment
from api.storage.csidriver import CSIDriver
from client.verbs import Client
from component.clock import Clock
from component.files import write_private
from kubelet.csi.driver import CsiError, Driver
from kubelet.csi.registry import Registry
from kubelet.paths import Paths
from kubelet.references import References
from kubelet.volumes import mounts
from kubelet.volumes.claims import NotMounted
from kubelet.volumes.ownership import give_to_group
from kubelet.volumes.tokens import TokenSource
from proto.csi import csi_pb2 as pb

_Mode = pb.VolumeCapability.AccessMode
_Can = pb.NodeServiceCapability.RPC
_DATA = "vol_data.json"
_PREFIX = "csi.storage.k8s.io"
REPUBLISH_S = 60.0
"""How often a driver with requiresRepublish is asked anew (KEP-2047): about as often as upstream syncs a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A volume, as the driver is asked for it."""

    name: str
    """The PersistentVolume's, or the pod's volume's."""
    driver: str
    handle: str
    attributes: dict[str, str]
    fs_type: str
    is_read_only: bool
    access_mode: str = "ReadWriteOnce"
    mount_options: tuple[str, ...] = ()
    stage_secret: ObjectKey | None = None
    publish_secret: ObjectKey | None = None
    is_ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class _Noted:
    """What was done for a pod, as it is written down beside it."""

    driver: str
    handle: str
    staging: str
    """Where the volume is staged; empty if it is not."""


def of_claim(volume: PersistentVolume, is_read_only: bool) -> Wanted:
    """Return what a claim's volume asks of its driver. Pure."""
    source = volume.spec.csi
    assert source is not None
    return Wanted(
        name=volume.metadata.name,
        driver=source.driver,
        handle=source.volume_handle,
        attributes=dict(source.volume_attributes),
        fs_type=source.fs_type,
        is_read_only=is_read_only or source.read_only,
        access_mode=next(iter(volume.spec.access_modes), "ReadWriteOnce"),
        mount_options=tuple(volume.spec.mount_options),
        stage_secret=_key(source.node_stage_secret_ref),
        publish_secret=_key(source.node_publish_secret_ref),
    )


def of_pod(pod: Pod, name: str, source: CSIVolumeSource) -> Wanted:
    """Return what a volume that lives with its pod asks of its driver. Pure."""
    reference = source.node_publish_secret_ref
    return Wanted(
        name=name,
        driver=source.driver,
        handle=f"csi-{hashlib.sha256(f'{pod.metadata.uid}{name}'.encode()).hexdigest()}",
        attributes=dict(source.volume_attributes),
        fs_type=source.fs_type or "",
        is_read_only=bool(source.read_only),
        publish_secret=ObjectKey(pod.metadata.namespace, reference.name) if reference is not None else None,
        is_ephemeral=True,
    )


def _key(reference: SecretReference | None) -> ObjectKey | None:
    return ObjectKey(reference.namespace, reference.name) if reference is not None else None


def access_mode(mode: str, can: frozenset[int]) -> pb.VolumeCapability.AccessMode.Mode:
    """Return an access mode as the driver knows it; newer drivers tell one writer on a node from several. Pure."""
    is_precise = _Can.SINGLE_NODE_MULTI_WRITER in can
    match mode:
        case "ReadWriteMany":
            return _Mode.MULTI_NODE_MULTI_WRITER
        case "ReadOnlyMany":
            return _Mode.MULTI_NODE_READER_ONLY
        case "ReadWriteOncePod":
            return _Mode.SINGLE_NODE_SINGLE_WRITER if is_precise else _Mode.SINGLE_NODE_WRITER
        case _:
            return _Mode.SINGLE_NODE_MULTI_WRITER if is_precise else _Mode.SINGLE_NODE_WRITER


def group_applies(driver: CSIDriver | None, wanted: Wanted) -> bool:
    """Return whether the pod's fsGroup is given to the files of a volume. Pure."""
    policy = (driver.spec.fs_group_policy if driver is not None else None) or "ReadWriteOnceWithFSType"
    if wanted.is_read_only or policy == "None":
        return False
    return policy == "File" or (bool(wanted.fs_type) and wanted.access_mode in ("ReadWriteOnce", "ReadWriteOncePod"))


class CsiVolumes:
    """What the drivers of one node have mounted for its pods."""

    def __init__(
        self,
        client: Client,
        paths: Paths,
        registry: Registry,
        references: References,
        tokens: TokenSource,
        node: str,
        clock: Clock,
    ) -> None:
        self._client = client
        self._paths = paths
        self._registry = registry
        self._references = references
        self._tokens = tokens
        self._node = node
        self._clock = clock
        self._republish_at_s: dict[str, float] = {}
        """By a pod's UID: when drivers that ask for it are to publish its volumes again, by the wall clock."""
        self._turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def set_up(self, pod: Pod, wanted: Wanted, group: int | None, *, only_if_root_differs: bool = False) -> Path:
        """Have a volume mounted for a pod and return where. Safe to call again.

        Raises:
            NotMounted: there is no such driver here, or it may not mount this. CsiError, ApiError, OSError: not now.
        """
        driver = self._driver(wanted.driver, "SetUp")
        known = await self._known(wanted.driver)
        _check_mode(known, wanted)
        directory = self._directory(pod.metadata.uid) / wanted.name
        target = directory / "mount"
        must_republish = known is not None and bool(known.spec.requires_republish)
        if must_republish:
            self._republish_at_s[pod.metadata.uid] = self._clock.now() + REPUBLISH_S
        if (directory / _DATA).exists() and mounts.is_mount(target) and not must_republish:
            return target
        can = await driver.capabilities()
        context = await self._attachment(known, wanted)
        staging = self._staging(wanted) if _Can.STAGE_UNSTAGE_VOLUME in can and not wanted.is_ephemeral else None
        has_group = group is not None and group_applies(known, wanted)
        driver_gives = has_group and _Can.VOLUME_MOUNT_GROUP in can
        capability = pb.VolumeCapability(
            mount=pb.VolumeCapability.MountVolume(
                fs_type=wanted.fs_type,
                mount_flags=wanted.mount_options,
                volume_mount_group=str(group) if driver_gives else "",
            ),
            access_mode=_Mode(mode=access_mode(wanted.access_mode, can)),
        )
        async with self._turns[wanted.driver, wanted.handle]:
            await asyncio.to_thread(_note, directory, wanted, staging)
            if staging is not None:
                staging.mkdir(parents=True, exist_ok=True)
                await driver.stage(
                    pb.NodeStageVolumeRequest(
                        volume_id=wanted.handle,
                        publish_context=context,
                        staging_target_path=str(staging),
                        volume_capability=capability,
                        secrets=await self._secret(wanted.stage_secret),
                        volume_context=wanted.attributes,
                    )
                )
            await driver.publish(
                pb.NodePublishVolumeRequest(
                    volume_id=wanted.handle,
                    publish_context=context,
                    staging_target_path=str(staging) if staging is not None else "",
                    target_path=str(target),
                    volume_capability=capability,
                    readonly=wanted.is_read_only,
                    secrets=await self._secret(wanted.publish_secret),
                    volume_context=wanted.attributes | await self._told(pod, known, wanted),
                )
            )
        if has_group and not driver_gives and group is not None:
            await asyncio.to_thread(give_to_group, target, group, only_if_root_differs=only_if_root_differs)
        return target

    async def release(self, uid: str) -> None:
        """Have everything of a pod unmounted. Safe to call again. Raises CsiError, OSError."""
        self._republish_at_s.pop(uid, None)
        failed: OSError | None = None
        for file in sorted(self._directory(uid).glob(f"*/{_DATA}")):
            try:
                await self._undo(file)
            except OSError as error:
                # One driver that is away does not keep the others from theirs.
                failed = failed or error
        if failed is not None:
            raise failed

    async def _undo(self, file: Path) -> None:
        """Undo what is noted in a file. The note goes last: until then all of this is done again."""
        noted = _read(file)
        if noted is None:
            # Written, but not on disk when the machine lost power: its mounts are gone with that.
            await asyncio.to_thread(_unmount, file)
            await asyncio.to_thread(_forget, file)
            return
        driver = self._registry.find(noted.driver)
        if driver is None:
            raise CsiError(_absent(noted.driver))
        target = file.parent / "mount"
        async with self._turns[noted.driver, noted.handle]:
            await driver.unpublish(pb.NodeUnpublishVolumeRequest(volume_id=noted.handle, target_path=str(target)))
            await asyncio.to_thread(_unmount, file)
            if noted.staging and not any(other != file for other in self._users(noted)):
                request = pb.NodeUnstageVolumeRequest(volume_id=noted.handle, staging_target_path=noted.staging)
                await driver.unstage(request)
                await asyncio.to_thread(_remove_empty, Path(noted.staging))
            await asyncio.to_thread(_forget, file)

    def renew_at_s(self, uid: str) -> float | None:
        """Return when a pod's volumes are to be set up again though nothing changes, by the wall clock."""
        return self._republish_at_s.get(uid)

    def in_use(self) -> list[str]:
        """Return what is mounted, or about to be or no more to be, as a Node's status names it."""
        told = (_read(file) for file in self._noted())
        return sorted({unique_name(each.driver, each.handle) for each in told if each is not None})

    def _driver(self, name: str, step: str) -> Driver:
        driver = self._registry.find(name)
        if driver is None:
            raise NotMounted(step, f"kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: {_absent(name)}")
        return driver

    async def _known(self, name: str) -> CSIDriver | None:
        try:
            return await self._client.get(csidriver.RESOURCE, ObjectKey("", name))
        except NotFound:
            return None

    async def _attachment(self, known: CSIDriver | None, wanted: Wanted) -> dict[str, str]:
        """Return what was said when the volume was attached to this node, where it has to be. Raises NotMounted."""
        if wanted.is_ephemeral or (known is not None and known.spec.attach_required is False):
            return {}
        name = attachment_name(wanted.driver, wanted.handle, self._node)
        try:
            found = await self._client.get(volumeattachment.RESOURCE, ObjectKey("", name))
        except NotFound:
            why = f"there is no VolumeAttachment {name} yet"
            raise NotMounted("WaitForAttach", f"volume {wanted.handle} is not attached: {why}") from None
        if not found.status.attached:
            error = found.status.attach_error
            why = error.message if error is not None else "the attacher has not said so yet"
            raise NotMounted("WaitForAttach", f"volume {wanted.handle} is not attached: {why}")
        return dict(found.status.attachment_metadata)

    async def _secret(self, key: ObjectKey | None) -> dict[str, str]:
        if key is None:
            return {}
        found = await self._references.secret(key)
        if found is None:
            raise CsiError(f'fetching the driver\'s secret failed: secrets "{key.name}" not found in {key.namespace}')
        return {name: value.decode(errors="replace") for name, value in found.data.items()}

    async def _told(self, pod: Pod, known: CSIDriver | None, wanted: Wanted) -> dict[str, str]:
        """Return what the driver is told of the pod, if it wants to know."""
        told: dict[str, str] = {}
        if known is None:
            return told
        if known.spec.pod_info_on_mount:
            told = {
                f"{_PREFIX}/pod.name": pod.metadata.name,
                f"{_PREFIX}/pod.namespace": pod.metadata.namespace,
                f"{_PREFIX}/pod.uid": pod.metadata.uid,
                f"{_PREFIX}/serviceAccount.name": pod.spec.service_account_name,
                f"{_PREFIX}/ephemeral": str(wanted.is_ephemeral).lower(),
            }
        tokens = {}
        for request in known.spec.token_requests:
            token, expires = await self._tokens.issue(pod, request.audience, request.expiration_seconds)
            tokens[request.audience] = {"token": token, "expirationTimestamp": expires}
        if tokens:
            told[f"{_PREFIX}/serviceAccount.tokens"] = json.dumps(tokens)
        return told

    def _directory(self, uid: str) -> Path:
        return self._paths.pod(uid) / "volumes" / "kubernetes.io~csi"

    def _staging(self, wanted: Wanted) -> Path:
        place = self._paths.root / "plugins" / "kubernetes.io" / "csi" / wanted.driver
        return place / hashlib.sha256(wanted.handle.encode()).hexdigest() / "globalmount"

    def _noted(self) -> Iterator[Path]:
        return self._paths.pods.glob(f"*/volumes/kubernetes.io~csi/*/{_DATA}")

    def _users(self, noted: _Noted) -> Iterator[Path]:
        for file in self._noted():
            found = _read(file)
            if found is not None and (found.driver, found.handle) == (noted.driver, noted.handle):
                yield file


def _check_mode(known: CSIDriver | None, wanted: Wanted) -> None:
    modes = known.spec.volume_lifecycle_modes if known is not None else ["Persistent"]
    mode = "Ephemeral" if wanted.is_ephemeral else "Persistent"
    if mode not in (modes or ["Persistent"]):
        why = f"volume mode {mode} not supported by driver {wanted.driver} (only supports {modes})"
        raise NotMounted("SetUp", f"kubernetes.io/csi: mounter.SetUpAt failed to check volume lifecycle mode: {why}")


def _absent(name: str) -> str:
    return f"driver name {name} not found in the list of registered CSI drivers"


def _note(directory: Path, wanted: Wanted, staging: Path | None) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    data = {
        "driverName": wanted.driver,
        "volumeHandle": wanted.handle,
        "specVolID": wanted.name,
        "stagingPath": str(staging) if staging is not None else "",
        "volumeLifecycleMode": "Ephemeral" if wanted.is_ephemeral else "Persistent",
    }
    write_private(directory / _DATA, json.dumps(data).encode())


def _read(file: Path) -> _Noted | None:
    """Return what is noted in a file; None if that is lost, or the file is gone."""
    try:
        data: dict[str, Any] = json.loads(file.read_bytes())
        return _Noted(data["driverName"], data["volumeHandle"], data["stagingPath"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _unmount(file: Path) -> None:
    target = file.parent / "mount"
    mounts.unmount(target)
    if target.exists():
        target.rmdir()  # what a driver left there is not ours to delete


def _forget(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


def _remove_empty(staging: Path) -> None:
    for place in (staging, staging.parent):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
