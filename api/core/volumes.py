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
    """Where a container sees a block device, which is a claim whose volumeMode is Block.

    Attributes:
        name: The volume of the pod, which must be of a PersistentVolumeClaim.
        device_path: The path in the container at which the device appears.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    device_path: Annotated[str, wire(2, required=True)] = always("")


class VolumeMount(Struct):
    """Where a container sees a volume among its files.

    Attributes:
        name: The volume of the pod.
        read_only: Whether nothing can be written there; false by default.
        recursive_read_only: Whether readOnly holds for mounts below too: Disabled (the default), IfPossible, or
            Enabled, which fails the container where it cannot be done. Needs readOnly.
        mount_path: The path in the container at which the volume appears; must not contain a colon.
        sub_path: Which file or directory of the volume appears there; its root by default. Does not follow later
            changes of a ConfigMap or Secret.
        mount_propagation: Whether mounts made later cross over: None (the default), HostToContainer, or Bidirectional,
            for privileged containers only.
        sub_path_expr: Like subPath, but $(NAME) stands for a variable of the container; not together with it.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    read_only: Annotated[bool, wire(2)] = False
    recursive_read_only: Annotated[str | None, wire(7)] = None
    mount_path: Annotated[str, wire(3, required=True)] = always("")
    sub_path: Annotated[str, wire(4)] = ""
    mount_propagation: Annotated[str | None, wire(5)] = None
    sub_path_expr: Annotated[str, wire(6)] = ""


class ImageVolumeSource(Struct):
    """The files of a container image or another artifact of a registry, read-only (alpha).

    Attributes:
        reference: The image, named as a container's; required in a pod of its own.
        pull_policy: When it is fetched: Always, IfNotPresent or Never. By default Always for the tag latest or no tag,
            and IfNotPresent for others.
    """

    reference: Annotated[str, wire(1)] = ""
    pull_policy: Annotated[str, wire(2)] = ""


class VolumeResourceRequirements(Struct):
    """How much storage a claim needs.

    Attributes:
        limits: The most it may get, by resource; `storage` is the one there is. Unset, there is no limit.
        requests: The least it must get: `storage` in bytes. Can be raised later if the class allows volumes to grow.
    """

    limits: Annotated[dict[str, Quantity], wire(1)] = {}
    requests: Annotated[dict[str, Quantity], wire(2)] = {}


class PersistentVolumeClaimSpec(Struct):
    """What storage is asked for.

    Attributes:
        access_modes: How it must be possible to mount it: ReadWriteOnce (from one node), ReadOnlyMany, ReadWriteMany or
            ReadWriteOncePod (by one pod). Never changes.
        selector: Which existing volumes will do, by their labels; by default any. With a selector nothing is
            provisioned.
        resources: How much storage it must have.
        volume_name: The volume it is bound to. Set when it is bound; set before, no other volume will do.
        storage_class_name: The StorageClass; empty text asks for a volume without a class, and unset for the cluster's
            default class.
        volume_mode: Filesystem (the default), or Block for a device without one.
        data_source: What to fill a new volume from: a PersistentVolumeClaim or a VolumeSnapshot of the namespace. Kept
            equal to dataSourceRef where that can say the same.
        data_source_ref: What to fill a new volume from, of any kind for which there is a populator, and possibly of
            another namespace (alpha).
        volume_attributes_class_name: The VolumeAttributesClass with the performance the volume shall have; can be
            changed. Beta, off by default.
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
    """The claim that is made for an ephemeral volume.

    Attributes:
        metadata: Labels and annotations of the claim; nothing else may be set.
        spec: What the claim asks for, as in a PersistentVolumeClaim.
    """

    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PersistentVolumeClaimSpec, wire(2, required=True)] = field(
        default_factory=PersistentVolumeClaimSpec
    )


class EphemeralVolumeSource(Struct):
    """Storage from a claim that is made for the pod and deleted with it.

    Attributes:
        volume_claim_template: The claim, which will be called POD-VOLUME; required. A claim of that name that is not
            the pod's keeps it from starting.
    """

    volume_claim_template: Annotated[PersistentVolumeClaimTemplate | None, wire(1)] = None


class CSIVolumeSource(Struct):
    """Storage that a CSI driver makes for the pod alone, and takes away with it.

    Attributes:
        driver: The driver's name, as its CSIDriver object has it; it must support ephemeral volumes.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        fs_type: The file system to mount, such as ext4; unset, the driver decides.
        volume_attributes: What the driver wants to know about the volume; see its documentation.
        node_publish_secret_ref: A Secret of the pod's namespace with what the driver needs to log in somewhere.
    """

    driver: Annotated[str, wire(1, required=True)] = always("")
    read_only: Annotated[bool | None, wire(2)] = None
    fs_type: Annotated[str | None, wire(3)] = None
    volume_attributes: Annotated[dict[str, str], wire(4)] = {}
    node_publish_secret_ref: Annotated[LocalObjectReference | None, wire(5)] = None


class ClusterTrustBundleProjection(Struct):
    """Certificates of authorities to trust, as a file in PEM form, kept up to date (alpha).

    Attributes:
        name: The ClusterTrustBundle, by name; not together with signerName.
        signer_name: All ClusterTrustBundles of this signer that labelSelector chooses.
        label_selector: Which of the signer's bundles; unset matches none, an empty selector all.
        optional: True makes an empty file, or starts without, where nothing is found; false (the default) waits.
        path: The file, relative to the volume's root.
    """

    name: Annotated[str | None, wire(1)] = None
    signer_name: Annotated[str | None, wire(2)] = None
    label_selector: Annotated[LabelSelector | None, wire(3)] = None
    optional: Annotated[bool | None, wire(5)] = None
    path: Annotated[str, wire(4, required=True)] = always("")


class ServiceAccountTokenProjection(Struct):
    """A token of the pod's service account as a file, renewed before it expires.

    Attributes:
        audience: For whom the token is; whoever checks it must find itself named there. The API server by default.
        expiration_seconds: For how many seconds it is valid, at least 600; 3600 by default. It is renewed when 80
            percent have passed.
        path: The file, relative to the volume's root.
    """

    audience: Annotated[str, wire(1)] = ""
    expiration_seconds: Annotated[Int64 | None, wire(2)] = None
    path: Annotated[str, wire(3, required=True)] = always("")


class ConfigMapProjection(Struct):
    """The entries of a ConfigMap as files of a projected volume.

    Attributes:
        name: The ConfigMap, in the pod's namespace.
        items: Which entries, and as which files; by default all, each as a file of its name. One that is missing fails
            unless optional.
        optional: True does without if the ConfigMap or an item is missing; otherwise (the default) the pod does not
            start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    optional: Annotated[bool | None, wire(4)] = None


