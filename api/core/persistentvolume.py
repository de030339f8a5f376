"""PersistentVolume: a piece of storage in the cluster, which a claim may be bound to."""

from __future__ import annotations

import copy
import posixpath
from typing import Annotated, Any, Final

import msgspec

from api import names, quantity
from api import validation as v
from api.columns import AGE
from api.core import gated
from api.core.persistentvolumeclaim import UNSET, VOLUME_MODES, check_access_modes, short_modes
from api.core.pod_validation import check_node_selector
from api.core.pod_warnings import Warnings, warn_of_node_terms, warn_of_sources
from api.core.references import NodeSelector, ObjectReference, SecretReference
from api.core.source_validation import check_source
from api.core.storage_systems import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    AzureFilePersistentVolumeSource,
    CephFSPersistentVolumeSource,
    CinderPersistentVolumeSource,
    FCVolumeSource,
    FlexPersistentVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    GlusterfsPersistentVolumeSource,
    ISCSIPersistentVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    RBDPersistentVolumeSource,
    ScaleIOPersistentVolumeSource,
    StorageOSPersistentVolumeSource,
    VsphereVirtualDiskVolumeSource,
    default_systems,
)
from api.core.volumes import HostPathVolumeSource
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Quantity, Struct, Time, always, field, wire

_SOURCES: Final = [
    "host_path",
    "gce_persistent_disk",
    "aws_elastic_block_store",
    "glusterfs",
    "nfs",
    "rbd",
    "iscsi",
    "cinder",
    "cephfs",
    "fc",
    "flocker",
    "flex_volume",
    "azure_file",
    "vsphere_volume",
    "quobyte",
    "azure_disk",
    "photon_persistent_disk",
    "portworx_volume",
    "scale_io",
    "local",
    "storageos",
    "csi",
]


class PersistentVolumeStatus(Struct):
    """Whether a volume is free, bound or released.

    Attributes:
        phase: Pending, Available (free), Bound (to a claim), Released (its claim is gone, its data is not) or Failed
            (could not be cleaned up).
        message: Why it is so, for people.
        reason: The same as one word, for programs.
        last_phase_transition_time: When phase last changed.
    """

    phase: Annotated[str, wire(1)] = ""
    message: Annotated[str, wire(2)] = ""
    reason: Annotated[str, wire(3)] = ""
    last_phase_transition_time: Annotated[Time, wire(4)] = ""


class VolumeNodeAffinity(Struct):
    """From which nodes a volume can be reached.

    Attributes:
        required: Which nodes; the scheduler brings pods that use the volume only there.
    """

    required: Annotated[NodeSelector | None, wire(1)] = None


class CSIPersistentVolumeSource(Struct):
    """Storage that a CSI driver provides.

    Attributes:
        driver: The driver's name, as its CSIDriver object has it.
        volume_handle: What the driver calls the volume. Never changes.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        fs_type: The file system to mount, such as ext4; unset, the driver decides.
        volume_attributes: What the driver said about the volume when it made it.
        controller_publish_secret_ref: A Secret that the driver gets when it attaches the volume to a node, or takes it
            off.
        node_stage_secret_ref: A Secret that the driver gets when it prepares the volume on a node.
        node_publish_secret_ref: A Secret that the driver gets when it mounts the volume for a pod.
        controller_expand_secret_ref: A Secret that the driver gets when it makes the volume larger.
        node_expand_secret_ref: A Secret that the driver gets when it makes the file system on a node larger.
    """

    driver: Annotated[str, wire(1, required=True)] = always("")
    volume_handle: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False
    fs_type: Annotated[str, wire(4)] = ""
    volume_attributes: Annotated[dict[str, str], wire(5)] = {}
    controller_publish_secret_ref: Annotated[SecretReference | None, wire(6)] = None
    node_stage_secret_ref: Annotated[SecretReference | None, wire(7)] = None
    node_publish_secret_ref: Annotated[SecretReference | None, wire(8)] = None
    controller_expand_secret_ref: Annotated[SecretReference | None, wire(9)] = None
    node_expand_secret_ref: Annotated[SecretReference | None, wire(10)] = None


class LocalVolumeSource(Struct):
    """A disk or directory of one node, which nodeAffinity must name.

    Attributes:
        path: The path on the node: a directory, or a block device.
        fs_type: The file system on a block device, such as ext4; unset, found out.
    """

    path: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str | None, wire(2)] = None


