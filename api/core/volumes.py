"""Volumes: where a pod's files come from, and where containers see them."""

from __future__ import annotations

from typing import Annotated

from api.core.references import (
    LocalObjectReference,
    ObjectFieldSelector,
    ResourceFieldSelector,
    TypedLocalObjectReference,
    TypedObjectReference,
)
from api.core.storage_systems import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    AzureFileVolumeSource,
    CephFSVolumeSource,
    CinderVolumeSource,
    FCVolumeSource,
    FlexVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    GlusterfsVolumeSource,
    ISCSIVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    RBDVolumeSource,
    ScaleIOVolumeSource,
    StorageOSVolumeSource,
    VsphereVirtualDiskVolumeSource,
)
from api.meta import LabelSelector, ObjectMeta
from api.schema import Int32, Int64, Quantity, Struct, always, field, wire


class VolumeDevice(Struct):
    name: Annotated[str, wire(1, required=True)] = always("")
    device_path: Annotated[str, wire(2, required=True)] = always("")


class VolumeMount(Struct):
    """Where a container sees a volume.

    Attributes:
        name: The volume.
        read_only: Whether nothing can be written there.
        mount_path: Where it appears.
        sub_path: Which part of the volume.
        sub_path_expr: The same, with $(NAME) for variables.
        mount_propagation: Whether mounts made later are seen on the other side.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    read_only: Annotated[bool, wire(2)] = False
    recursive_read_only: Annotated[str | None, wire(7)] = None
    mount_path: Annotated[str, wire(3, required=True)] = always("")
    sub_path: Annotated[str, wire(4)] = ""
    mount_propagation: Annotated[str | None, wire(5)] = None
    sub_path_expr: Annotated[str, wire(6)] = ""


class ImageVolumeSource(Struct):
    reference: Annotated[str, wire(1)] = ""
    pull_policy: Annotated[str, wire(2)] = ""


class VolumeResourceRequirements(Struct):
    limits: Annotated[dict[str, Quantity], wire(1)] = {}
    requests: Annotated[dict[str, Quantity], wire(2)] = {}


class PersistentVolumeClaimSpec(Struct):
    """What storage is asked for.

    Attributes:
        access_modes: How it can be mounted: ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod.
        selector: Which volumes will do.
        resources: How large it must be.
        volume_name: The volume it is bound to.
        storage_class_name: The class of storage; empty: none; unset: the default.
        volume_mode: Filesystem (the default) or Block.
        data_source: What to fill it from: a claim or a snapshot.
        data_source_ref: What to fill it from, whatever that is.
        volume_attributes_class_name: How the volume behaves, by the name of a class.
    """

    access_modes: Annotated[list[str], wire(1, list_type="atomic")] = []
    selector: Annotated[LabelSelector | None, wire(4)] = None
    resources: Annotated[VolumeResourceRequirements, wire(2)] = field(default_factory=VolumeResourceRequirements)
    volume_name: Annotated[str, wire(3)] = ""
    storage_class_name: Annotated[str | None, wire(5)] = None
    volume_mode: Annotated[str | None, wire(6)] = None
    data_source: Annotated[TypedLocalObjectReference | None, wire(7)] = None
    data_source_ref: Annotated[TypedObjectReference | None, wire(8)] = None
    volume_attributes_class_name: Annotated[str | None, wire(9)] = None


class PersistentVolumeClaimTemplate(Struct):
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PersistentVolumeClaimSpec, wire(2, required=True)] = field(
        default_factory=PersistentVolumeClaimSpec
    )


class EphemeralVolumeSource(Struct):
    volume_claim_template: Annotated[PersistentVolumeClaimTemplate | None, wire(1)] = None


class CSIVolumeSource(Struct):
    driver: Annotated[str, wire(1, required=True)] = always("")
    read_only: Annotated[bool | None, wire(2)] = None
    fs_type: Annotated[str | None, wire(3)] = None
    volume_attributes: Annotated[dict[str, str], wire(4)] = {}
    node_publish_secret_ref: Annotated[LocalObjectReference | None, wire(5)] = None


class ClusterTrustBundleProjection(Struct):
    name: Annotated[str | None, wire(1)] = None
    signer_name: Annotated[str | None, wire(2)] = None
    label_selector: Annotated[LabelSelector | None, wire(3)] = None
    optional: Annotated[bool | None, wire(5)] = None
    path: Annotated[str, wire(4, required=True)] = always("")


class ServiceAccountTokenProjection(Struct):
    """A token of the pod's service account, for one audience, renewed before it expires."""

    audience: Annotated[str, wire(1)] = ""
    expiration_seconds: Annotated[Int64 | None, wire(2)] = None
    path: Annotated[str, wire(3, required=True)] = always("")


