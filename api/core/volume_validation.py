"""What the volumes of a pod may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api import names, quantity
from api import validation as v
from api.core.volumes import DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection
from api.schema import fields_of

_SOURCES = {field.name: field.json_name for field in fields_of(Volume).values() if field.name != "name"}
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations")
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip


def check_volumes(path: str, volumes: Sequence[Volume]) -> v.Errors:
    """Check that each volume has a name of its own and one source."""
    seen: set[str] = set()
    for i, volume in enumerate(volumes):
        where = f"{path}[{i}]"
        yield from v.check_name(f"{where}.name", volume.name, names.check_label)
        if volume.name in seen:
            yield v.duplicate(f"{where}.name", volume.name)
        seen.add(volume.name)
        yield from _check_source(where, volume)


def _check_source(path: str, volume: Volume) -> v.Errors:
    given = [name for name in _SOURCES if getattr(volume, name) is not None]
    if not given:
        yield v.required(path, "must specify a volume type")
    for name in given[1:]:
        yield v.forbidden(f"{path}.{_SOURCES[name]}", "may not specify more than 1 volume type")
    if volume.host_path is not None:
        where = f"{path}.hostPath"
        if not volume.host_path.path:
            yield v.required(f"{where}.path")
        elif ".." in volume.host_path.path.split("/"):
            yield v.invalid(f"{where}.path", volume.host_path.path, "must not contain '..'")
        if (volume.host_path.type or "") not in _HOST_PATH_TYPES:
            yield v.not_supported(f"{where}.type", volume.host_path.type or "", _HOST_PATH_TYPES)
    if volume.empty_dir is not None and volume.empty_dir.size_limit:
        limit = volume.empty_dir.size_limit
        if quantity.parse(limit).nanos < 0:
            yield v.forbidden(f"{path}.emptyDir.sizeLimit", "SizeLimit field must be a valid resource quantity")
    if volume.secret is not None:
        if not volume.secret.secret_name:
            yield v.required(f"{path}.secret.secretName")
        yield from _check_mode(f"{path}.secret.defaultMode", volume.secret.default_mode)
        yield from _check_items(f"{path}.secret.items", volume.secret.items)
    if volume.config_map is not None:
        if not volume.config_map.name:
            yield v.required(f"{path}.configMap.name")
        yield from _check_mode(f"{path}.configMap.defaultMode", volume.config_map.default_mode)
        yield from _check_items(f"{path}.configMap.items", volume.config_map.items)
    if volume.downward_api is not None:
        yield from _check_mode(f"{path}.downwardAPI.defaultMode", volume.downward_api.default_mode)
        yield from _check_downward(f"{path}.downwardAPI.items", volume.downward_api.items)
    if volume.projected is not None:
        yield from _check_mode(f"{path}.projected.defaultMode", volume.projected.default_mode)
        for i, projection in enumerate(volume.projected.sources):
            yield from _check_projection(f"{path}.projected.sources[{i}]", projection)
    if volume.persistent_volume_claim is not None and not volume.persistent_volume_claim.claim_name:
        yield v.required(f"{path}.persistentVolumeClaim.claimName")
    if volume.nfs is not None:
        for field, value in (("server", volume.nfs.server), ("path", volume.nfs.path)):
            if not value:
                yield v.required(f"{path}.nfs.{field}")
    if volume.csi is not None and not volume.csi.driver:
        yield v.required(f"{path}.csi.driver")


def _check_mode(path: str, mode: int | None) -> v.Errors:
    if mode is not None and not 0 <= mode <= 0o777:
        yield v.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")


def _check_items(path: str, items: Sequence[KeyToPath]) -> v.Errors:
    for i, item in enumerate(items):
        if not item.key:
            yield v.required(f"{path}[{i}].key")
        if not item.path:
            yield v.required(f"{path}[{i}].path")
        else:
            yield from check_local_path(f"{path}[{i}].path", item.path)
        yield from _check_mode(f"{path}[{i}].mode", item.mode)


def check_local_path(path: str, value: str) -> v.Errors:
    """Require a relative path that does not climb."""
    if value.startswith("/"):
        yield v.invalid(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield v.invalid(path, value, "must not contain '..'")
    elif value.startswith(".."):
        yield v.invalid(path, value, "must not start with '..'")


def _check_downward(path: str, items: Sequence[DownwardAPIVolumeFile]) -> v.Errors:
    for i, item in enumerate(items):
        where = f"{path}[{i}]"
        if not item.path:
            yield v.required(f"{where}.path")
        else:
            yield from check_local_path(f"{where}.path", item.path)
        if item.field_ref is None and item.resource_field_ref is None:
            yield v.required(where, "one of fieldRef and resourceFieldRef is required")
        elif item.field_ref is not None and item.resource_field_ref is not None:
            yield v.invalid(where, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.field_ref is not None:
            yield from check_field_ref(f"{where}.fieldRef", item.field_ref, _FIELDS)
        elif item.resource_field_ref is not None:
            if not item.resource_field_ref.container_name:
                yield v.required(f"{where}.resourceFieldRef.containerName")
            yield from check_resource_ref(f"{where}.resourceFieldRef", item.resource_field_ref)
        yield from _check_mode(f"{where}.mode", item.mode)


def check_field_ref(path: str, ref: Any, supported: Sequence[str]) -> v.Errors:
    """Check a reference to a field of the pod itself."""
    if not ref.api_version:
        yield v.required(f"{path}.apiVersion")
    if not ref.field_path:
        yield v.required(f"{path}.fieldPath")
        return
    base, bracket, rest = ref.field_path.partition("[")
    if bracket and base in ("metadata.labels", "metadata.annotations"):
        key = rest.removesuffix("]").strip("'")
        for message in names.check_qualified_name(key.lower()):
            yield v.invalid(path, key, message)
    elif ref.field_path not in supported:
        yield v.not_supported(f"{path}.fieldPath", ref.field_path, supported)


def check_resource_ref(path: str, ref: Any) -> v.Errors:
    """Check a reference to a container's requests or limits."""
    if not ref.resource:
        yield v.required(f"{path}.resource")
    elif ref.resource not in _RESOURCES and not ref.resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        yield v.not_supported(f"{path}.resource", ref.resource, _RESOURCES)


def _check_projection(path: str, projection: VolumeProjection) -> v.Errors:
    given = [name for name in projection.__struct_fields__ if getattr(projection, name) is not None]
    if not given:
        yield v.required(path, "must specify a volume projection type")
    elif len(given) > 1:
        yield v.forbidden(path, "may not specify more than 1 volume type")
    if projection.secret is not None:
        if not projection.secret.name:
            yield v.required(f"{path}.secret.name")
        yield from _check_items(f"{path}.secret.items", projection.secret.items)
    if projection.config_map is not None:
        if not projection.config_map.name:
            yield v.required(f"{path}.configMap.name")
        yield from _check_items(f"{path}.configMap.items", projection.config_map.items)
    if projection.downward_api is not None:
        yield from _check_downward(f"{path}.downwardAPI.items", projection.downward_api.items)
    token = projection.service_account_token
    if token is not None:
        where = f"{path}.serviceAccountToken"
        if token.expiration_seconds is not None and token.expiration_seconds < 600:
            yield v.invalid(
                f"{where}.expirationSeconds",
                token.expiration_seconds,
                "may not specify a duration less than 10 minutes",
            )
        if not token.path:
            yield v.required(f"{where}.path")
        else:
            yield from check_local_path(f"{where}.path", token.path)