class PersistentVolumeSpec(Struct):
    """Where the storage is, how large, and how it may be used; exactly one source is set.

    Attributes:
        capacity: How large it is: `storage` in bytes.
        gce_persistent_disk: On a disk of Google's cloud (deprecated).
        aws_elastic_block_store: On a disk of Amazon's cloud (deprecated).
        host_path: In a directory of the one node there is; for trying things out only.
        glusterfs: On a Gluster cluster (deprecated).
        nfs: On an NFS server.
        rbd: On a Ceph cluster, as a block device (deprecated).
        iscsi: On a disk over iSCSI.
        cinder: On a volume of OpenStack (deprecated).
        cephfs: On a Ceph cluster, as files (deprecated).
        fc: On a disk over Fibre Channel.
        flocker: On a Flocker dataset (deprecated).
        flex_volume: Wherever a FlexVolume program mounts it from (deprecated).
        azure_file: On a file share of Azure (deprecated).
        vsphere_volume: On a disk of vSphere (deprecated).
        quobyte: On a Quobyte volume (deprecated).
        azure_disk: On a disk of Azure (deprecated).
        photon_persistent_disk: On a disk of Photon Controller (deprecated).
        portworx_volume: On a Portworx volume (deprecated).
        scale_io: On a ScaleIO volume (deprecated).
        local: On a disk that is attached to one node.
        storageos: On a StorageOS volume (deprecated).
        csi: Wherever a CSI driver keeps it.
        access_modes: In which ways it can be mounted: ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod.
        claim_ref: The claim that it is bound to, or kept for; unset, any claim that fits may have it.
        persistent_volume_reclaim_policy: What happens once the claim is gone: Retain (the default) keeps the data for
            somebody to look after, Delete deletes the storage. Recycle is deprecated.
        storage_class_name: The StorageClass it belongs to: only claims that ask for it are bound. Empty is no class.
        mount_options: Options for the mount, such as ro or soft; not checked beforehand.
        volume_mode: Filesystem (the default), or Block for a device without one.
        node_affinity: Which nodes can use it, where not all can; never changes once set.
        volume_attributes_class_name: The VolumeAttributesClass that the volume has; changed by way of the claim. Beta,
            off by default.
    """

    capacity: Annotated[dict[str, Quantity], wire(1)] = {}
    gce_persistent_disk: Annotated[GCEPersistentDiskVolumeSource | None, wire(2, 1)] = None
    aws_elastic_block_store: Annotated[AWSElasticBlockStoreVolumeSource | None, wire(2, 2)] = None
    host_path: Annotated[HostPathVolumeSource | None, wire(2, 3)] = None
    glusterfs: Annotated[GlusterfsPersistentVolumeSource | None, wire(2, 4)] = None
    nfs: Annotated[NFSVolumeSource | None, wire(2, 5)] = None
    rbd: Annotated[RBDPersistentVolumeSource | None, wire(2, 6)] = None
    iscsi: Annotated[ISCSIPersistentVolumeSource | None, wire(2, 7)] = None
    cinder: Annotated[CinderPersistentVolumeSource | None, wire(2, 8)] = None
    cephfs: Annotated[CephFSPersistentVolumeSource | None, wire(2, 9)] = None
    fc: Annotated[FCVolumeSource | None, wire(2, 10)] = None
    flocker: Annotated[FlockerVolumeSource | None, wire(2, 11)] = None
    flex_volume: Annotated[FlexPersistentVolumeSource | None, wire(2, 12)] = None
    azure_file: Annotated[AzureFilePersistentVolumeSource | None, wire(2, 13)] = None
    vsphere_volume: Annotated[VsphereVirtualDiskVolumeSource | None, wire(2, 14)] = None
    quobyte: Annotated[QuobyteVolumeSource | None, wire(2, 15)] = None
    azure_disk: Annotated[AzureDiskVolumeSource | None, wire(2, 16)] = None
    photon_persistent_disk: Annotated[PhotonPersistentDiskVolumeSource | None, wire(2, 17)] = None
    portworx_volume: Annotated[PortworxVolumeSource | None, wire(2, 18)] = None
    scale_io: Annotated[ScaleIOPersistentVolumeSource | None, wire(2, 19)] = field(name="scaleIO", default=None)
    local: Annotated[LocalVolumeSource | None, wire(2, 20)] = None
    storageos: Annotated[StorageOSPersistentVolumeSource | None, wire(2, 21)] = None
    csi: Annotated[CSIPersistentVolumeSource | None, wire(2, 22)] = None
    access_modes: Annotated[list[str], wire(3, list_type="atomic")] = []
    claim_ref: Annotated[ObjectReference | None, wire(4, granular=True)] = None
    persistent_volume_reclaim_policy: Annotated[str, wire(5)] = ""
    storage_class_name: Annotated[str, wire(6)] = ""
    mount_options: Annotated[list[str], wire(7, list_type="atomic")] = []
    volume_mode: Annotated[str | None, wire(8)] = None
    node_affinity: Annotated[VolumeNodeAffinity | None, wire(9)] = None
    volume_attributes_class_name: Annotated[str | None, wire(10)] = None


