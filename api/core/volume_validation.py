"""What the volumes of a pod may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from api import names, quantity
from api import validation as v
from api.core.persistentvolumeclaim import check_spec as check_claim_spec
from api.core.source_validation import check_descending_path, check_source
from api.core.volumes import (
    ConfigMapVolumeSource,
    DownwardAPIVolumeFile,
    DownwardAPIVolumeSource,
    EmptyDirVolumeSource,
    EphemeralVolumeSource,
    KeyToPath,
    ProjectedVolumeSource,
    SecretVolumeSource,
    Volume,
    VolumeProjection,
)
from api.meta import ObjectMeta
from api.resource import FieldError
from api.schema import fields_of

_SOURCES: Final = (
    "empty_dir", "host_path", "git_repo", "gce_persistent_disk", "aws_elastic_block_store", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistent_volume_claim", "rbd", "cinder", "cephfs", "quobyte", "downward_api", "fc",
    "flex_volume", "config_map", "azure_file", "vsphere_volume", "photon_persistent_disk", "portworx_volume",
    "azure_disk", "storageos", "projected", "scale_io", "csi", "ephemeral", "image",
)  # fmt: skip
"""In upstream's order: the first that is given counts, and the others are too many."""
_JSON_NAMES: Final = {field.name: field.json_name for field in fields_of(Volume).values()}
_FIELDS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations",
)  # fmt: skip
_KNOWN_FIELDS: Final = frozenset(
    (
        *_FIELDS, "spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "spec.schedulerName",
        "status.phase", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
    )
)  # fmt: skip
_RESOURCES: Final = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HUGE_PAGES: Final = ("limits.hugepages-", "requests.hugepages-")
_CPU_DIVISORS: Final = frozenset(("1m", "1"))
_BYTE_DIVISORS: Final = (
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
)  # fmt: skip
_TOKEN_S_MAX: Final = 2**32


def check_volumes(
    path: str, volumes: Sequence[Volume], pod_name: str = ""
) -> tuple[dict[str, Volume], list[FieldError]]:
    """Check that each volume has a name of its own and one source; `pod_name` names what is claimed for a pod.

    Returns:
        The sound volumes by name, which are those that may be mounted, and what is wrong with the others.
    """
    sound: dict[str, Volume] = {}
    wrong: list[FieldError] = []
    made = {f"{pod_name}-{volume.name}" for volume in volumes if pod_name and volume.ephemeral is not None}
    for i, volume in enumerate(volumes):
        where = f"{path}[{i}]"
        errors = list(_check_volume(where, volume, pod_name))
        if volume.name in sound:
            errors.append(v.duplicate(f"{where}.name", volume.name))
        if not errors:
            sound[volume.name] = volume
        wrong += errors
        used = volume.persistent_volume_claim
        if used is not None and used.claim_name in made:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            wrong.append(v.invalid(f"{where}.persistentVolumeClaim.claimName", used.claim_name, why))
    return sound, wrong


def _check_volume(path: str, volume: Volume, pod_name: str) -> v.Errors:
    yield from _check_source(path, volume)
    if pod_name and volume.ephemeral is not None and volume.name:
        claim = f"{pod_name}-{volume.name}"
        for message in names.check_subdomain(claim):
            yield v.invalid(f"{path}.name", volume.name, f"PVC name {v.show(claim)}: {message}")
    yield from v.check_name(f"{path}.name", volume.name, names.check_label)


