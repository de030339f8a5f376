"""LimitRange: how much of a resource one pod, container or claim of a namespace may ask for, and does if silent."""

from __future__ import annotations

from typing import Annotated, Final

from api import names, quantity
from api import validation as v
from api.columns import CREATED_AT
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Quantity, Struct, always, field, shown_empty, wire


class LimitRangeItem(Struct):
    """The limits of one type of object.

    Attributes:
        type: To what the limits apply: Container, Pod, or PersistentVolumeClaim.
        max: The most that one may ask for, by resource.
        min: The least that one must ask for, by resource.
        default: The limit that a container gets which names none, by resource.
        default_request: The request that a container gets which names none, by resource.
        max_limit_request_ratio: How many times the request a limit may be, by resource.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    max: Annotated[dict[str, Quantity], wire(2)] = {}
    min: Annotated[dict[str, Quantity], wire(3)] = {}
    default: Annotated[dict[str, Quantity], wire(4)] = {}
    default_request: Annotated[dict[str, Quantity], wire(5)] = {}
    max_limit_request_ratio: Annotated[dict[str, Quantity], wire(6)] = {}


class LimitRangeSpec(Struct):
    """Lower and upper bounds for what objects ask for, by type of object.

    Attributes:
        limits: One entry for each type of object.
    """

    limits: Annotated[list[LimitRangeItem], wire(1, required=True, list_type="atomic")] = shown_empty()


class LimitRange(Struct):
    """How much of a resource one object of a namespace may ask for, and what it asks for if it says nothing."""

    api_version: str = always("v1")
    kind: str = always("LimitRange")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[LimitRangeSpec, wire(2)] = field(default_factory=LimitRangeSpec)


def default(limits: LimitRange) -> None:
    """What a container gets follows from what it may have at most and at least."""
    for item in limits.spec.limits:
        if item.type != "Container":
            continue
        for name, amount in item.max.items():
            item.default.setdefault(name, amount)
        for name, amount in item.default.items():
            item.default_request.setdefault(name, amount)
        for name, amount in item.min.items():
            item.default_request.setdefault(name, amount)


def validate(new: LimitRange, old: LimitRange | None) -> v.Errors:
    """Check that each type is there once, and that its amounts can all be true at once."""
    seen: set[str] = set()
    for i, item in enumerate(new.spec.limits):
        where = f"spec.limits[{i}]"
        if item.type not in ("Container", "PersistentVolumeClaim", "Pod"):
            for message in names.check_qualified_name(item.type):
                yield v.invalid(f"{where}.type", item.type, message)
            if "/" not in item.type:
                yield v.invalid(f"{where}.type", item.type, "must be a standard limit type or fully qualified")
        if item.type in seen:
            yield v.duplicate(f"{where}.type", item.type)
        seen.add(item.type)
        yield from _check_item(where, item)


def _check_item(path: str, item: LimitRangeItem) -> v.Errors:
    if item.type == "Pod":
        if item.default:
            yield v.forbidden(f"{path}.default", "may not be specified when `type` is 'Pod'")
        if item.default_request:
            yield v.forbidden(f"{path}.defaultRequest", "may not be specified when `type` is 'Pod'")
    if item.type == "PersistentVolumeClaim" and not {"storage"} & (item.min.keys() | item.max.keys()):
        yield v.required(
            f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"
        )
    ordered = (
        ("min", item.min),
        ("defaultRequest", item.default_request),
        ("default", item.default),
        ("max", item.max),
    )
    for low, (low_field, low_amounts) in enumerate(ordered):
        for high_field, high_amounts in ordered[low + 1 :]:
            for name in sorted(low_amounts.keys() & high_amounts.keys()):
                small, large = low_amounts[name], high_amounts[name]
                if quantity.compare(small, large) > 0:
                    yield v.invalid(
                        f"{path}.{low_field}[{name}]",
                        small,
                        f"{low_field} value {small} is greater than {high_field} value {large}",
                    )
    for name, ratio in item.max_limit_request_ratio.items():
        if quantity.compare(ratio, "1") < 0:
            yield v.invalid(f"{path}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1")


RESOURCE: Final[Resource[LimitRange]] = Resource(
    type=LimitRange,
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    namespaced=True,
    short_names=("limits",),
    default=default,
    validate=validate,
    columns=(CREATED_AT,),
)