class PersistentVolume(Struct):
    """A piece of storage in the cluster, which outlives pods; a claim is bound to it."""

    api_version: str = always("v1")
    kind: str = always("PersistentVolume")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PersistentVolumeSpec, wire(2)] = field(default_factory=PersistentVolumeSpec)
    status: Annotated[PersistentVolumeStatus, wire(3)] = field(default_factory=PersistentVolumeStatus)


def default(volume: PersistentVolume) -> None:
    """A volume outlives its claim, and holds a file system, if nobody says."""
    spec = volume.spec
    volume.status.phase = volume.status.phase or "Pending"
    spec.persistent_volume_reclaim_policy = spec.persistent_volume_reclaim_policy or "Retain"
    if spec.volume_mode is None:
        spec.volume_mode = "Filesystem"
    default_systems(spec)


def validate(new: PersistentVolume, old: PersistentVolume | None) -> v.Errors:
    """Check size, modes and source; where the storage is never changes."""
    yield from check_volume("spec", new.spec, new.metadata.name)
    if old is None:
        return
    if _sources_to_compare(new, old) != _source_of(old.spec):
        yield v.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    yield from v.check_immutable("volumeMode", new.spec.volume_mode, old.spec.volume_mode)
    before, now = old.spec.node_affinity, new.spec.node_affinity
    if before is not None and _renewed(before, now) != now:
        yield v.invalid("nodeAffinity", now, "field is immutable, except for updating from beta label to GA")


_RENAMED: Final = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
"""Labels of nodes by the names that they had before."""


def _renewed(old: VolumeNodeAffinity, new: VolumeNodeAffinity | None) -> VolumeNodeAffinity:
    """Return `old` with those labels by their names of today that `new` has so."""
    if old.required is None or new is None or new.required is None:
        return old
    terms = copy.deepcopy(old.required.node_selector_terms)
    for term, other in zip(terms, new.required.node_selector_terms, strict=False):
        for requirement, now in zip(term.match_expressions, other.match_expressions, strict=False):
            if _RENAMED.get(requirement.key) == now.key:
                requirement.key = now.key
    return msgspec.structs.replace(old, required=msgspec.structs.replace(old.required, node_selector_terms=terms))


def _sources_to_compare(new: PersistentVolume, old: PersistentVolume) -> list[tuple[str, Any]]:
    """Return the new sources, without a secret for growing that is given for the first time: that may come later."""
    sources = _source_of(new.spec)
    if old.spec.csi is None or old.spec.csi.controller_expand_secret_ref is not None or new.spec.csi is None:
        return sources
    csi = msgspec.structs.replace(new.spec.csi, controller_expand_secret_ref=None)
    return [(name, csi if name == "csi" else source) for name, source in sources]


