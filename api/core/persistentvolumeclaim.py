"""PersistentVolumeClaim: a wish for storage, and what it is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from api import names, quantity
from api import validation as v
from api.columns import AGE
from api.core import gated
from api.core.pod_warnings import Warnings, warn_of_claim_spec
from api.core.references import TypedLocalObjectReference, TypedObjectReference
from api.core.resource_names import check_amount
from api.core.volumes import PersistentVolumeClaimSpec
from api.meta import ObjectMeta, ProbedCondition
from api.resource import Column, Resource
from api.schema import Quantity, Struct, always, field, wire

_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


class ModifyVolumeStatus(Struct):
    """How far a change of the VolumeAttributesClass is.

    Attributes:
        target_volume_attributes_class_name: The class that the volume shall get.
        status: Pending (it cannot begin, as the class is missing), InProgress, or Infeasible (the driver refused the
            class).
    """

    target_volume_attributes_class_name: Annotated[str, wire(1)] = ""
    status: Annotated[str, wire(2, required=True)] = always("")


class PersistentVolumeClaimCondition(ProbedCondition):
    """One question about a claim (`type`), its answer, and since when."""


class PersistentVolumeClaimStatus(Struct):
    """What a claim got.

    Attributes:
        phase: Pending (nothing yet), Bound, or Lost (its volume is gone).
        access_modes: In which ways its volume can be mounted.
        capacity: How large its volume is: `storage` in bytes.
        conditions: Answers to questions about the claim, such as Resizing and FileSystemResizePending.
        allocated_resources: How large the volume shall get while it grows; counted by quotas when larger than what was
            asked for.
        allocated_resource_statuses: How far growing is, by resource: ControllerResizeInProgress,
            ControllerResizeInfeasible, NodeResizePending, NodeResizeInProgress or NodeResizeInfeasible.
        current_volume_attributes_class_name: The VolumeAttributesClass that the volume has now.
        modify_volume_status: How a change of the class is going; unset if none is.
    """

    phase: Annotated[str, wire(1)] = ""
    access_modes: Annotated[list[str], wire(2, list_type="atomic")] = []
    capacity: Annotated[dict[str, Quantity], wire(3)] = {}
    conditions: Annotated[
        list[PersistentVolumeClaimCondition], wire(4, merge_key="type", list_type="map", list_keys=("type",))
    ] = []
    allocated_resources: Annotated[dict[str, Quantity], wire(5)] = {}
    allocated_resource_statuses: Annotated[dict[str, str], wire(7, granular=True)] = {}
    current_volume_attributes_class_name: Annotated[str | None, wire(8)] = None
    modify_volume_status: Annotated[ModifyVolumeStatus | None, wire(9)] = None


class PersistentVolumeClaim(Struct):
    """A user's claim to storage: what is needed, and the volume that it is bound to."""

    api_version: str = always("v1")
    kind: str = always("PersistentVolumeClaim")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PersistentVolumeClaimSpec, wire(2)] = field(default_factory=PersistentVolumeClaimSpec)
    status: Annotated[PersistentVolumeClaimStatus, wire(3)] = field(default_factory=PersistentVolumeClaimStatus)


def default(claim: PersistentVolumeClaim) -> None:
    """A claim begins Pending, and is for a file system."""
    default_spec(claim.spec)
    claim.status.phase = claim.status.phase or "Pending"


def default_spec(spec: PersistentVolumeClaimSpec) -> None:
    """Default what is asked for; the older and the newer way to name a source are kept equal."""
    if spec.volume_mode is None:
        spec.volume_mode = "Filesystem"
    source, newer = spec.data_source, spec.data_source_ref
    if source is not None and newer is None:
        spec.data_source_ref = TypedObjectReference(api_group=source.api_group, kind=source.kind, name=source.name)
    elif source is None and newer is not None and not newer.namespace and _source_kind(newer) in _OLD_SOURCES:
        spec.data_source = TypedLocalObjectReference(api_group=newer.api_group, kind=newer.kind, name=newer.name)


def _source_kind(reference: TypedObjectReference) -> tuple[str, str]:
    return reference.api_group or "", reference.kind


