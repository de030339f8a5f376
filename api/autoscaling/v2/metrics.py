"""What autoscalers measure, what it should be and what it is."""

from __future__ import annotations

from typing import Annotated

from api.meta import LabelSelector
from api.schema import Int32, Quantity, Struct, always, field, wire


class MetricIdentifier(Struct):
    """A metric, by its name and labels.

    Attributes:
        name: Its name, as the metrics API has it.
        selector: Labels of the series that are meant; unset, the name alone tells.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    selector: Annotated[LabelSelector | None, wire(2)] = None


class MetricValueStatus(Struct):
    """What a measure is now.

    Attributes:
        value: The value as a whole.
        average_value: The average over all pods.
        average_utilization: The average over all pods, in percent of what they request.
    """

    value: Annotated[Quantity | None, wire(1)] = None
    average_value: Annotated[Quantity | None, wire(2)] = None
    average_utilization: Annotated[Int32 | None, wire(3)] = None


class ExternalMetricStatus(Struct):
    """A metric of something outside the cluster, as last measured.

    Attributes:
        metric: Which metric, by name and labels.
        current: Where the metric is.
    """

    metric: Annotated[MetricIdentifier, wire(1, required=True)] = field(default_factory=MetricIdentifier)
    current: Annotated[MetricValueStatus, wire(2, required=True)] = field(default_factory=MetricValueStatus)


class ContainerResourceMetricStatus(Struct):
    """What one container of each pod uses of a resource, as last measured.

    Attributes:
        name: The resource: cpu or memory.
        current: How much of it the container uses, on average over the pods.
        container: Which container of the pods, by its name.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    current: Annotated[MetricValueStatus, wire(2, required=True)] = field(default_factory=MetricValueStatus)
    container: Annotated[str, wire(3, required=True)] = always("")


class ResourceMetricStatus(Struct):
    """What the pods use of a resource, as last measured.

    Attributes:
        name: The resource: cpu or memory.
        current: How much of it the pods use, on average.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    current: Annotated[MetricValueStatus, wire(2, required=True)] = field(default_factory=MetricValueStatus)


class PodsMetricStatus(Struct):
    """A metric of the pods themselves, as last measured.

    Attributes:
        metric: Which metric, by name and labels.
        current: Where the metric is, on average over the pods.
    """

    metric: Annotated[MetricIdentifier, wire(1, required=True)] = field(default_factory=MetricIdentifier)
    current: Annotated[MetricValueStatus, wire(2, required=True)] = field(default_factory=MetricValueStatus)


class CrossVersionObjectReference(Struct):
    """Another object of the same namespace, in whatever version.

    Attributes:
        kind: The kind of the object, such as Deployment.
        name: The metadata.name of the object that is meant.
        api_version: Its group and version, such as apps/v1.
    """

    kind: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(2, required=True)] = always("")
    api_version: Annotated[str, wire(3)] = ""


class ObjectMetricStatus(Struct):
    """A metric of another object, as last measured.

    Attributes:
        metric: Which metric, by name and labels.
        current: Where the metric is.
        described_object: What the metric tells about, in the autoscaler's namespace.
    """

    metric: Annotated[MetricIdentifier, wire(1, required=True)] = field(default_factory=MetricIdentifier)
    current: Annotated[MetricValueStatus, wire(2, required=True)] = field(default_factory=MetricValueStatus)
    described_object: Annotated[CrossVersionObjectReference, wire(3, required=True)] = field(
        default_factory=CrossVersionObjectReference
    )


class MetricStatus(Struct):
    """One of the measures, as last taken; the field that `type` names is set.

    Attributes:
        type: Which: ContainerResource, External, Object, Pods or Resource.
        object: For the type Object: what was measured.
        pods: For the type Pods: what was measured.
        resource: For the type Resource: what was measured.
        container_resource: For the type ContainerResource: what was measured.
        external: For the type External: what was measured.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    object: Annotated[ObjectMetricStatus | None, wire(2)] = None
    pods: Annotated[PodsMetricStatus | None, wire(3)] = None
    resource: Annotated[ResourceMetricStatus | None, wire(4)] = None
    container_resource: Annotated[ContainerResourceMetricStatus | None, wire(7)] = None
    external: Annotated[ExternalMetricStatus | None, wire(5)] = None


