"""StorageClass: a kind of storage, and who makes volumes of it."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.core.pod_warnings import Warnings, old_label
from api.core.references import TopologySelectorTerm
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire

DEFAULT_ANNOTATIONS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


class StorageClass(Struct):
    """A kind of storage that claims can ask for, and who makes volumes of it.

    Attributes:
        provisioner: Who makes the volumes, mostly the name of a CSI driver; kubernetes.io/no-provisioner is nobody.
            Never changes.
        parameters: What the provisioner is told about volumes of the class. Never changes.
        reclaim_policy: What happens to its volumes once their claims are gone: Delete (the default) or Retain. Never
            changes.
        mount_options: Options that its volumes are mounted with; not checked beforehand.
        allow_volume_expansion: Whether claims may ask for more later; unset, they may not.
        volume_binding_mode: When claims get a volume: Immediate (the default), or WaitForFirstConsumer, once it is
            known where a pod needs it. Never changes.
        allowed_topologies: Where volumes may be made; by default anywhere.
    """

    api_version: str = always("storage.k8s.io/v1")
    kind: str = always("StorageClass")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    provisioner: Annotated[str, wire(2, required=True)] = always("")
    parameters: Annotated[dict[str, str], wire(3)] = {}
    reclaim_policy: Annotated[str | None, wire(4)] = None
    mount_options: Annotated[list[str], wire(5, list_type="atomic")] = []
    allow_volume_expansion: Annotated[bool | None, wire(6)] = None
    volume_binding_mode: Annotated[str | None, wire(7)] = None
    allowed_topologies: Annotated[list[TopologySelectorTerm], wire(8, list_type="atomic")] = []


def default(storage_class: StorageClass) -> None:
    """Volumes go with their claims, and are bound at once."""
    if storage_class.reclaim_policy is None:
        storage_class.reclaim_policy = "Delete"
    if storage_class.volume_binding_mode is None:
        storage_class.volume_binding_mode = "Immediate"


def validate(new: StorageClass, old: StorageClass | None) -> v.Errors:
    """Check who provides it, and how; what volumes were made with never changes."""
    yield from v.check_name("provisioner", new.provisioner.lower(), names.check_qualified_name)
    size = 0
    for key, value in new.parameters.items():
        if not key:
            yield v.invalid("parameters", key, "field can not be empty.")
        size += len(key.encode()) + len(value.encode())
    if len(new.parameters) > 512:
        yield v.too_long("parameters", 512)
    elif size > 256 * 1024:
        yield v.too_long("parameters", 256 * 1024)
    if new.reclaim_policy:
        yield from v.check_supported("reclaimPolicy", new.reclaim_policy, ("Delete", "Retain"))
    yield from v.check_given("volumeBindingMode", new.volume_binding_mode, ("Immediate", "WaitForFirstConsumer"))
    # One that says nothing is refused as many times as there are any: so upstream does it.
    seen: list[dict[str, set[str]]] = [{} for _ in new.allowed_topologies]
    for i, term in enumerate(new.allowed_topologies):
        where = f"allowedTopologies[{i}].matchLabelExpressions"
        yield from _check_term(where, term)
        meant = {label.key: set(label.values) for label in term.match_label_expressions}
        for _ in range(seen.count(meant)):
            yield v.duplicate(where, "")
        seen.append(meant)
    if old is None:
        return
    if new.parameters != old.parameters:
        yield v.forbidden("parameters", "updates to parameters are forbidden.")
    if new.provisioner != old.provisioner:
        yield v.forbidden("provisioner", "updates to provisioner are forbidden.")
    if new.reclaim_policy != old.reclaim_policy:
        yield v.forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.")
    yield from v.check_immutable("volumeBindingMode", new.volume_binding_mode, old.volume_binding_mode)


def _check_term(path: str, term: TopologySelectorTerm) -> v.Errors:
    keys: set[str] = set()
    for i, label in enumerate(term.match_label_expressions):
        where = f"{path}[{i}]"
        for message in names.check_qualified_name(label.key):
            yield v.invalid(f"{where}.key", label.key, message)
        if not label.values:
            yield v.required(f"{where}.values")
        for j, value in enumerate(label.values):
            if value in label.values[:j]:
                yield v.duplicate(f"{where}.values[{j}]", value)
        if label.key in keys:
            yield v.duplicate(f"{where}.key", label.key)
        keys.add(label.key)


def is_default(storage_class: StorageClass) -> bool:
    """Whether claims that name no class get this one."""
    return any(storage_class.metadata.annotations.get(key) == "true" for key in DEFAULT_ANNOTATIONS)


def _name(storage_class: StorageClass, now: float) -> str:
    return f"{storage_class.metadata.name} (default)" if is_default(storage_class) else storage_class.metadata.name


def warn(new: StorageClass, old: StorageClass | None) -> Warnings:
    """Warn of old labels of nodes."""
    for i, term in enumerate(new.allowed_topologies):
        for j, each in enumerate(term.match_label_expressions):
            if old_label(each.key):
                yield f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {old_label(each.key)}"


RESOURCE: Final[Resource[StorageClass]] = Resource(
    type=StorageClass,
    group="storage.k8s.io",
    version="v1",
    kind="StorageClass",
    plural="storageclasses",
    namespaced=False,
    short_names=("sc",),
    default=default,
    validate=validate,
    warn=warn,
    columns=(
        Column("Name", "string", _name, "Its name, and whether it is the default.", format="name"),
        Column("Provisioner", "string", lambda sc, now: sc.provisioner, "Who makes volumes."),
        Column("ReclaimPolicy", "string", lambda sc, now: sc.reclaim_policy or "Delete", "What becomes of volumes."),
        Column(
            "VolumeBindingMode",
            "string",
            lambda sc, now: sc.volume_binding_mode or "Immediate",
            "When volumes are bound.",
        ),
        Column(
            "AllowVolumeExpansion",
            "string",
            lambda sc, now: bool(sc.allow_volume_expansion),
            "Whether volumes may grow.",
        ),
        AGE,
    ),
)
