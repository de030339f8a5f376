"""Volumes on systems outside the cluster: what a pod, and what a PersistentVolume, says of where they are.

The two say the same but for whose Secret they name: a pod only one of its own namespace. Most of these systems are
reached through drivers of their own today (CSI); what is declared for them stays in the API.
"""

from __future__ import annotations

from typing import Annotated, Any

from api.core.references import LocalObjectReference, ObjectReference, SecretReference
from api.schema import Int32, Struct, always, field, wire


class NFSVolumeSource(Struct):
    """A directory of an NFS server.

    Attributes:
        server: The server's name or address.
        path: The directory that it exports.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    server: Annotated[str, wire(1, required=True)] = always("")
    path: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False


class ISCSITarget(Struct):
    """A disk over iSCSI, attached to the node before it is mounted.

    Attributes:
        target_portal: The target's address, with a port unless that is 860 or 3260.
        iqn: The target's qualified name.
        lun: The logical unit of the target.
        iscsi_interface: The initiator's interface; default (TCP) by default.
        fs_type: The file system on the disk: ext4 (the default), xfs or another that the node knows.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        portals: Further addresses of the target, for several paths.
        chap_auth_discovery: Whether discovery authenticates by CHAP; false by default.
        chap_auth_session: Whether sessions authenticate by CHAP; false by default.
        initiator_name: The initiator's own name, in place of the node's.
    """

    target_portal: Annotated[str, wire(1, required=True)] = always("")
    iqn: Annotated[str, wire(2, required=True)] = always("")
    lun: Annotated[Int32, wire(3, required=True)] = always(0)
    iscsi_interface: Annotated[str, wire(4)] = ""
    fs_type: Annotated[str, wire(5)] = ""
    read_only: Annotated[bool, wire(6)] = False
    portals: Annotated[list[str], wire(7, list_type="atomic")] = []
    chap_auth_discovery: Annotated[bool, wire(8)] = False
    chap_auth_session: Annotated[bool, wire(11)] = False
    initiator_name: Annotated[str | None, wire(12)] = None


class ISCSIVolumeSource(ISCSITarget):
    """A disk over iSCSI.

    Attributes:
        secret_ref: A Secret of the pod's namespace with CHAP user and password.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(10)] = None


class ISCSIPersistentVolumeSource(ISCSITarget):
    """A disk over iSCSI.

    Attributes:
        secret_ref: The Secret with CHAP user and password.
    """

    secret_ref: Annotated[SecretReference | None, wire(10)] = None


class FCVolumeSource(Struct):
    """A disk over Fibre Channel: by target and unit, or by world wide id.

    Attributes:
        target_ww_ns: World wide names of the target; with lun.
        lun: The logical unit of the target.
        fs_type: The file system on the disk: ext4 (the default), xfs or another that the node knows.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        wwids: World wide ids of the disk, in place of targetWWNs and lun.
    """

    target_ww_ns: Annotated[list[str], wire(1, list_type="atomic")] = field(name="targetWWNs", default_factory=list)
    lun: Annotated[Int32 | None, wire(2)] = None
    fs_type: Annotated[str, wire(3)] = ""
    read_only: Annotated[bool, wire(4)] = False
    wwids: Annotated[list[str], wire(5, list_type="atomic")] = []


class CephFSVolume(Struct):
    """A directory of a Ceph file system. No node mounts it by itself any more: the driver cephfs.csi.ceph.com does.

    Attributes:
        monitors: Addresses of Ceph monitors.
        path: The directory; / by default.
        user: The Ceph user; admin by default.
        secret_file: A file on the node with the user's key; /etc/ceph/user.secret by default.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    monitors: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    path: Annotated[str, wire(2)] = ""
    user: Annotated[str, wire(3)] = ""
    secret_file: Annotated[str, wire(4)] = ""
    read_only: Annotated[bool, wire(6)] = False


class CephFSVolumeSource(CephFSVolume):
    """A directory of a Ceph file system (deprecated).

    Attributes:
        secret_ref: A Secret of the pod's namespace with the user's key, in place of secretFile.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(5)] = None


class CephFSPersistentVolumeSource(CephFSVolume):
    """A directory of a Ceph file system (deprecated).

    Attributes:
        secret_ref: The Secret with the user's key, in place of secretFile.
    """

    secret_ref: Annotated[SecretReference | None, wire(5)] = None