class DownwardAPIProjection(Struct):
    """Fields of the pod as files of a projected volume.

    Attributes:
        items: The files, and what is in them.
    """

    items: Annotated[list[DownwardAPIVolumeFile], wire(1, list_type="atomic")] = []


class SecretProjection(Struct):
    """The entries of a Secret as files of a projected volume.

    Attributes:
        name: The Secret, in the pod's namespace.
        items: Which entries, and as which files; by default all, each as a file of its name. One that is missing fails
            unless optional.
        optional: True does without if the Secret or an item is missing; otherwise (the default) the pod does not start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    optional: Annotated[bool | None, wire(4)] = None


class VolumeProjection(Struct):
    """One source of a projected volume; exactly one is set.

    Attributes:
        secret: Files, one for each entry of a Secret.
        downward_api: What is known of the pod itself.
        config_map: Files, one for each entry of a ConfigMap.
        service_account_token: A token by which the pod proves who it is.
        cluster_trust_bundle: Authorities to trust (alpha).
    """

    secret: Annotated[SecretProjection | None, wire(1)] = None
    downward_api: Annotated[DownwardAPIProjection | None, wire(2)] = field(name="downwardAPI", default=None)
    config_map: Annotated[ConfigMapProjection | None, wire(3)] = None
    service_account_token: Annotated[ServiceAccountTokenProjection | None, wire(4)] = None
    cluster_trust_bundle: Annotated[ClusterTrustBundleProjection | None, wire(5)] = None


class ProjectedVolumeSource(Struct):
    """Several sources together in one directory.

    Attributes:
        sources: What is put together; paths must not meet.
        default_mode: The permission bits of files that say nothing themselves, 0 to 0777 (octal; JSON has only decimal
            numbers); 0644 by default.
    """

    sources: Annotated[list[VolumeProjection], wire(1, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(2)] = None


class ConfigMapVolumeSource(Struct):
    """The entries of a ConfigMap as files, which follow its changes.

    Attributes:
        name: The ConfigMap, in the pod's namespace.
        items: Which entries, and as which files; by default all, each as a file of its name. One that is missing fails
            unless optional.
        default_mode: The permission bits of files that say nothing themselves, 0 to 0777 (octal; JSON has only decimal
            numbers); 0644 by default.
        optional: True does without if the ConfigMap or an item is missing; otherwise (the default) the pod does not
            start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(3)] = None
    optional: Annotated[bool | None, wire(4)] = None


class DownwardAPIVolumeFile(Struct):
    """A file that holds a field of the pod, or a request or limit of a container; one of both is set.

    Attributes:
        path: The file, relative to the volume's root; neither absolute nor with `..`.
        field_ref: The field: annotations, labels, name, namespace or uid of the pod.
        resource_field_ref: The request or limit: limits.cpu, requests.memory and so on, of a named container.
        mode: The file's permission bits, 0 to 0777 (octal); the volume's defaultMode if unset.
    """

    path: Annotated[str, wire(1, required=True)] = always("")
    field_ref: Annotated[ObjectFieldSelector | None, wire(2)] = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, wire(3)] = None
    mode: Annotated[Int32 | None, wire(4)] = None


