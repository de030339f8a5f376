"""What others measure: the types and questions of the three metrics APIs, which somebody else serves, or nobody.

`metrics.k8s.io` tells what pods use; `custom.metrics.k8s.io` anything that has to do with an object of the cluster; and
`external.metrics.k8s.io` anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from api import quantity, timestamps
from api.errors import NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey, Resource
from api.schema import Int64, Quantity, Struct, Time, field
from client.verbs import Client
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


class DescribedObject(Struct):
    """What a custom metric is about."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class MetricValue(Struct):
    """A custom metric of one object, of either version."""

    described_object: DescribedObject = field(default_factory=DescribedObject)
    timestamp: Time = ""
    window_seconds: Int64 | None = None
    value: Quantity = "0"


class MetricValueList(Struct):
    """A custom metric of several objects."""

    items: list[MetricValue] = []


class ExternalMetricValue(Struct):
    """A metric of something outside the cluster."""

    metric_name: str = ""
    metric_labels: dict[str, str] = {}
    timestamp: Time = ""
    value: Quantity = "0"


def external(metric: str) -> Resource[ExternalMetricValue]:
    """Return the handle of an external metric: each is a resource of its own."""
    return Resource(
        type=ExternalMetricValue,
        group="external.metrics.k8s.io",
        version="v1beta1",
        kind="ExternalMetricValue",
        plural=metric,
        namespaced=True,
    )


async def read_custom(
    client: Client, namespace: str, plural: str, name: str, metric: str, options: Mapping[str, str]
) -> MetricValueList:
    """Return a custom metric of the object called `name`, or of all that `options` select if that is `*`.

    Servers have the newer version, the older, or both.

    Raises:
        ApiError: nobody serves it, or there is no such metric.
    """
    key, newest = ObjectKey(namespace, name), None
    for version in ("v1beta2", "v1beta1"):
        handle = Resource(
            type=MetricValueList,
            group="custom.metrics.k8s.io",
            version=version,
            kind="MetricValueList",
            plural=plural,
            namespaced=True,
        )
        try:
            return await client.get(handle, key, subresource=metric, options=options)
        except NotFound as error:
            newest = newest or error
    assert newest is not None, "it was asked at least once"
    raise newest


def measure_of(value: MetricValue) -> Measure:
    """Return a custom metric as the arithmetic takes it."""
    at = timestamps.parse(value.timestamp) if value.timestamp else 0.0
    return Measure(quantity.millis(value.value), at, float(value.window_seconds or 60))


def why_unusable(found: Sequence[PodMetrics], container: str = "") -> str:
    """Return why nothing follows from what pods use, "" if something may; all of them must have a named container."""
    if not found:
        return "no metrics returned from resource metrics API"
    for each in found if container else ():
        if all(one.name != container for one in each.containers):
            pod = f"{each.metadata.namespace}/{each.metadata.name}"
            return f"failed to get container metrics: container {container} not present in metrics for pod {pod}"
    return ""


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
