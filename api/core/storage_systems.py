"""Volumes on systems outside the cluster: what a pod, and what a PersistentVolume, says of where they are.

The two say the same but for whose Secret they name: a pod only one of its own namespace. Most of these systems are
reached through drivers of their own today (CSI); what is declared for them stays in the API.
"""

from __future__ import annotations

from typing import Annotated

from api.core.references import LocalObjectReference, ObjectReference, SecretReference
from api.schema import Int32, Struct, always, field, wire


class NFSVolumeSource(Struct):
    server: Annotated[str, wire(1, required=True)] = always("")
    path: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False


class ISCSITarget(Struct):
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
    secret_ref: Annotated[LocalObjectReference | None, wire(10)] = None


class ISCSIPersistentVolumeSource(ISCSITarget):
    secret_ref: Annotated[SecretReference | None, wire(10)] = None


class FCVolumeSource(Struct):
    target_ww_ns: Annotated[list[str], wire(1, list_type="atomic")] = field(name="targetWWNs", default_factory=list)
    lun: Annotated[Int32 | None, wire(2)] = None
    fs_type: Annotated[str, wire(3)] = ""
    read_only: Annotated[bool, wire(4)] = False
    wwids: Annotated[list[str], wire(5, list_type="atomic")] = []


class CephFSVolume(Struct):
    monitors: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    path: Annotated[str, wire(2)] = ""
    user: Annotated[str, wire(3)] = ""
    secret_file: Annotated[str, wire(4)] = ""
    read_only: Annotated[bool, wire(6)] = False


class CephFSVolumeSource(CephFSVolume):
    secret_ref: Annotated[LocalObjectReference | None, wire(5)] = None


class CephFSPersistentVolumeSource(CephFSVolume):
    secret_ref: Annotated[SecretReference | None, wire(5)] = None


class RBDImage(Struct):
    monitors: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    image: Annotated[str, wire(2, required=True)] = always("")
    fs_type: Annotated[str, wire(3)] = ""
    pool: Annotated[str, wire(4)] = ""
    user: Annotated[str, wire(5)] = ""
    keyring: Annotated[str, wire(6)] = ""
    read_only: Annotated[bool, wire(8)] = False


class RBDVolumeSource(RBDImage):
    secret_ref: Annotated[LocalObjectReference | None, wire(7)] = None


class RBDPersistentVolumeSource(RBDImage):
    secret_ref: Annotated[SecretReference | None, wire(7)] = None


class GlusterfsVolumeSource(Struct):
    endpoints: Annotated[str, wire(1, required=True)] = always("")
    path: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False


class GlusterfsPersistentVolumeSource(GlusterfsVolumeSource):
    endpoints_namespace: Annotated[str | None, wire(4)] = None


class QuobyteVolumeSource(Struct):
    registry: Annotated[str, wire(1, required=True)] = always("")
    volume: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False
    user: Annotated[str, wire(4)] = ""
    group: Annotated[str, wire(5)] = ""
    tenant: Annotated[str, wire(6)] = ""


class FlexVolume(Struct):
    driver: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str, wire(2)] = ""
    read_only: Annotated[bool, wire(4)] = False
    options: Annotated[dict[str, str], wire(5)] = {}


class FlexVolumeSource(FlexVolume):
    secret_ref: Annotated[LocalObjectReference | None, wire(3)] = None


class FlexPersistentVolumeSource(FlexVolume):
    secret_ref: Annotated[SecretReference | None, wire(3)] = None


class AWSElasticBlockStoreVolumeSource(Struct):
    volume_id: Annotated[str, wire(1, required=True)] = always("", name="volumeID")
    fs_type: Annotated[str, wire(2)] = ""
    partition: Annotated[Int32, wire(3)] = 0
    read_only: Annotated[bool, wire(4)] = False


class GCEPersistentDiskVolumeSource(Struct):
    pd_name: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str, wire(2)] = ""
    partition: Annotated[Int32, wire(3)] = 0
    read_only: Annotated[bool, wire(4)] = False


class AzureDiskVolumeSource(Struct):
    disk_name: Annotated[str, wire(1, required=True)] = always("")
    disk_uri: Annotated[str, wire(2, required=True)] = always("", name="diskURI")
    caching_mode: Annotated[str | None, wire(3)] = None
    fs_type: Annotated[str | None, wire(4)] = None
    read_only: Annotated[bool | None, wire(5)] = None
    kind: Annotated[str | None, wire(6)] = None


class AzureFileVolumeSource(Struct):
    secret_name: Annotated[str, wire(1, required=True)] = always("")
    share_name: Annotated[str, wire(2, required=True)] = always("")
    read_only: Annotated[bool, wire(3)] = False


class AzureFilePersistentVolumeSource(AzureFileVolumeSource):
    secret_namespace: Annotated[str | None, wire(4)] = None


class CinderVolume(Struct):
    volume_id: Annotated[str, wire(1, required=True)] = always("", name="volumeID")
    fs_type: Annotated[str, wire(2)] = ""
    read_only: Annotated[bool, wire(3)] = False


class CinderVolumeSource(CinderVolume):
    secret_ref: Annotated[LocalObjectReference | None, wire(4)] = None


class CinderPersistentVolumeSource(CinderVolume):
    secret_ref: Annotated[SecretReference | None, wire(4)] = None


class VsphereVirtualDiskVolumeSource(Struct):
    volume_path: Annotated[str, wire(1, required=True)] = always("")
    fs_type: Annotated[str, wire(2)] = ""
    storage_policy_name: Annotated[str, wire(3)] = ""
    storage_policy_id: Annotated[str, wire(4)] = field(name="storagePolicyID", default="")


class PhotonPersistentDiskVolumeSource(Struct):
    pd_id: Annotated[str, wire(1, required=True)] = always("", name="pdID")
    fs_type: Annotated[str, wire(2)] = ""


class PortworxVolumeSource(Struct):
    volume_id: Annotated[str, wire(1, required=True)] = always("", name="volumeID")
    fs_type: Annotated[str, wire(2)] = ""
    read_only: Annotated[bool, wire(3)] = False


class ScaleIOVolume(Struct):
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
    secret_ref: Annotated[LocalObjectReference | None, wire(3, required=True)] = None


class ScaleIOPersistentVolumeSource(ScaleIOVolume):
    secret_ref: Annotated[SecretReference | None, wire(3, required=True)] = None


class StorageOSVolume(Struct):
    volume_name: Annotated[str, wire(1)] = ""
    volume_namespace: Annotated[str, wire(2)] = ""
    fs_type: Annotated[str, wire(3)] = ""
    read_only: Annotated[bool, wire(4)] = False


class StorageOSVolumeSource(StorageOSVolume):
    secret_ref: Annotated[LocalObjectReference | None, wire(5)] = None


class StorageOSPersistentVolumeSource(StorageOSVolume):
    secret_ref: Annotated[ObjectReference | None, wire(5)] = None


class FlockerVolumeSource(Struct):
    dataset_name: Annotated[str, wire(1)] = ""
    dataset_uuid: Annotated[str, wire(2)] = field(name="datasetUUID", default="")