def _check_source(path: str, volume: Volume) -> v.Errors:
    given = [name for name in _SOURCES if getattr(volume, name) is not None]
    if not given:
        yield v.required(path, "must specify a volume type")
        return
    source = getattr(volume, given[0])
    where = f"{path}.{_JSON_NAMES[given[0]]}"
    match source:
        case EmptyDirVolumeSource():
            if source.size_limit and quantity.parse(source.size_limit).nanos < 0:
                yield v.forbidden(f"{where}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        case SecretVolumeSource():
            if not source.secret_name:
                yield v.required(f"{where}.secretName")
            yield from _check_mode(f"{where}.defaultMode", source.default_mode)
            yield from _check_items(f"{where}.items", source.items)
        case ConfigMapVolumeSource():
            if not source.name:
                yield v.required(f"{where}.name")
            yield from _check_mode(f"{where}.defaultMode", source.default_mode)
            yield from _check_items(f"{where}.items", source.items)
        case DownwardAPIVolumeSource():
            yield from _check_mode(f"{where}.defaultMode", source.default_mode)
            yield from _check_downward(where, source.items)
        case ProjectedVolumeSource():
            yield from _check_mode(f"{where}.defaultMode", source.default_mode)
            yield from _check_projections(where, source)
        case EphemeralVolumeSource():
            yield from _check_claim_template(f"{where}.volumeClaimTemplate", source)
        case _:
            yield from check_source(path, _JSON_NAMES[given[0]], source, is_persistent=False, name=volume.name)
    for name in given[1:]:
        yield v.forbidden(f"{path}.{_JSON_NAMES[name]}", "may not specify more than 1 volume type")


def _check_claim_template(path: str, source: EphemeralVolumeSource) -> v.Errors:
    template = source.volume_claim_template
    if template is None:
        yield v.required(path)
        return
    metadata = template.metadata
    yield from v.check_annotations(f"{path}.metadata.annotations", metadata.annotations)
    yield from v.check_labels(f"{path}.metadata.labels", metadata.labels)
    for field in fields_of(ObjectMeta).values():
        if field.name not in ("annotations", "labels") and getattr(metadata, field.name) not in (None, "", 0, [], {}):
            name = "uID" if field.name == "uid" else field.json_name  # So upstream calls it.
            yield v.forbidden(f"{path}.metadata.{name}", "cannot be set")
    yield from check_claim_spec(f"{path}.spec", template.spec)


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
    """Require a relative path that does not climb, and whose name is not reserved."""
    yield from check_descending_path(path, value)
    if value.startswith("..") and not value.startswith("../"):
        yield v.invalid(path, value, "must not start with '..'")


def _check_downward(path: str, items: Sequence[DownwardAPIVolumeFile]) -> v.Errors:
    """Check files of pod fields; upstream tells of them all below the source itself."""
    for item in items:
        if not item.path:
            yield v.required(f"{path}.path")
        else:
            yield from check_local_path(f"{path}.path", item.path)
        if item.field_ref is not None:
            yield from check_field_ref(f"{path}.fieldRef", item.field_ref, _FIELDS)
            if item.resource_field_ref is not None:
                yield v.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.resource_field_ref is not None:
            yield from check_resource_ref(f"{path}.resourceFieldRef", item.resource_field_ref, is_volume=True)
        else:
            yield v.required(path, "one of fieldRef and resourceFieldRef is required")
        yield from _check_mode(f"{path}.mode", item.mode)


def check_field_ref(path: str, ref: Any, supported: Sequence[str]) -> v.Errors:
    """Check a reference to a field of the pod itself."""
    if not ref.api_version:
        yield v.required(f"{path}.apiVersion")
        return
    if not ref.field_path:
        yield v.required(f"{path}.fieldPath")
        return
    field = "spec.nodeName" if ref.field_path == "spec.host" else ref.field_path
    base, bracket, rest = field.partition("['")
    has_key = bool(bracket) and rest.endswith("']")
    why = ""
    if ref.api_version != "v1":
        why = f"unsupported pod version: {ref.api_version}"
    elif has_key and base not in ("metadata.labels", "metadata.annotations"):
        why = f"field label does not support subscript: {field}"
    elif not has_key and field not in _KNOWN_FIELDS:
        why = f"field label not supported: {field}"
    if why:
        yield v.invalid(f"{path}.fieldPath", ref.field_path, f"error converting fieldPath: {why}")
    elif has_key:
        key = rest.removesuffix("']")
        key = key.lower() if base == "metadata.annotations" else key
        for message in names.check_qualified_name(key):
            yield v.invalid(path, key, message)
    elif field not in supported:
        yield v.not_supported(f"{path}.fieldPath", field, supported)


def check_resource_ref(path: str, ref: Any, *, is_volume: bool = False) -> v.Errors:
    """Check a reference to a container's requests or limits; in a volume it must say which container's."""
    if is_volume and not ref.container_name:
        yield v.required(f"{path}.containerName")
    elif not ref.resource:
        yield v.required(f"{path}.resource")
    elif ref.resource not in _RESOURCES and not ref.resource.startswith(_HUGE_PAGES):
        yield v.not_supported(f"{path}.resource", ref.resource, _RESOURCES)
    divisor = str(ref.divisor or "0")
    if not quantity.compare(divisor, "0"):
        return
    _, _, what = ref.resource.partition(".")
    if ref.resource not in _RESOURCES and not ref.resource.startswith(_HUGE_PAGES):
        return
    if what == "cpu":
        if divisor not in _CPU_DIVISORS:
            why = "only divisor's values 1m and 1 are supported with the cpu resource"
            yield v.invalid(f"{path}.divisor", ref.resource, why)
    elif divisor not in _BYTE_DIVISORS:
        of = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(what, "hugepages")
        why = f"only divisor's values {', '.join(_BYTE_DIVISORS)} are supported with the {of} resource"
        yield v.invalid(f"{path}.divisor", ref.resource, why)


def _check_projections(path: str, projected: ProjectedVolumeSource) -> v.Errors:
    """Check what is put together in one directory: each file once."""
    taken: set[str] = set()
    for i, projection in enumerate(projected.sources):
        where = f"{path}.sources[{i}]"
        files: list[tuple[str, str]] = []
        """Of this source: what upstream says of a file that is there already, and its path."""
        for field, source in (("secret", projection.secret), ("configMap", projection.config_map)):
            if source is not None:
                if not source.name:
                    yield v.required(f"{where}.{field}.name")
                yield from _check_items(f"{where}.{field}.items", source.items)
                files += [(source.name, item.path) for item in source.items]
        if projection.downward_api is not None:
            yield from _check_downward(f"{where}.downwardAPI", projection.downward_api.items)
            files += [(item.path, item.path) for item in projection.downward_api.items]
        yield from _check_token(path, where, projection)
        for told, file in files:
            if file and file in taken:
                yield v.invalid(path, told, "conflicting duplicate paths")
            taken.add(file)
        if sum(getattr(projection, name) is not None for name in projection.__struct_fields__) > 1:
            yield v.forbidden(where, "may not specify more than 1 volume type per source")


def _check_token(path: str, where: str, projection: VolumeProjection) -> v.Errors:
    token = projection.service_account_token
    if token is None:
        return
    lasts_s = token.expiration_seconds
    if lasts_s is not None and lasts_s < 600:
        why = "may not specify a duration less than 10 minutes"
        yield v.invalid(f"{where}.serviceAccountToken.expirationSeconds", lasts_s, why)
    elif lasts_s is not None and lasts_s > _TOKEN_S_MAX:
        why = "may not specify a duration larger than 2^32 seconds"
        yield v.invalid(f"{where}.serviceAccountToken.expirationSeconds", lasts_s, why)
    if not token.path:
        yield v.required(f"{path}.path")
    else:
        yield from check_local_path(f"{path}.path", token.path)
