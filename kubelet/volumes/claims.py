"""Volumes by claim: which PersistentVolume a pod's claim is bound to, and where it is on this node.

hostPath and local volumes are served here, those of storage drivers by `kubelet.csi`. What needs anything else (NFS and
all other kinds) is refused in words, before anything of the pod is started.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volume_matching import is_made_for, is_reachable
from api.core.volumes import Volume
from api.resource import ObjectKey
from kubelet.pod_parts import all_containers
from kubelet.volumes import host_path
from kubelet.volumes.devices import DeviceError
from kubelet.volumes.ownership import give_to_group

_NOT_SERVED = {
    "csi": "CSI",
    "nfs": "NFS",
    "iscsi": "iSCSI",
    "rbd": "RBD",
    "cephfs": "CephFS",
    "fc": "Fibre Channel",
    "gce_persistent_disk": "GCE persistent disk",
    "aws_elastic_block_store": "AWS EBS",
    "azure_disk": "Azure disk",
    "azure_file": "Azure file",
    "vsphere_volume": "vSphere",
    "cinder": "Cinder",
    "glusterfs": "Glusterfs",
    "flex_volume": "FlexVolume",
    "git_repo": "git repository",
    "image": "image",
    "portworx_volume": "Portworx",
    "quobyte": "Quobyte",
    "scale_io": "ScaleIO",
    "storageos": "StorageOS",
    "flocker": "Flocker",
    "photon_persistent_disk": "Photon persistent disk",
}
"""Kinds of volumes by their field, and what they are called."""


class NotProcessed(Exception):
    """It is not known yet what a claim stands for: it is not bound, or something is missing."""


class NotMounted(Exception):
    """A volume cannot be used here; `step` is upstream's name of what failed."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class Storage(Protocol):
    """Where claims and volumes are looked up."""

    async def claim(self, key: ObjectKey) -> PersistentVolumeClaim | None: ...
    async def persistent_volume(self, name: str) -> PersistentVolume | None: ...


async def resolve(pod: Pod, volume: Volume, name: str, storage: Storage) -> PersistentVolume:
    """Return what the claim `name` of a pod's volume is bound to.

    Raises:
        NotProcessed: nothing, nothing that this pod may use, or nothing that it can use as it means to.
        ApiError: the API server does not answer.
    """
    key = ObjectKey(pod.metadata.namespace, name)
    claim = await storage.claim(key)
    if claim is None:
        why = f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found'
    elif claim.metadata.deletion_timestamp:
        why = "PVC is being deleted"
    elif volume.ephemeral is not None and not is_made_for(claim, pod):
        who = f"{pod.metadata.namespace}/{pod.metadata.name}"
        why = f"PVC {key} was not created for pod {who} (pod is not owner)"
    elif claim.status.phase != "Bound" or not claim.spec.volume_name:
        why = "PVC is not bound"
    else:
        found = await storage.persistent_volume(claim.spec.volume_name)
        ref = found.spec.claim_ref if found is not None else None
        if found is None:
            why = f"failed to fetch PV {claim.spec.volume_name} from API server: it is not found"
        elif ref is None or ref.uid != claim.metadata.uid:
            why = f"failed to fetch PV {claim.spec.volume_name} from API server: it is bound to another claim"
        else:
            _check_use(pod, volume.name, is_block(found))
            return found
    raise NotProcessed(f"error processing PVC {key}: {why}")


def is_block(volume: PersistentVolume) -> bool:
    """Whether a volume is given to containers as a device, not as directories."""
    return volume.spec.volume_mode == "Block"


def _check_use(pod: Pod, name: str, as_device: bool) -> None:
    containers = all_containers(pod)
    if as_device and any(mount.name == name for container in containers for mount in container.volume_mounts):
        raise NotProcessed(f"volume {name} has volumeMode Block, but is specified in volumeMounts")
    if not as_device and any(device.name == name for container in containers for device in container.volume_devices):
        raise NotProcessed(f"volume {name} has volumeMode Filesystem, but is specified in volumeDevices")


def set_up(
    volume: PersistentVolume,
    node: Node | None,
    group: int | None,
    change_policy: str = "Always",
    mount_device: Callable[[PersistentVolume, Path], Path] | None = None,
) -> Path:
    """Return where a volume is on this node, made ready for the pod's group (by its fsGroupChangePolicy).

    A volume in mode Block is a device as it lies, and given to no group. The file system of one that is a device
    otherwise is where `mount_device` says.

    Raises:
        NotMounted: it is of another kind, elsewhere, not there, or cannot be mounted.
        host_path.WrongKind, OSError: what is at its path is not what it should be.
    """
    check_usable(volume, node)
    spec = volume.spec
    if is_block(volume):
        return _device(volume)
    if spec.host_path is not None:
        return host_path.set_up(spec.host_path)
    if spec.local is None:
        raise NotMounted("NewMounter initialization", refusal(spec))
    path = Path(spec.local.path)
    if not path.exists():
        raise NotMounted("NewMounter initialization", f'path "{path}" does not exist')
    if path.is_block_device() and mount_device is not None:
        try:
            path = mount_device(volume, path)
        except DeviceError as error:
            raise NotMounted("MountDevice", f"local: {error}") from None
    if not path.is_dir():
        raise NotMounted("NewMounter initialization", f'path "{path}" is neither a directory nor a block device')
    if group is not None:
        give_to_group(path, group, only_if_root_differs=change_policy == "OnRootMismatch")
    return path


def check_usable(volume: PersistentVolume, node: Node | None) -> None:
    """Raise NotMounted if a volume, of whatever kind, cannot be used on this node: only local ones can be devices."""
    if node is not None and not is_reachable(volume, node):
        raise NotMounted("NodeAffinity check", "no matching NodeSelectorTerms")
    if is_block(volume) and volume.spec.local is None:
        why = "only local volumes of mode Block are supported by this kubelet"
        raise NotMounted("NewMapper initialization", why)


def _device(volume: PersistentVolume) -> Path:
    assert volume.spec.local is not None
    path = Path(volume.spec.local.path)
    if not path.exists():
        raise NotMounted("NewMapper initialization", f'path "{path}" does not exist')
    if not path.is_block_device():
        raise NotMounted("NewMapper initialization", f'path "{path}" is not a block device')
    return path


def refusal(source: object) -> str:
    """Return why a volume's source, of a kind that is not served, cannot be mounted."""
    kind = next((field for field in _NOT_SERVED if getattr(source, field, None) is not None), "")
    if kind == "csi":
        driver = getattr(source, kind).driver
        return (
            f"kubernetes.io/csi: driver name {driver} not found in the list of registered CSI drivers: "
            "CSI is not supported by this kubelet"
        )
    return f"volumes of kind {_NOT_SERVED.get(kind, 'unknown')} are not supported by this kubelet"