class ConfigMapProjection(Struct):
    name: Annotated[str, wire(1, 1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    optional: Annotated[bool | None, wire(4)] = None


class DownwardAPIProjection(Struct):
    items: Annotated[list[DownwardAPIVolumeFile], wire(1, list_type="atomic")] = []


class SecretProjection(Struct):
    name: Annotated[str, wire(1, 1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    optional: Annotated[bool | None, wire(4)] = None


class VolumeProjection(Struct):
    """One source of a projected volume; exactly one is set."""

    secret: Annotated[SecretProjection | None, wire(1)] = None
    downward_api: Annotated[DownwardAPIProjection | None, wire(2)] = field(name="downwardAPI", default=None)
    config_map: Annotated[ConfigMapProjection | None, wire(3)] = None
    service_account_token: Annotated[ServiceAccountTokenProjection | None, wire(4)] = None
    cluster_trust_bundle: Annotated[ClusterTrustBundleProjection | None, wire(5)] = None


class ProjectedVolumeSource(Struct):
    """Several sources in one directory."""

    sources: Annotated[list[VolumeProjection], wire(1, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(2)] = None


class ConfigMapVolumeSource(Struct):
    """The keys of a ConfigMap as files."""

    name: Annotated[str, wire(1, 1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(3)] = None
    optional: Annotated[bool | None, wire(4)] = None


class DownwardAPIVolumeFile(Struct):
    path: Annotated[str, wire(1, required=True)] = always("")
    field_ref: Annotated[ObjectFieldSelector | None, wire(2)] = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, wire(3)] = None
    mode: Annotated[Int32 | None, wire(4)] = None


class DownwardAPIVolumeSource(Struct):
    """Fields of the pod itself as files."""

    items: Annotated[list[DownwardAPIVolumeFile], wire(1, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(2)] = None


class PersistentVolumeClaimVolumeSource(Struct):
    claim_name: Annotated[str, wire(1, required=True)] = always("")
    read_only: Annotated[bool, wire(2)] = False


class KeyToPath(Struct):
    """One key, and the file it becomes."""

    key: Annotated[str, wire(1, required=True)] = always("")
    path: Annotated[str, wire(2, required=True)] = always("")
    mode: Annotated[Int32 | None, wire(3)] = None


class SecretVolumeSource(Struct):
    """The keys of a Secret as files."""

    secret_name: Annotated[str, wire(1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(3)] = None
    optional: Annotated[bool | None, wire(4)] = None


class GitRepoVolumeSource(Struct):
    repository: Annotated[str, wire(1, required=True)] = always("")
    revision: Annotated[str, wire(2)] = ""
    directory: Annotated[str, wire(3)] = ""


class EmptyDirVolumeSource(Struct):
    """A directory that begins empty and ends with the pod."""

    medium: Annotated[str, wire(1)] = ""
    size_limit: Annotated[Quantity | None, wire(2)] = None


class HostPathVolumeSource(Struct):
    """A path of the node's own file system; whoever may use it owns the node."""

    path: Annotated[str, wire(1, required=True)] = always("")
    type: Annotated[str | None, wire(2)] = None


class Volume(Struct):
    """A source of files, by name; exactly one source is set."""

    name: Annotated[str, wire(1, required=True)] = always("")
    host_path: Annotated[HostPathVolumeSource | None, wire(2, 1)] = None
    empty_dir: Annotated[EmptyDirVolumeSource | None, wire(2, 2)] = None
    gce_persistent_disk: Annotated[GCEPersistentDiskVolumeSource | None, wire(2, 3)] = None
    aws_elastic_block_store: Annotated[AWSElasticBlockStoreVolumeSource | None, wire(2, 4)] = None
    git_repo: Annotated[GitRepoVolumeSource | None, wire(2, 5)] = None
    secret: Annotated[SecretVolumeSource | None, wire(2, 6)] = None
    nfs: Annotated[NFSVolumeSource | None, wire(2, 7)] = None
    iscsi: Annotated[ISCSIVolumeSource | None, wire(2, 8)] = None
    glusterfs: Annotated[GlusterfsVolumeSource | None, wire(2, 9)] = None
    persistent_volume_claim: Annotated[PersistentVolumeClaimVolumeSource | None, wire(2, 10)] = None
    rbd: Annotated[RBDVolumeSource | None, wire(2, 11)] = None
    flex_volume: Annotated[FlexVolumeSource | None, wire(2, 12)] = None
    cinder: Annotated[CinderVolumeSource | None, wire(2, 13)] = None
    cephfs: Annotated[CephFSVolumeSource | None, wire(2, 14)] = None
    flocker: Annotated[FlockerVolumeSource | None, wire(2, 15)] = None
    downward_api: Annotated[DownwardAPIVolumeSource | None, wire(2, 16)] = field(name="downwardAPI", default=None)
    fc: Annotated[FCVolumeSource | None, wire(2, 17)] = None
    azure_file: Annotated[AzureFileVolumeSource | None, wire(2, 18)] = None
    config_map: Annotated[ConfigMapVolumeSource | None, wire(2, 19)] = None
    vsphere_volume: Annotated[VsphereVirtualDiskVolumeSource | None, wire(2, 20)] = None
    quobyte: Annotated[QuobyteVolumeSource | None, wire(2, 21)] = None
    azure_disk: Annotated[AzureDiskVolumeSource | None, wire(2, 22)] = None
    photon_persistent_disk: Annotated[PhotonPersistentDiskVolumeSource | None, wire(2, 23)] = None
    projected: Annotated[ProjectedVolumeSource | None, wire(2, 26)] = None
    portworx_volume: Annotated[PortworxVolumeSource | None, wire(2, 24)] = None
    scale_io: Annotated[ScaleIOVolumeSource | None, wire(2, 25)] = field(name="scaleIO", default=None)
    storageos: Annotated[StorageOSVolumeSource | None, wire(2, 27)] = None
    csi: Annotated[CSIVolumeSource | None, wire(2, 28)] = None
    ephemeral: Annotated[EphemeralVolumeSource | None, wire(2, 29)] = None
    image: Annotated[ImageVolumeSource | None, wire(2, 30)] = None