class MetricTarget(Struct):
    """What a measure should be; the number of pods is chosen to bring it there.

    Attributes:
        type: Utilization, Value or AverageValue: which of the other fields counts.
        value: The value as a whole.
        average_value: The average over all pods.
        average_utilization: The average over all pods, in percent of what they request; only for resources.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[Quantity | None, wire(2)] = None
    average_value: Annotated[Quantity | None, wire(3)] = None
    average_utilization: Annotated[Int32 | None, wire(4)] = None


class ExternalMetricSource(Struct):
    """A metric of something outside the cluster, such as the length of a queue.

    Attributes:
        metric: Which metric, by name and labels.
        target: Where the metric should be.
    """

    metric: Annotated[MetricIdentifier, wire(1, required=True)] = field(default_factory=MetricIdentifier)
    target: Annotated[MetricTarget, wire(2, required=True)] = field(default_factory=MetricTarget)


class ContainerResourceMetricSource(Struct):
    """What one container of each pod uses of a resource.

    Attributes:
        name: The resource: cpu or memory.
        target: How much of it the container should use.
        container: Which container of the pods, by its name; others do not count.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    target: Annotated[MetricTarget, wire(2, required=True)] = field(default_factory=MetricTarget)
    container: Annotated[str, wire(3, required=True)] = always("")


class ResourceMetricSource(Struct):
    """What all containers of each pod use of a resource.

    Attributes:
        name: The resource: cpu or memory.
        target: How much of it the pods should use.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    target: Annotated[MetricTarget, wire(2, required=True)] = field(default_factory=MetricTarget)


class PodsMetricSource(Struct):
    """A metric of the pods themselves, averaged, such as requests per second.

    Attributes:
        metric: Which metric, by name and labels.
        target: Where the metric should be, on average over the pods.
    """

    metric: Annotated[MetricIdentifier, wire(1, required=True)] = field(default_factory=MetricIdentifier)
    target: Annotated[MetricTarget, wire(2, required=True)] = field(default_factory=MetricTarget)


class ObjectMetricSource(Struct):
    """A metric of another object, such as an Ingress.

    Attributes:
        described_object: What the metric tells about, in the autoscaler's namespace.
        target: Where the metric should be.
        metric: Which metric, by name and labels.
    """

    described_object: Annotated[CrossVersionObjectReference, wire(1, required=True)] = field(
        default_factory=CrossVersionObjectReference
    )
    target: Annotated[MetricTarget, wire(2, required=True)] = field(default_factory=MetricTarget)
    metric: Annotated[MetricIdentifier, wire(3, required=True)] = field(default_factory=MetricIdentifier)


class MetricSpec(Struct):
    """Something to measure, and what it should be; the field that `type` names is set.

    Attributes:
        type: Which: ContainerResource, External, Object, Pods or Resource.
        object: For the type Object: a metric of one other object, such as requests that an Ingress gets.
        pods: For the type Pods: a metric that each pod has, such as requests it serves.
        resource: For the type Resource: CPU or memory of whole pods.
        container_resource: For the type ContainerResource: CPU or memory of one container in each pod.
        external: For the type External: a metric that belongs to nothing in the cluster.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    object: Annotated[ObjectMetricSource | None, wire(2)] = None
    pods: Annotated[PodsMetricSource | None, wire(3)] = None
    resource: Annotated[ResourceMetricSource | None, wire(4)] = None
    container_resource: Annotated[ContainerResourceMetricSource | None, wire(7)] = None
    external: Annotated[ExternalMetricSource | None, wire(5)] = None
