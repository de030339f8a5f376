"""PriorityClass: a name for how important pods are."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, wire

_USER_VALUE_MAX: Final = 1_000_000_000
SYSTEM: Final = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
"""The two that every cluster has; only these may begin with `system-` and be worth more than users' may."""


class PriorityClass(Struct):
    """A name for how important pods are.

    Attributes:
        value: The number that pods of the class get as priority: higher goes first. At most 1000000000 but for the
            system's own. Never changes.
        global_default: Whether pods that name no class get this one; only one class can be it. False by default.
        description: What the class is for.
        preemption_policy: Whether its pods may drive out those of less priority: PreemptLowerPriority (the default) or
            Never. Never changes.
    """

    api_version: str = always("scheduling.k8s.io/v1")
    kind: str = always("PriorityClass")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    value: Annotated[Int32, wire(2, required=True)] = always(0)
    global_default: Annotated[bool, wire(3)] = False
    description: Annotated[str, wire(4)] = ""
    preemption_policy: Annotated[str | None, wire(5)] = None


def default(priority_class: PriorityClass) -> None:
    """Pods of a class make room for themselves."""
    if priority_class.preemption_policy is None:
        priority_class.preemption_policy = "PreemptLowerPriority"


def validate(new: PriorityClass, old: PriorityClass | None) -> v.Errors:
    """Check name and value, which never changes, nor is what was allowed once looked at again."""
    if old is not None:
        if new.value != old.value:
            yield v.forbidden("value", "may not be changed in an update.")
        yield from v.check_immutable("preemptionPolicy", new.preemption_policy, old.preemption_policy)
        return
    name = new.metadata.name
    if name.startswith("system-"):
        if SYSTEM.get(name) != new.value or new.global_default:
            yield v.forbidden(
                "metadata.name",
                "priority class names with 'system-' prefix are reserved for system use only. error: "
                + _why_not_system(new),
            )
    elif new.value > _USER_VALUE_MAX:
        yield v.forbidden("value", f"maximum allowed value of a user defined priority is {_USER_VALUE_MAX}")
    if new.preemption_policy is not None:
        yield from v.check_given(
            "preemptionPolicy", new.preemption_policy, ("PreemptLowerPriority", "Never"), in_order=True
        )


def _why_not_system(priority_class: PriorityClass) -> str:
    name = priority_class.metadata.name
    if name not in SYSTEM:
        return f"{name} is not a known system priority class"
    if priority_class.value != SYSTEM[name]:
        return f"value of {name} PriorityClass must be {SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false"


RESOURCE: Final[Resource[PriorityClass]] = Resource(
    type=PriorityClass,
    group="scheduling.k8s.io",
    version="v1",
    kind="PriorityClass",
    plural="priorityclasses",
    namespaced=False,
    short_names=("pc",),
    default=default,
    validate=validate,
    generation=True,
    columns=(
        Column("Value", "integer", lambda one, now: one.value, "More is more important."),
        Column("Global-Default", "boolean", lambda one, now: one.global_default, "Whether pods get it that name none."),
        AGE,
        Column(
            "PreemptionPolicy", "string", lambda one, now: one.preemption_policy or "", "Whether it drives others out."
        ),
    ),
)
