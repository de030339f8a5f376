"""LimitRanger: what one pod, container or claim of a namespace may ask for, and asks for when it says nothing.

A container that is silent about a resource gets the namespace's default limit and request, told in an annotation;
then everything is held against least, most, and the ratio of limit to request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from api import quantity
from api.core import persistentvolumeclaim, pod
from api.core.limitrange import LimitRange, LimitRangeItem
from api.core.pod_resources import pod_limits, pod_requests
from api.errors import as_one
from api.lister import Lister
from api.quantity import Amount
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest

ANNOTATION: Final = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, Amount]


class LimitRanger:
    """Applies every LimitRange of the namespace."""

    def __init__(self, ranges: Lister[LimitRange]) -> None:
        self._ranges = ranges

    async def admit(self, request: AdmissionRequest) -> None:
        """Fill in what containers of a new pod don't say."""
        if request.resource is pod.RESOURCE and _is_limited(request):
            for limits in self._ranges_of(request):
                _fill_in(request.object, limits)

    async def validate(self, request: AdmissionRequest) -> None:
        """Hold pods and claims against the limits.

        Raises:
            Forbidden: naming every limit of one LimitRange that is broken.
        """
        if not _is_limited(request):
            return
        broken = _broken_by_pod if request.resource is pod.RESOURCE else _broken_by_claim
        for limits in self._ranges_of(request):
            found = list(dict.fromkeys(why for item in limits.spec.limits for why in broken(request.object, item)))
            if found:
                raise refusal(request, as_one(found))

    def _ranges_of(self, request: AdmissionRequest) -> list[LimitRange]:
        return list(self._ranges.list(request.namespace))


def _is_limited(request: AdmissionRequest) -> bool:
    if request.subresource or request.operation not in ("CREATE", "UPDATE"):
        return False
    if request.resource is persistentvolumeclaim.RESOURCE:
        old: Any = request.old
        return old is None or not old.metadata.deletion_timestamp
    # What containers ask for cannot change later.
    return request.resource is pod.RESOURCE and request.operation == "CREATE"


def _fill_in(new: Any, limits: LimitRange) -> None:
    defaults = {kind: {} for kind in ("limits", "requests")}  # type: dict[str, dict[str, str]]
    for item in limits.spec.limits:
        if item.type == "Container":
            defaults["limits"] |= item.default
            defaults["requests"] |= item.default_request
    told: list[str] = []
    for label, containers in (("container", new.spec.containers), ("init container", new.spec.init_containers)):
        for container in containers:
            resources = container.resources
            for what, present in (("request", resources.requests), ("limit", resources.limits)):
                missing = {name: amount for name, amount in defaults[what + "s"].items() if name not in present}
                if not missing:
                    continue
                setattr(resources, what + "s", {**present, **missing})
                told.append(f"{', '.join(sorted(missing))} {what} for {label} {container.name}")
    if told:
        text = "LimitRanger plugin set: " + "; ".join(told)
        new.metadata.annotations = {**new.metadata.annotations, ANNOTATION: text}


def _broken_by_pod(new: Any, item: LimitRangeItem) -> Iterator[str]:
    if item.type == "Container":
        for container in (*new.spec.containers, *new.spec.init_containers):
            resources = container.resources
            yield from _broken(item, _parsed(resources.requests), _parsed(resources.limits))
    elif item.type == "Pod":
        yield from _broken(item, pod_requests(new.spec), pod_limits(new.spec))


def _broken_by_claim(new: Any, item: LimitRangeItem) -> Iterator[str]:
    if item.type == "PersistentVolumeClaim":
        requests = _parsed(new.spec.resources.requests)
        yield from _too_little(item, requests, {})
        for name, limit in _sorted(item.max):
            yield from _too_much(name, item.type, limit, requests, "request")


def _broken(item: LimitRangeItem, requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _too_little(item, requests, limits)
    for name, most in _sorted(item.max):
        # One sentence an amount: a request is mostly too much because its limit is.
        wrong = [*_too_much(name, item.type, most, limits, "limit")]
        if not wrong and name in requests:
            wrong += _too_much(name, item.type, most, requests, "request")
        yield from wrong
    for name, ratio in _sorted(item.max_limit_request_ratio):
        rule = f"{name} max limit to request ratio per {item.type} is {ratio}"
        request, limit = requests.get(name), limits.get(name)
        if request is None or not request.nanos:
            yield f"{rule}, but no request is specified or request is 0"
        elif limit is None or not limit.nanos:
            yield f"{rule}, but no limit is specified or limit is 0"
        elif limit.nanos * quantity.NANOS > ratio.nanos * request.nanos:
            yield f"{rule}, but provided ratio is {limit.nanos / request.nanos:f}"


def _too_little(item: LimitRangeItem, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, least in _sorted(item.min):
        rule = f"minimum {name} usage per {item.type} is {least}"
        request, limit = requests.get(name), limits.get(name)
        if request is None:
            yield f"{rule}.  No request is specified"
        elif request < least:
            yield f"{rule}, but request is {request}"
        elif limit is not None and limit < least:
            yield f"{rule}, but limit is {limit}"


def _too_much(name: str, type: str, most: Amount, amounts: Amounts, what: str) -> Iterator[str]:
    rule = f"maximum {name} usage per {type} is {most}"
    if name not in amounts:
        yield f"{rule}.  No {what} is specified"
    elif amounts[name] > most:
        yield f"{rule}, but {what} is {amounts[name]}"


def _sorted(amounts: Mapping[str, str]) -> Iterable[tuple[str, Amount]]:
    return sorted(_parsed(amounts).items())


def _parsed(amounts: Mapping[str, str]) -> dict[str, Amount]:
    return {name: quantity.parse(text) for name, text in amounts.items()}
