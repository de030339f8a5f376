"""Namespace: the room that names of other objects are unique in."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.meta import KindCondition, ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, Time, always, field, wire


class NamespaceCondition(KindCondition):
    """One question about a namespace (`type`), its answer, and since when."""

    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class NamespaceStatus(Struct):
    """Whether a namespace is Active or Terminating, and what it waits for.

    Attributes:
        phase: Active, or Terminating once it is being deleted: nothing new can be made there then.
        conditions: What its deletion waits for, such as NamespaceContentRemaining.
    """

    phase: Annotated[str, wire(1)] = ""
    conditions: Annotated[
        list[NamespaceCondition], wire(2, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class NamespaceSpec(Struct):
    """What holds a namespace's deletion back.

    Attributes:
        finalizers: Who must still clear up before the namespace can go; `kubernetes` by default, which deletes all that
            is in it.
    """

    finalizers: Annotated[list[str], wire(1, list_type="atomic")] = []


class Namespace(Struct):
    """A space in which names are unique, and to which rights and quotas apply."""

    api_version: str = always("v1")
    kind: str = always("Namespace")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[NamespaceSpec, wire(2)] = field(default_factory=NamespaceSpec)
    status: Annotated[NamespaceStatus, wire(3)] = field(default_factory=NamespaceStatus)


def default(namespace: Namespace) -> None:
    """Label a namespace with its own name, so that selectors can find it by that."""
    if namespace.metadata.name:
        namespace.metadata.labels["kubernetes.io/metadata.name"] = namespace.metadata.name


def prepare_for_create(namespace: Namespace) -> None:
    """Open the namespace, and hold its deletion back until it is empty; a name that was made up is its label by now."""
    default(namespace)
    namespace.status = NamespaceStatus(phase="Active")
    if "kubernetes" not in namespace.spec.finalizers:
        namespace.spec.finalizers.append("kubernetes")


def prepare_for_update(new: Namespace, old: Namespace) -> None:
    """Keep the finalizers, which only `finalize` changes, and the status."""
    new.spec = old.spec
    new.status = old.status


def validate(new: Namespace, old: Namespace | None) -> v.Errors:
    """Check who must clear up."""
    for finalizer in new.spec.finalizers:
        for message in names.check_qualified_name(finalizer):
            yield v.invalid("spec.finalizers", finalizer, message)
        yield from v.check_known_finalizer("spec.finalizers", finalizer)


def validate_status(new: Namespace, old: Namespace) -> v.Errors:
    """Check that the phase says what the metadata does."""
    wanted = "Terminating" if old.metadata.deletion_timestamp else "Active"
    if new.status.phase != wanted:
        why = "may only be 'Active' if `deletionTimestamp` is empty"
        if wanted == "Terminating":
            why = "may only be 'Terminating' if `deletionTimestamp` is not empty"
        yield v.invalid("status.Phase", new.status.phase, why)


RESOURCE: Final[Resource[Namespace]] = Resource(
    type=Namespace,
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    check_name=names.check_label,
    subresources=("finalize", "status"),
    default=default,
    prepare_for_create=prepare_for_create,
    validate=validate,
    prepare_for_update=prepare_for_update,
    validate_status=validate_status,
    columns=(
        Column("Status", "string", lambda namespace, now: namespace.status.phase, "Active, or Terminating."),
        AGE,
    ),
    selectable_fields={"status.phase": lambda namespace: namespace.status.phase},
)