_OLD_SOURCES: Final = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def validate(new: PersistentVolumeClaim, old: PersistentVolumeClaim | None) -> v.Errors:
    """Check what is asked for; once given, only its size may grow."""
    yield from check_spec("spec", new.spec)
    if old is not None:
        yield from _check_update(new, old)


def check_spec(path: str, spec: PersistentVolumeClaimSpec) -> v.Errors:
    """Check what a claim, or a template of one, asks for."""
    yield from check_access_modes(f"{path}.accessModes", spec.access_modes)
    yield from v.check_label_selector(f"{path}.selector", spec.selector)
    size = spec.resources.requests.get("storage")
    if size is None:
        yield v.required(f"{path}.resources[storage]")
    elif quantity.compare(size, "0") <= 0:
        yield v.invalid(f"{path}.resources[storage]", size, "must be greater than zero")
    if spec.storage_class_name:
        yield from v.check_name(f"{path}.storageClassName", spec.storage_class_name, names.check_subdomain)
    if spec.volume_mode is not None:
        yield from v.check_given(f"{path}.volumeMode", spec.volume_mode, VOLUME_MODES)
    for label, source in (("dataSource", spec.data_source), ("dataSourceRef", spec.data_source_ref)):
        if source is None:
            continue
        if not source.name:
            yield v.required(f"{path}.{label}.name")
        if not source.kind:
            yield v.required(f"{path}.{label}.kind")
        if not source.api_group and source.kind != "PersistentVolumeClaim":
            yield v.invalid(
                f"{path}.{label}", source.kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            )
        for message in names.check_subdomain(source.api_group) if source.api_group else ():
            yield v.invalid(f"{path}.{label}.apiGroup", source.api_group, message)
    old, ref = spec.data_source, spec.data_source_ref
    if old is None or ref is None or ref.namespace:
        return
    if (old.api_group, old.kind, old.name) != (ref.api_group, ref.kind, ref.name):
        yield v.invalid(path, f"{path}.dataSource", "must match dataSourceRef")


VOLUME_MODES: Final = ("Block", "Filesystem")


def check_access_modes(path: str, modes: Sequence[str], *, why: str = "at least 1 access mode is required") -> v.Errors:
    """Check how a volume may be mounted; once and by one pod only goes with nothing else."""
    if not modes:
        yield v.required(path, why)
    for mode in modes:
        if mode not in _MODES:
            yield v.not_supported(path, mode, _MODES)
    if "ReadWriteOncePod" in modes and _MODES.keys() & set(modes) > {"ReadWriteOncePod"}:
        yield v.forbidden(path, "may not use ReadWriteOncePod with other access modes")


_IMMUTABLE: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


_BETA_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
"""How a class was named before there was a field for it."""


def _check_update(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> v.Errors:
    is_bound = old.status.phase == "Bound"
    allowed = msgspec.structs.replace(old.spec)
    allowed.volume_name = old.spec.volume_name or new.spec.volume_name
    told, tells = old.metadata.annotations.get(_BETA_CLASS), new.metadata.annotations.get(_BETA_CLASS)
    named = new.spec.storage_class_name
    if old.spec.storage_class_name is None and named is not None and told in (None, named):
        allowed.storage_class_name = named  # The annotation, if there is one, has moved to the field.
    moved = told is not None and named == told and tells is None and old.spec.storage_class_name is None
    if (tells or "") != (told or "") and not moved:
        yield v.invalid(f"metadata.annotations.{_BETA_CLASS}", tells or "", "field is immutable")
    if is_bound:
        allowed.resources = msgspec.structs.replace(old.spec.resources, requests=new.spec.resources.requests)
        allowed.volume_attributes_class_name = new.spec.volume_attributes_class_name
    if allowed != new.spec:
        yield v.forbidden("spec", _IMMUTABLE)
    size, had, floor = (
        amounts.get("storage", "0")
        for amounts in (new.spec.resources.requests, old.spec.resources.requests, old.status.capacity)
    )
    if quantity.compare(size, had) < 0 and quantity.compare(size, floor) <= 0:
        yield v.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    yield from v.check_immutable("volumeMode", new.spec.volume_mode, old.spec.volume_mode)


_RESIZE_STATES: Final = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizePending", "NodeResizeInProgress",
    "NodeResizeInfeasible",
)  # fmt: skip