class RBDImage(Struct):
    """A block device of a Ceph cluster. No node maps it by itself any more: the driver rbd.csi.ceph.com does.

    Attributes:
        monitors: Addresses of Ceph monitors.
        image: The image in its pool that is mapped.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        pool: The RADOS pool; rbd by default.
        user: The RADOS user; admin by default.
        keyring: A file on the node with the user's keys; /etc/ceph/keyring by default.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    monitors: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    image: Annotated[str, wire(2, required=True)] = always("")
    fs_type: Annotated[str, wire(3)] = ""
    pool: Annotated[str, wire(4)] = ""
    user: Annotated[str, wire(5)] = ""
    keyring: Annotated[str, wire(6)] = ""
    read_only: Annotated[bool, wire(8)] = False


class RBDVolumeSource(RBDImage):
    """A block device of a Ceph cluster (deprecated).

    Attributes:
        secret_ref: A Secret of the pod's namespace with the user's key, in place of keyring.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(7)] = None


class RBDPersistentVolumeSource(RBDImage):
    """A block device of a Ceph cluster (deprecated).

    Attributes:
        secret_ref: The Secret with the user's key, in place of keyring.
    """

    secret_ref: Annotated[SecretReference | None, wire(7)] = None


class GlusterfsVolumeSource(Struct):
    """A volume of a Gluster cluster (deprecated: no node mounts it any more).

    Attributes:
        endpoints: The Endpoints object that holds the cluster's addresses.
        path: The Gluster volume.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    endpoints: Annotated[str, wire(1, required=True)] = always("")
    path: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False


class GlusterfsPersistentVolumeSource(GlusterfsVolumeSource):
    """A volume of a Gluster cluster (deprecated: no node mounts it any more).

    Attributes:
        endpoints_namespace: The namespace of the Endpoints object; unset, that of the claim.
    """

    endpoints_namespace: Annotated[str | None, wire(4)] = None


class QuobyteVolumeSource(Struct):
    """A volume of a Quobyte file system (deprecated: no node mounts it any more).

    Attributes:
        registry: Addresses of Quobyte registries, as HOST:PORT, with commas between them.
        volume: The volume's name.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        user: As whom files are accessed; the service account's user by default.
        group: As which group files are accessed; none by default.
        tenant: The Quobyte tenant that the volume belongs to.
    """

    registry: Annotated[str, wire(1, required=True)] = always("")
    volume: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False
    user: Annotated[str, wire(4)] = ""
    group: Annotated[str, wire(5)] = ""
    tenant: Annotated[str, wire(6)] = ""


class FlexVolume(Struct):
    """Storage that a program installed on the nodes mounts (FlexVolume). Deprecated: CSI drivers took its place.

    Attributes:
        driver: The program's name, as VENDOR/DRIVER.
        fs_type: The file system to mount, such as ext4; the program decides by default.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        options: What else is passed to the program, by name.
    """

    driver: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str, wire(2)] = ""
    read_only: Annotated[bool, wire(4)] = False
    options: Annotated[dict[str, str], wire(5)] = {}


class FlexVolumeSource(FlexVolume):
    """Storage that a program on the node mounts (deprecated).

    Attributes:
        secret_ref: A Secret of the pod's namespace whose entries are passed to the program.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(3)] = None


class FlexPersistentVolumeSource(FlexVolume):
    """Storage that a program on the node mounts (deprecated).

    Attributes:
        secret_ref: The Secret whose entries are passed to the program.
    """

    secret_ref: Annotated[SecretReference | None, wire(3)] = None


class AWSElasticBlockStoreVolumeSource(Struct):
    """A disk of Amazon's Elastic Block Store, in the node's zone. Deprecated: the driver ebs.csi.aws.com serves it.

    Attributes:
        volume_id: The disk's id, such as vol-0123456789abcdef0.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        partition: Which partition to mount; 0, the default, is the whole disk.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    volume_id: Annotated[str, wire(1, required=True)] = always("", name="volumeID")
    fs_type: Annotated[str, wire(2)] = ""
    partition: Annotated[Int32, wire(3)] = 0
    read_only: Annotated[bool, wire(4)] = False


class GCEPersistentDiskVolumeSource(Struct):
    """A persistent disk of Google's cloud, in the node's zone. Deprecated: the driver pd.csi.storage.gke.io serves it.

    Attributes:
        pd_name: The disk's name.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        partition: Which partition to mount; 0, the default, is the whole disk.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    pd_name: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str, wire(2)] = ""
    partition: Annotated[Int32, wire(3)] = 0
    read_only: Annotated[bool, wire(4)] = False