class DownwardAPIVolumeSource(Struct):
    """Fields of the pod itself as files, which follow their changes.

    Attributes:
        items: The files, and what is in them.
        default_mode: The permission bits of files that say nothing themselves, 0 to 0777 (octal; JSON has only decimal
            numbers); 0644 by default.
    """

    items: Annotated[list[DownwardAPIVolumeFile], wire(1, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(2)] = None


class PersistentVolumeClaimVolumeSource(Struct):
    """The storage that a PersistentVolumeClaim of the pod's namespace is bound to.

    Attributes:
        claim_name: The claim's name; the pod waits until it is bound.
        read_only: Whether all containers of the pod can only read; false by default.
    """

    claim_name: Annotated[str, wire(1, required=True)] = always("")
    read_only: Annotated[bool, wire(2)] = False


class KeyToPath(Struct):
    """One entry of a ConfigMap or Secret, and the file it becomes.

    Attributes:
        key: The entry's name.
        path: The file, relative to the volume's root; neither absolute nor with `..`.
        mode: The file's permission bits, 0 to 0777 (octal); the volume's defaultMode if unset.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    path: Annotated[str, wire(2, required=True)] = always("")
    mode: Annotated[Int32 | None, wire(3)] = None


class SecretVolumeSource(Struct):
    """The entries of a Secret as files in memory, which follow its changes.

    Attributes:
        secret_name: The Secret, in the pod's namespace.
        items: Which entries, and as which files; by default all, each as a file of its name. One that is missing fails
            unless optional.
        default_mode: The permission bits of files that say nothing themselves, 0 to 0777 (octal; JSON has only decimal
            numbers); 0644 by default.
        optional: True does without if the Secret or an item is missing; otherwise (the default) the pod does not start.
    """

    secret_name: Annotated[str, wire(1)] = ""
    items: Annotated[list[KeyToPath], wire(2, list_type="atomic")] = []
    default_mode: Annotated[Int32 | None, wire(3)] = None
    optional: Annotated[bool | None, wire(4)] = None


class GitRepoVolumeSource(Struct):
    """A clone of a git repository, made when the pod starts. Deprecated and off by default: an init container that
    clones into an emptyDir does the same.

    Attributes:
        repository: The repository's URL.
        revision: The commit to check out; the newest by default.
        directory: Where to clone to, relative to the volume's root; `.` is the root itself. By default a directory
            named after the repository.
    """

    repository: Annotated[str, wire(1, required=True)] = always("")
    revision: Annotated[str, wire(2)] = ""
    directory: Annotated[str, wire(3)] = ""


class EmptyDirVolumeSource(Struct):
    """A directory that begins empty, is shared by the pod's containers and is deleted with the pod.

    Attributes:
        medium: Where it lies: empty (the default) is the node's disk, Memory a tmpfs, whose files count as the
            containers' memory.
        size_limit: How much may be put there: beyond it the pod is evicted, and a tmpfs is full. Unset, there is no
            limit.
    """

    medium: Annotated[str, wire(1)] = ""
    size_limit: Annotated[Quantity | None, wire(2)] = None


class HostPathVolumeSource(Struct):
    """A file or directory of the node itself. Whoever may use it can take over the node.

    Attributes:
        path: The path on the node; a symbolic link is followed.
        type: What must be there beforehand: Directory, File, Socket, CharDevice or BlockDevice, or DirectoryOrCreate
            and FileOrCreate, which make it; empty (the default) checks nothing.
    """

    path: Annotated[str, wire(1, required=True)] = always("")
    type: Annotated[str | None, wire(2)] = None


class Volume(Struct):
    """Files, or a device, that containers of the pod can mount, by name; exactly one source is set.

    Attributes:
        name: By which containers mount it; unique in the pod, a DNS label.
        host_path: A file or directory of the node.
        empty_dir: A directory that begins empty and goes with the pod.
        gce_persistent_disk: A disk of Google's cloud (deprecated).
        aws_elastic_block_store: A disk of Amazon's cloud (deprecated).
        git_repo: Files of a git repository (deprecated).
        secret: Files, one for each entry of a Secret.
        nfs: A directory of an NFS server.
        iscsi: A disk over iSCSI, which must exist.
        glusterfs: A Gluster volume (deprecated).
        persistent_volume_claim: What a PersistentVolumeClaim got.
        rbd: A block device of a Ceph cluster, which must exist (deprecated).
        flex_volume: Whatever a FlexVolume program mounts (deprecated).
        cinder: A volume of OpenStack (deprecated).
        cephfs: Files of a Ceph cluster (deprecated).
        flocker: A Flocker dataset (deprecated).
        downward_api: What is known of the pod itself.
        fc: A disk over Fibre Channel, which must exist.
        azure_file: A file share of Azure (deprecated).
        config_map: Files, one for each entry of a ConfigMap.
        vsphere_volume: A disk of vSphere (deprecated).
        quobyte: A Quobyte volume (deprecated).
        azure_disk: A data disk of Azure's cloud (deprecated).
        photon_persistent_disk: A disk of Photon Controller (deprecated).
        projected: Secrets, ConfigMaps, tokens and fields of the pod, all in one directory.
        portworx_volume: A volume of a Portworx cluster (deprecated).
        scale_io: A ScaleIO volume (deprecated).
        storageos: A StorageOS volume (deprecated).
        csi: What a CSI driver makes for this pod alone.
        ephemeral: Storage of a class, made for this pod alone.
        image: The files of an image in a registry (alpha).
    """

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
