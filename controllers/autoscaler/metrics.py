"""What pods use, as `metrics.k8s.io` tells it; that API is served by somebody else, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from api import quantity, timestamps
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Quantity, Struct, Time, field
from controllers.autoscaler.usage import Measure

_DURATION = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class ContainerMetrics(Struct):
    """What one container used."""

    name: str = ""
    usage: dict[str, Quantity] = {}


class PodMetrics(Struct):
    """What a pod's containers used, over a window that ended at a time."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    timestamp: Time = ""
    window: str = ""
    containers: list[ContainerMetrics] = []


METRICS: Final[Resource[PodMetrics]] = Resource(
    type=PodMetrics, group="metrics.k8s.io", version="v1beta1", kind="PodMetrics", plural="pods", namespaced=True
)


def measures_of(found: Iterable[PodMetrics], resource: str, container: str = "") -> dict[str, Measure]:
    """Return what each pod used, by name; of one container, if it is named. Pods that do not tell are left out."""
    measures = {}
    for each in found:
        told = [one for one in each.containers if container in ("", one.name)]
        if told and all(resource in one.usage for one in told):
            millis = sum(quantity.millis(one.usage[resource]) for one in told)
            at = timestamps.parse(each.timestamp) if each.timestamp else 0.0
            measures[each.metadata.name] = Measure(millis, at, duration_s(each.window))
    return measures


def duration_s(text: str) -> float:
    """Return how long a duration such as `1m30s` is."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