class AzureDiskVolumeSource(Struct):
    """A data disk of Azure. Deprecated: the driver disk.csi.azure.com serves it.

    Attributes:
        disk_name: What Azure calls the disk.
        disk_uri: Where the disk is in the storage account, or its resource id.
        caching_mode: How the host caches it: None, ReadOnly or ReadWrite (the default).
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        read_only: Whether it is mounted so that nothing can be written; false by default.
        kind: How the disk is kept: Shared (several in one storage account, the default), Dedicated (one in an account)
            or Managed.
    """

    disk_name: Annotated[str, wire(1, required=True)] = always("")
    disk_uri: Annotated[str, wire(2, required=True)] = always("", name="diskURI")
    caching_mode: Annotated[str | None, wire(3)] = None
    fs_type: Annotated[str | None, wire(4)] = None
    read_only: Annotated[bool | None, wire(5)] = None
    kind: Annotated[str | None, wire(6)] = None


class AzureFileVolumeSource(Struct):
    """A file share of Azure. Deprecated: the driver file.csi.azure.com serves it.

    Attributes:
        secret_name: A Secret with the storage account's name and key.
        share_name: What Azure calls the share.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    secret_name: Annotated[str, wire(1, required=True)] = always("")
    share_name: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False


class AzureFilePersistentVolumeSource(AzureFileVolumeSource):
    """A file share of Azure. Deprecated: the driver file.csi.azure.com serves it.

    Attributes:
        secret_namespace: The Secret's namespace; unset, that of the claim.
    """

    secret_namespace: Annotated[str | None, wire(4)] = None


class CinderVolume(Struct):
    """A block device of OpenStack's Cinder. Deprecated: the driver cinder.csi.openstack.org serves it.

    Attributes:
        volume_id: The volume's id in Cinder.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    volume_id: Annotated[str, wire(1, required=True)] = always("", name="volumeID")
    fs_type: Annotated[str, wire(2)] = ""
    read_only: Annotated[bool, wire(3)] = False


class CinderVolumeSource(CinderVolume):
    """A block device of OpenStack's Cinder (deprecated).

    Attributes:
        secret_ref: A Secret of the pod's namespace with what is needed to log in to OpenStack.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(4)] = None


class CinderPersistentVolumeSource(CinderVolume):
    """A block device of OpenStack's Cinder (deprecated).

    Attributes:
        secret_ref: The Secret with what is needed to log in to OpenStack.
    """

    secret_ref: Annotated[SecretReference | None, wire(4)] = None


class VsphereVirtualDiskVolumeSource(Struct):
    """A virtual disk of vSphere. Deprecated: the driver csi.vsphere.vmware.com serves it.

    Attributes:
        volume_path: The disk's path, such as [datastore1] volumes/disk.vmdk.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        storage_policy_name: The storage policy of the disk, by name.
        storage_policy_id: The same by id.
    """

    volume_path: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str, wire(2)] = ""
    storage_policy_name: Annotated[str, wire(3)] = ""
    storage_policy_id: Annotated[str, wire(4)] = field(name="storagePolicyID", default="")


class PhotonPersistentDiskVolumeSource(Struct):
    """A disk of VMware's Photon Controller (deprecated: no node mounts it any more).

    Attributes:
        pd_id: The disk's id.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
    """

    pd_id: Annotated[str, wire(1, required=True)] = always("", name="pdID")
    fs_type: Annotated[str, wire(2)] = ""


class PortworxVolumeSource(Struct):
    """A volume of Portworx. Deprecated: the driver pxd.portworx.com serves it.

    Attributes:
        volume_id: What Portworx calls the volume.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    volume_id: Annotated[str, wire(1, required=True)] = always("", name="volumeID")
    fs_type: Annotated[str, wire(2)] = ""
    read_only: Annotated[bool, wire(3)] = False


