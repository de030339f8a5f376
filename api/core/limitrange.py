"""LimitRange: how much of a resource one pod, container or claim of a namespace may ask for, and does if silent."""

from __future__ import annotations

import uuid
from typing import Annotated, Final

from api import names, quantity
from api import validation as v
from api.columns import CREATED_AT
from api.core.resource_names import check_container_resource_name, check_resource_name, may_overcommit
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


def prepare_for_create(limits: LimitRange) -> None:
    """Give limits without a name one of their own; this is the one kind that may come without."""
    if not limits.metadata.name and not limits.metadata.generate_name:
        limits.metadata.name = str(uuid.uuid4())


def validate(new: LimitRange, old: LimitRange | None) -> v.Errors:
    """Check that each type is there once, and that its amounts can all be true at once."""
    seen: set[str] = set()
    for i, item in enumerate(new.spec.limits):
        where = f"spec.limits[{i}]"
        if item.type not in ("Container", "PersistentVolumeClaim", "Pod"):
            wrong = names.check_qualified_name(item.type)
            for message in wrong:
                yield v.invalid(f"{where}.type", item.type, message)
            if not wrong and "/" not in item.type:
                yield v.invalid(f"{where}.type", item.type, "must be a standard limit type or fully qualified")
        if item.type in seen:
            yield v.duplicate(f"{where}.type", item.type)
        seen.add(item.type)
        yield from _check_item(where, item)


def _check_item(path: str, item: LimitRangeItem) -> v.Errors:
    check = check_container_resource_name if item.type in ("Container", "Pod") else check_resource_name
    has_defaults = item.type != "Pod"
    default, default_request = (item.default, item.default_request) if has_defaults else ({}, {})
    for label, amounts in (("max", item.max), ("min", item.min)):
        for name in amounts:
            yield from check(f"{path}.{label}[{name}]", name)
    for label, amounts in (("default", item.default), ("defaultRequest", item.default_request)):
        if not has_defaults and amounts:
            yield v.forbidden(f"{path}.{label}", "may not be specified when `type` is 'Pod'")
        for name in amounts if has_defaults else ():
            yield from check(f"{path}.{label}[{name}]", name)
    if item.type == "PersistentVolumeClaim" and not {"storage"} & (item.min.keys() | item.max.keys()):
        yield v.required(
            f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"
        )
    for name in item.max_limit_request_ratio:
        yield from check(f"{path}.maxLimitRequestRatio[{name}]", name)
    ordered = (  # What may not be more than what, where that is told, and by which words.
        (item.min, item.max, "min", "min", "max"),
        (item.min, default_request, "defaultRequest", "min", "default request"),
        (default_request, item.max, "defaultRequest", "default request", "max"),
        (default_request, default, "defaultRequest", "default request", "default limit"),
        (item.min, default, "default", "min", "default"),
        (default, item.max, "default", "default", "max"),
    )
    for name in sorted({*item.max, *item.min, *default, *default_request, *item.max_limit_request_ratio}):
        for smaller, larger, label, small_word, large_word in ordered:
            small, large = smaller.get(name), larger.get(name)
            if small is not None and large is not None and quantity.compare(small, large) > 0:
                told = {"defaultRequest": default_request, "min": item.min}.get(label)
                value = told[name] if told else large if small_word == "default" else small
                why = f"{small_word} value {small} is greater than {large_word} value {large}"
                yield v.invalid(f"{path}.{label}[{name}]", value, why)
        yield from _check_ratio(path, item, name)
        limit, request = default.get(name), default_request.get(name)
        if limit is not None and request is not None and not may_overcommit(name) and quantity.compare(limit, request):
            why = f"default value {limit} must equal to defaultRequest value {request} in {name}"
            yield v.invalid(f"{path}.defaultRequest[{name}]", request, why)


def _check_ratio(path: str, item: LimitRangeItem, name: str) -> v.Errors:
    ratio, where = item.max_limit_request_ratio.get(name), f"{path}.maxLimitRequestRatio[{name}]"
    if ratio is None:
        return
    if quantity.compare(ratio, "1") < 0:
        yield v.invalid(where, ratio, f"ratio {ratio} is less than 1")
    if name in item.min and name in item.max:
        least, most = quantity.parse(item.min[name]).nanos, quantity.parse(item.max[name]).nanos
        if least > 0 and quantity.parse(ratio).nanos / quantity.NANOS > most / least:
            yield v.invalid(where, ratio, f"ratio {ratio} is greater than max/min = {most / least:f}")


RESOURCE: Final[Resource[LimitRange]] = Resource(
    type=LimitRange,
    group="",
    version="v1",
    kind="LimitRange",
    plural="limitranges",
    namespaced=True,
    short_names=("limits",),
    default=default,
    prepare_for_create=prepare_for_create,
    validate=validate,
    columns=(CREATED_AT,),
)