def check_volume(path: str, spec: PersistentVolumeSpec, name: str) -> v.Errors:
    """Check the spec of a volume of that name."""
    yield from check_access_modes(f"{path}.accessModes", spec.access_modes, why="")
    if not spec.capacity:
        yield v.required(f"{path}.capacity")
    if set(spec.capacity) != {"storage"}:
        yield v.not_supported(f"{path}.capacity", ", ".join(sorted(spec.capacity)), ("storage",))
    for resource, amount in spec.capacity.items():
        if quantity.compare(amount, "0") < 0:
            yield v.invalid(f"{path}.capacity[{resource}]", amount, "must be a valid resource quantity")
        if quantity.compare(amount, "0") <= 0:
            yield v.invalid(f"{path}.capacity[{resource}]", amount, "must be greater than zero")
    policy = spec.persistent_volume_reclaim_policy
    if policy and policy not in _RECLAIM_POLICIES:
        yield v.not_supported(f"{path}.persistentVolumeReclaimPolicy", policy, _RECLAIM_POLICIES)
    if spec.node_affinity is not None:
        if spec.node_affinity.required is None:
            yield v.required(f"{path}.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from check_node_selector(f"{path}.nodeAffinity.required", spec.node_affinity.required)
    yield from _check_sources(path, spec, name)
    if spec.host_path is not None and posixpath.normpath(spec.host_path.path or ".") == "/" and policy == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        yield v.forbidden(f"{path}.persistentVolumeReclaimPolicy", why)
    if spec.storage_class_name:
        yield from v.check_name(f"{path}.storageClassName", spec.storage_class_name, names.check_subdomain)
    if spec.volume_mode is not None and spec.volume_mode not in VOLUME_MODES:
        yield v.not_supported(f"{path}.volumeMode", spec.volume_mode, VOLUME_MODES)


_RECLAIM_POLICIES: Final = ("Delete", "Recycle", "Retain")


def _source_of(spec: PersistentVolumeSpec) -> list[tuple[str, Any]]:
    return [(name, source) for name in _SOURCES if (source := getattr(spec, name)) is not None]


def _check_sources(path: str, spec: PersistentVolumeSpec, name: str) -> v.Errors:
    given = _source_of(spec)
    if not given:
        yield v.required(path, "must specify a volume type")
        return
    labels = dict(zip(spec.__struct_fields__, spec.__struct_encode_fields__, strict=True))
    first, source = given[0]
    yield from check_source(path, labels[first], source, is_persistent=True, name=name)
    if first == "local" and spec.node_affinity is None:
        yield v.required(f"{path}.nodeAffinity", "Local volume requires node affinity")
    for extra, _ in given[1:]:
        yield v.forbidden(f"{path}.{labels[extra]}", "may not specify more than 1 volume type")


def prepare_for_create(volume: PersistentVolume) -> None:
    """Begin unbound."""
    volume.status = PersistentVolumeStatus(phase="Pending")


def _claim(volume: PersistentVolume, now: float) -> str:
    claim = volume.spec.claim_ref
    return f"{claim.namespace}/{claim.name}" if claim is not None else ""


def _status(volume: PersistentVolume, now: float) -> str:
    return "Terminating" if volume.metadata.deletion_timestamp else volume.status.phase


def _class(volume: PersistentVolume, now: float) -> str:
    beta = volume.metadata.annotations.get("volume.beta.kubernetes.io/storage-class")
    return beta if beta is not None else volume.spec.storage_class_name


def warn(new: PersistentVolume, old: PersistentVolume | None) -> Warnings:
    """Warn of annotations that are fields now, old labels of nodes, and volumes that nobody mounts any more."""
    for key, version, instead in (
        ("volume.beta.kubernetes.io/storage-class", "v1.8", "storageClassName"),
        ("volume.beta.kubernetes.io/mount-options", "v1.31", "mountOptions"),
    ):
        if key in new.metadata.annotations:
            yield f'metadata.annotations[{key}]: deprecated since {version}; use "{instead}" attribute instead'
    if new.spec.persistent_volume_reclaim_policy == "Recycle":
        instead = "Instead, the recommended approach is to use dynamic provisioning."
        yield f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {instead}"
    if new.spec.node_affinity is not None:
        yield from warn_of_node_terms("spec.nodeAffinity.required.nodeSelectorTerms", new.spec.node_affinity.required)
    yield from warn_of_sources("spec", new.spec)


RESOURCE: Final[Resource[PersistentVolume]] = Resource(
    type=PersistentVolume,
    group="",
    version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    namespaced=False,
    short_names=("pv",),
    subresources=("status",),
    default=default,
    drop_gated=lambda new, old: gated.drop_of_volume(new.spec, old.spec if old is not None else None),
    validate=validate,
    warn=warn,
    prepare_for_create=prepare_for_create,
    columns=(
        Column("Capacity", "string", lambda volume, now: volume.spec.capacity.get("storage", ""), "Its size."),
        Column(
            "Access Modes",
            "string",
            lambda volume, now: short_modes(volume.spec.access_modes),
            "How it can be mounted.",
        ),
        Column(
            "Reclaim Policy",
            "string",
            lambda volume, now: volume.spec.persistent_volume_reclaim_policy,
            "What becomes of it when its claim is gone.",
        ),
        Column("Status", "string", _status, "Pending, Available, Bound, Released, Failed or Terminating."),
        Column("Claim", "string", _claim, "The claim it is bound to."),
        Column("StorageClass", "string", _class, "Its class of storage."),
        Column(
            "VolumeAttributesClass",
            "string",
            lambda volume, now: volume.spec.volume_attributes_class_name or UNSET,
            "Its class of attributes.",
        ),
        Column("Reason", "string", lambda volume, now: volume.status.reason, "Why it has this status."),
        AGE,
        Column(
            "VolumeMode",
            "string",
            lambda volume, now: volume.spec.volume_mode or UNSET,
            "A file system, or a block device.",
            priority=1,
        ),
    ),
)