class ScaleIOVolume(Struct):
    """A volume of ScaleIO (deprecated: no node mounts it any more).

    Attributes:
        gateway: The URL of the ScaleIO gateway's API.
        system: The name of the storage system there.
        ssl_enabled: Whether to talk TLS to the gateway; false by default.
        protection_domain: Which protection domain of that system the volume is in.
        storage_pool: Which storage pool of that domain the volume is in.
        storage_mode: ThinProvisioned (the default) or ThickProvisioned.
        volume_name: The volume's name there.
        fs_type: The file system on it; xfs by default.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    gateway: Annotated[str, wire(1, required=True)] = always("")
    system: Annotated[str, wire(2, required=True)] = always("")
    ssl_enabled: Annotated[bool, wire(4)] = False
    protection_domain: Annotated[str, wire(5)] = ""
    storage_pool: Annotated[str, wire(6)] = ""
    storage_mode: Annotated[str, wire(7)] = ""
    volume_name: Annotated[str, wire(8)] = ""
    fs_type: Annotated[str, wire(9)] = ""
    read_only: Annotated[bool, wire(10)] = False


class ScaleIOVolumeSource(ScaleIOVolume):
    """A volume of ScaleIO (deprecated).

    Attributes:
        secret_ref: A Secret of the pod's namespace with user and password of the gateway; required.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(3, required=True)] = None


class ScaleIOPersistentVolumeSource(ScaleIOVolume):
    """A volume of ScaleIO (deprecated).

    Attributes:
        secret_ref: The Secret with user and password of the gateway; required.
    """

    secret_ref: Annotated[SecretReference | None, wire(3, required=True)] = None


class StorageOSVolume(Struct):
    """A volume of StorageOS (deprecated: no node mounts it any more).

    Attributes:
        volume_name: The volume's name, unique in its StorageOS namespace.
        volume_namespace: That namespace; unset, the one of the pod or claim.
        fs_type: The file system on it: ext4 (the default), xfs or another that the node knows.
        read_only: Whether it is mounted so that nothing can be written; false by default.
    """

    volume_name: Annotated[str, wire(1)] = ""
    volume_namespace: Annotated[str, wire(2)] = ""
    fs_type: Annotated[str, wire(3)] = ""
    read_only: Annotated[bool, wire(4)] = False


class StorageOSVolumeSource(StorageOSVolume):
    """A volume of StorageOS (deprecated).

    Attributes:
        secret_ref: A Secret of the pod's namespace with what is needed to log in; unset, the defaults of the driver.
    """

    secret_ref: Annotated[LocalObjectReference | None, wire(5)] = None


class StorageOSPersistentVolumeSource(StorageOSVolume):
    """A volume of StorageOS (deprecated).

    Attributes:
        secret_ref: The Secret with what is needed to log in; unset, the defaults of the driver.
    """

    secret_ref: Annotated[ObjectReference | None, wire(5)] = None


class FlockerVolumeSource(Struct):
    """A dataset of Flocker (deprecated: no node mounts it any more). One of both fields is set.

    Attributes:
        dataset_name: The dataset by its name (deprecated).
        dataset_uuid: The dataset by its id.
    """

    dataset_name: Annotated[str, wire(1)] = ""
    dataset_uuid: Annotated[str, wire(2)] = field(name="datasetUUID", default="")


def default_systems(holder: Any) -> None:
    """Fill in upstream's defaults of a pod's volume or of a PersistentVolume's spec, which call sources alike."""
    if holder.host_path is not None and holder.host_path.type is None:
        holder.host_path.type = ""
    if holder.iscsi is not None:
        holder.iscsi.iscsi_interface = holder.iscsi.iscsi_interface or "default"
    if holder.rbd is not None:
        holder.rbd.pool = holder.rbd.pool or "rbd"
        holder.rbd.user = holder.rbd.user or "admin"
        holder.rbd.keyring = holder.rbd.keyring or "/etc/ceph/keyring"
    if holder.scale_io is not None:
        holder.scale_io.storage_mode = holder.scale_io.storage_mode or "ThinProvisioned"
        holder.scale_io.fs_type = holder.scale_io.fs_type or "xfs"
    disk = holder.azure_disk
    if disk is not None:
        disk.caching_mode = "ReadWrite" if disk.caching_mode is None else disk.caching_mode
        disk.kind = "Shared" if disk.kind is None else disk.kind
        disk.fs_type = "ext4" if disk.fs_type is None else disk.fs_type
        disk.read_only = bool(disk.read_only)
