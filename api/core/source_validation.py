"""What each source of a volume must say, in a pod or in a PersistentVolume. Pure.

Where upstream tells of a field under another name than the JSON's (`persistentDisk`, `initiatorname`), so does this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from api import names
from api import validation as v

_HOST_PATH_TYPES: Final = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_ISCSI_NAMES: Final = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)"),
    "eui": re.compile(r"eui.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa.[A-Za-z0-9]{32}"),
}
_ISCSI_NAME_LENGTH_MAX: Final = 64
_QUOBYTE_TENANT_LENGTH_MAX: Final = 64
_DRIVER_LENGTH_MAX: Final = 63

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "awsElasticBlockStore": ("volumeID",),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "iscsi": ("targetPortal",),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "vsphereVolume": ("volumePath",),
}
_TOLD_AS: Final = {"gcePersistentDisk": "persistentDisk"}


def check_source(path: str, field: str, source: Any, *, is_persistent: bool, name: str) -> v.Errors:
    """Check one source.

    Args:
        path: of what has the source.
        field: the JSON name of the source.
        source: what is there.
        is_persistent: whether a PersistentVolume has it, whose secrets are in a namespace that it names.
        name: of the volume.
    """
    where = f"{path}.{_TOLD_AS.get(field, field)}"
    kind = type(source)
    values = {
        json_name: getattr(source, attribute)
        for attribute, json_name in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    }
    for wanted in _REQUIRED.get(field, ()):
        if not values[wanted]:
            yield v.required(f"{where}.{wanted}")
    further = _FURTHER.get(field)
    if further is not None:
        yield from further(where, source, is_persistent, name)


def check_descending_path(path: str, value: str) -> v.Errors:
    """Require a relative path that does not climb."""
    if value.startswith("/"):
        yield v.invalid(path, value, "must be a relative path")
    yield from check_no_backsteps(path, value)


def check_no_backsteps(path: str, value: str) -> v.Errors:
    """Require a path without `..` in it."""
    if ".." in value.split("/"):
        yield v.invalid(path, value, "must not contain '..'")


def check_driver(path: str, driver: str) -> v.Errors:
    """Check the name of a CSI driver."""
    if not driver:
        yield v.required(path)
    if len(driver) > _DRIVER_LENGTH_MAX:
        yield v.too_long(path, _DRIVER_LENGTH_MAX)
    for message in names.check_subdomain(driver.lower()):
        yield v.invalid(path, driver, message)


# --- further rules, by the source's JSON name -----------------------------------------------------------------------

_Check = Callable[[str, Any, bool, str], v.Errors]


def _host_path(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if not source.path:
        yield v.required(f"{path}.path")
        return
    yield from check_no_backsteps(f"{path}.path", source.path)
    if (source.type or "") not in _HOST_PATH_TYPES:
        yield v.not_supported(f"{path}.type", source.type or "", _HOST_PATH_TYPES)


def _local(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if not source.path:
        yield v.required(f"{path}.path")
    yield from check_no_backsteps(f"{path}.path", source.path)


def _nfs(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if not source.path.startswith("/"):
        yield v.invalid(f"{path}.path", source.path, "must be an absolute path")


def _git_repo(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    yield from check_descending_path(f"{path}.directory", source.directory)


def _disk(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if not 0 <= source.partition <= 255:
        yield v.invalid(f"{path}.partition", source.partition, "must be between 1 and 255, inclusive")


def _iscsi(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if source.initiator_name is not None and len(f"{name}:{source.target_portal}") > _ISCSI_NAME_LENGTH_MAX:
        why = (
            f"Total length of <volume name>:<iscsi.targetPortal> must be under {_ISCSI_NAME_LENGTH_MAX} characters"
            " if iscsi.initiatorName is specified."
        )
        if is_persistent:
            yield v.invalid(f"{path}.targetportal", source.target_portal, why)
        else:
            yield v.invalid(f"{path.rpartition('.')[0]}.name", name, why)
    if not source.iqn:
        yield v.required(f"{path}.iqn")
    else:
        yield from _iscsi_name(f"{path}.iqn", source.iqn)
    if not 0 <= source.lun <= 255:
        yield v.invalid(f"{path}.lun", source.lun, "must be between 0 and 255, inclusive")
    if (source.chap_auth_discovery or source.chap_auth_session) and source.secret_ref is None:
        yield v.required(f"{path}.secretRef")
    if is_persistent and source.secret_ref is not None and not source.secret_ref.name:
        yield v.required(f"{path}.secretRef.name")
    if source.initiator_name is not None:
        yield from _iscsi_name(f"{path}.initiatorname", source.initiator_name)


def _iscsi_name(path: str, value: str) -> v.Errors:
    pattern = _ISCSI_NAMES.get(value[:3])
    if pattern is None:
        yield v.invalid(path, value, "must be valid format starting with iqn, eui, or naa")
    elif not pattern.fullmatch(value):
        yield v.invalid(path, value, "must be valid format")


def _fc(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    where = f"{path}.targetWWNs"
    if not source.target_ww_ns and not source.wwids:
        yield v.required(where, "must specify either targetWWNs or wwids, but not both")
    if source.target_ww_ns and source.wwids:
        yield v.invalid(where, source.target_ww_ns, "targetWWNs and wwids can not be specified simultaneously")
    if source.target_ww_ns:
        if source.lun is None:
            yield v.required(f"{path}.lun", "lun is required if targetWWNs is specified")
        elif not 0 <= source.lun <= 255:
            yield v.invalid(f"{path}.lun", source.lun, "must be between 0 and 255, inclusive")


def _quobyte(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    why = "must be a host:port pair or multiple pairs separated by commas"
    if not source.registry:
        yield v.required(f"{path}.registry", why)
    elif len(source.tenant) > _QUOBYTE_TENANT_LENGTH_MAX:
        yield v.required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters")
    else:
        for pair in source.registry.split(","):
            host, colon, _ = pair.rpartition(":")
            is_bracketed = host.startswith("[") and host.endswith("]")
            if not colon or (":" in host and not is_bracketed):
                yield v.invalid(f"{path}.registry", source.registry, why)
    if not source.volume:
        yield v.required(f"{path}.volume")


def _glusterfs(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if not is_persistent or source.endpoints_namespace is None:
        return
    where, namespace = f"{path}.endpointsNamespace", source.endpoints_namespace
    if not namespace:
        yield v.invalid(where, namespace, "if the endpointnamespace is set, it must be a valid namespace name")
    else:
        for message in names.check_label(namespace):
            yield v.invalid(where, namespace, message)


def _flocker(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if not source.dataset_name and not source.dataset_uuid:
        yield v.required(path, "one of datasetName and datasetUUID is required")
    if source.dataset_name and source.dataset_uuid:
        yield v.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
    if "/" in source.dataset_name:
        yield v.invalid(f"{path}.datasetName", source.dataset_name, "must not contain '/'")


def _flex(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    for key in source.options:
        prefix, slash, _ = key.partition("/")
        namespace = f".{(prefix if slash else key).lower()}"
        if namespace.endswith((".kubernetes.io", ".k8s.io")):
            yield v.invalid(f"{path}.options[{key}]", key, "kubernetes.io and k8s.io namespaces are reserved")


def _secret_reference(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if source.secret_ref is None:
        return
    if not source.secret_ref.name:
        yield v.required(f"{path}.secretRef.name")
    if is_persistent and not source.secret_ref.namespace:
        yield v.required(f"{path}.secretRef.namespace")


def _storageos(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    yield from v.check_name(f"{path}.volumeName", source.volume_name, names.check_label)
    if source.volume_namespace:
        yield from v.check_name(f"{path}.volumeNamespace", source.volume_namespace, names.check_label)
    yield from _secret_reference(path, source, is_persistent, name)


def _azure_file(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    if is_persistent and source.secret_namespace == "":
        yield v.required(f"{path}.secretNamespace")


_DISK_URIS: Final = {
    True: (
        "/subscriptions/",
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
    ),
    False: ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
}
"""Of managed disks and of others: how their addresses begin, and what they look like."""


def _azure_disk(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    for field, value in (("diskName", source.disk_name), ("diskURI", source.disk_uri)):
        if not value:
            yield v.required(f"{path}.{field}")
    for field, value, known in (
        ("cachingMode", source.caching_mode, ("None", "ReadOnly", "ReadWrite")),
        ("kind", source.kind, ("Dedicated", "Managed", "Shared")),
    ):
        if value is not None and value not in known:
            yield v.not_supported(f"{path}.{field}", value, known)
    if source.kind is not None:
        beginning, shown = _DISK_URIS[source.kind == "Managed"]
        if not source.disk_uri.startswith(beginning):
            yield v.not_supported(f"{path}.diskURI", source.disk_uri, (shown,))


def _csi(path: str, source: Any, is_persistent: bool, name: str) -> v.Errors:
    yield from check_driver(f"{path}.driver", source.driver)
    if not is_persistent:
        secret = source.node_publish_secret_ref
        if secret is not None and not secret.name:
            yield v.required(f"{path}.nodePublishSecretRef.name")
        elif secret is not None:
            for message in names.check_subdomain(secret.name):
                yield v.invalid(f"{path}.name", secret.name, message)
        return
    if not source.volume_handle:
        yield v.required(f"{path}.volumeHandle")
    for field, secret in (
        ("controllerPublishSecretRef", source.controller_publish_secret_ref),
        ("controllerExpandSecretRef", source.controller_expand_secret_ref),
        ("nodePublishSecretRef", source.node_publish_secret_ref),
        ("nodeExpandSecretRef", source.node_expand_secret_ref),
    ):
        if secret is not None:
            yield from v.check_name(f"{path}.{field}.name", secret.name, names.check_subdomain)
            yield from v.check_name(f"{path}.{field}.namespace", secret.namespace, names.check_label)


_FURTHER: Final[Mapping[str, _Check]] = {
    "awsElasticBlockStore": _disk,
    "azureDisk": _azure_disk,
    "azureFile": _azure_file,
    "cinder": _secret_reference,
    "csi": _csi,
    "fc": _fc,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _disk,
    "gitRepo": _git_repo,
    "glusterfs": _glusterfs,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "local": _local,
    "nfs": _nfs,
    "quobyte": _quobyte,
    "storageos": _storageos,
}