def validate_status(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> v.Errors:
    """Check amounts, and how far growing is said to be."""
    status = new.status
    for name, amount in status.capacity.items():
        yield from _check_amount(f"status.capacity[{name}]", amount)
    where = "status.allocatedResourceStatus"
    for name, state in status.allocated_resource_statuses.items():
        yield from _check_resource(where, name)
        if state not in _RESIZE_STATES:
            yield v.not_supported(where, name, _RESIZE_STATES)
    where = "status.allocatedResources"
    for name, amount in status.allocated_resources.items():
        wrong = list(_check_resource(where, name)) or list(_check_amount(f"{where}[{name}]", amount))
        yield from wrong or check_amount(f"{where}[{name}]", "storage", amount)


def _check_amount(path: str, amount: str) -> v.Errors:
    if quantity.compare(amount, "0") < 0:
        yield v.invalid(path, quantity.units(amount), "must be a valid resource quantity")


def _check_resource(path: str, name: str) -> v.Errors:
    """Check what grows: a volume's storage, or something that is not Kubernetes' own."""
    wrong = names.check_qualified_name(name)
    for message in wrong:
        yield v.invalid(path, name, message)
    is_native = "/" not in name or "kubernetes.io/" in name
    if not wrong and is_native and name != "storage":
        yield v.not_supported(path, name, ("storage",))


def prepare_for_create(claim: PersistentVolumeClaim) -> None:
    """Begin unbound."""
    claim.status = PersistentVolumeClaimStatus(phase="Pending")


def short_modes(modes: Sequence[str]) -> str:
    """Return access modes by their short names, `RWO,ROX`, each once."""
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def _status(claim: PersistentVolumeClaim, now: float) -> str:
    return "Terminating" if claim.metadata.deletion_timestamp else claim.status.phase


def _capacity(claim: PersistentVolumeClaim, now: float) -> str:
    return claim.status.capacity.get("storage", "0") if claim.spec.volume_name else ""


def _actual_modes(claim: PersistentVolumeClaim, now: float) -> str:
    return short_modes(claim.status.access_modes) if claim.spec.volume_name else ""


def _class(claim: PersistentVolumeClaim, now: float) -> str:
    beta = claim.metadata.annotations.get(_BETA_CLASS)
    return beta if beta is not None else claim.spec.storage_class_name or ""


UNSET: Final = "<unset>"


def warn(new: PersistentVolumeClaim, old: PersistentVolumeClaim | None) -> Warnings:
    """Warn of an annotation that is a field now, and of parts of bytes."""
    key = "volume.beta.kubernetes.io/storage-class"
    if key in new.metadata.annotations:
        yield f'metadata.annotations[{key}]: deprecated since v1.8; use "storageClassName" attribute instead'
    yield from warn_of_claim_spec("spec", new.spec)


RESOURCE: Final[Resource[PersistentVolumeClaim]] = Resource(
    type=PersistentVolumeClaim,
    group="",
    version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    namespaced=True,
    short_names=("pvc",),
    subresources=("status",),
    default=default,
    drop_gated=lambda new, old: gated.drop_of_claim(new.spec, old.spec if old is not None else None),
    validate=validate,
    warn=warn,
    prepare_for_create=prepare_for_create,
    validate_status=validate_status,
    columns=(
        Column("Status", "string", _status, "Pending, Bound, Lost or Terminating."),
        Column("Volume", "string", lambda claim, now: claim.spec.volume_name, "The volume it is bound to."),
        Column("Capacity", "string", _capacity, "How large the volume really is."),
        Column("Access Modes", "string", _actual_modes, "How the volume can be mounted."),
        Column("StorageClass", "string", _class, "The class of storage asked for."),
        Column(
            "VolumeAttributesClass",
            "string",
            lambda claim, now: claim.spec.volume_attributes_class_name or UNSET,
            "The class of attributes asked for.",
        ),
        AGE,
        Column(
            "VolumeMode",
            "string",
            lambda claim, now: claim.spec.volume_mode or UNSET,
            "A file system, or a block device.",
            priority=1,
        ),
    ),
)
