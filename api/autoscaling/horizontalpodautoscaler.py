"""HorizontalPodAutoscaler v1: the older form, which knows of CPU only.

What it cannot say (other metrics, behavior, conditions) travels in annotations, so that an object that is read in
this version and written back loses nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from api import validation as v
from api.autoscaling.v2 import horizontalpodautoscaler as v2
from api.autoscaling.v2 import metrics as v2_metrics
from api.meta import ObjectMeta
from api.resource import Column, Resource, Storage
from api.schema import Int32, Int64, Struct, Time, always, field, wire

_PREFIX: Final = "autoscaling.alpha.kubernetes.io/"
METRICS: Final = f"{_PREFIX}metrics"
CURRENT_METRICS: Final = f"{_PREFIX}current-metrics"
CONDITIONS: Final = f"{_PREFIX}conditions"
BEHAVIOR: Final = f"{_PREFIX}behavior"
_ANNOTATIONS: Final = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)


class HorizontalPodAutoscalerStatus(Struct):
    """What was last measured, and how many pods follow from it.

    Attributes:
        observed_generation: The metadata.generation that this belongs to.
        last_scale_time: When the number of pods was last changed.
        current_replicas: How many pods there were when it was last looked at.
        desired_replicas: How many pods there should be by what was measured.
        current_cpu_utilization_percentage: How much of their requested CPU the pods used on average, in percent; 70
            means 70%.
    """

    observed_generation: Annotated[Int64 | None, wire(1)] = None
    last_scale_time: Annotated[Time, wire(2)] = ""
    current_replicas: Annotated[Int32, wire(3, required=True)] = always(0)
    desired_replicas: Annotated[Int32, wire(4, required=True)] = always(0)
    current_cpu_utilization_percentage: Annotated[Int32 | None, wire(5)] = field(
        name="currentCPUUtilizationPercentage", default=None
    )


class CrossVersionObjectReference(v2_metrics.CrossVersionObjectReference):
    """Another object of the same namespace, in whatever version."""


class HorizontalPodAutoscalerSpec(Struct):
    """What is scaled, within which bounds, and by what; this form only knows CPU.

    Attributes:
        scale_target_ref: What is scaled: anything with a scale subresource, such as a Deployment.
        min_replicas: The fewest pods there may be; 1 by default. 0 only with a feature gate.
        max_replicas: The most pods there may be; not less than minReplicas.
        target_cpu_utilization_percentage: How much of their requested CPU the pods should use on average, in percent;
            80 if nothing else is measured.
    """

    scale_target_ref: Annotated[CrossVersionObjectReference, wire(1, required=True)] = field(
        default_factory=CrossVersionObjectReference
    )
    min_replicas: Annotated[Int32 | None, wire(2)] = None
    max_replicas: Annotated[Int32, wire(3, required=True)] = always(0)
    target_cpu_utilization_percentage: Annotated[Int32 | None, wire(4)] = field(
        name="targetCPUUtilizationPercentage", default=None
    )


class HorizontalPodAutoscaler(Struct):
    """How many pods a workload has, decided by how much CPU they use. Version v2 knows more measures."""

    api_version: str = always("autoscaling/v1")
    kind: str = always("HorizontalPodAutoscaler")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[HorizontalPodAutoscalerSpec, wire(2)] = field(default_factory=HorizontalPodAutoscalerSpec)
    status: Annotated[HorizontalPodAutoscalerStatus, wire(3)] = field(default_factory=HorizontalPodAutoscalerStatus)


def default(autoscaler: HorizontalPodAutoscaler) -> None:
    """At least one pod, and CPU at 80 percent of what was requested where nothing else is asked for."""
    spec = autoscaler.spec
    if spec.min_replicas is None:
        spec.min_replicas = 1
    if spec.target_cpu_utilization_percentage is None and METRICS not in autoscaler.metadata.annotations:
        spec.target_cpu_utilization_percentage = 80


def _carried(autoscaler: HorizontalPodAutoscaler, key: str, kind: Any, nothing: Any) -> Any:
    """Return what an annotation carries; what a user garbled there counts for nothing, as upstream has it."""
    text = autoscaler.metadata.annotations.get(key)
    if text is None:
        return nothing
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return nothing


def to_stored(autoscaler: HorizontalPodAutoscaler) -> v2.HorizontalPodAutoscaler:
    """Return the same autoscaler in v2."""
    spec, status = autoscaler.spec, autoscaler.status
    metrics = _carried(autoscaler, METRICS, list[v2_metrics.MetricSpec], [])
    if spec.target_cpu_utilization_percentage is not None:
        metrics = [v2.cpu_metric(spec.target_cpu_utilization_percentage), *metrics]
    current = _carried(autoscaler, CURRENT_METRICS, list[v2_metrics.MetricStatus], [])
    if status.current_cpu_utilization_percentage is not None:
        value = v2_metrics.MetricValueStatus(average_utilization=status.current_cpu_utilization_percentage)
        # The average amount has no place in v1; it is observed anew anyway.
        cpu = v2_metrics.MetricStatus(
            type="Resource", resource=v2_metrics.ResourceMetricStatus(name="cpu", current=value)
        )
        current = [cpu, *current]
    annotations = autoscaler.metadata.annotations
    kept = {key: value for key, value in annotations.items() if key not in _ANNOTATIONS}
    return v2.HorizontalPodAutoscaler(
        metadata=msgspec.structs.replace(autoscaler.metadata, annotations=kept),
        spec=v2.HorizontalPodAutoscalerSpec(
            scale_target_ref=msgspec.convert(
                spec.scale_target_ref, v2_metrics.CrossVersionObjectReference, from_attributes=True
            ),
            min_replicas=spec.min_replicas,
            max_replicas=spec.max_replicas,
            metrics=metrics,
            behavior=_carried(autoscaler, BEHAVIOR, v2.HorizontalPodAutoscalerBehavior, None),
        ),
        status=v2.HorizontalPodAutoscalerStatus(
            observed_generation=status.observed_generation,
            last_scale_time=status.last_scale_time,
            current_replicas=status.current_replicas,
            desired_replicas=status.desired_replicas,
            current_metrics=current,
            conditions=_carried(autoscaler, CONDITIONS, list[v2.HorizontalPodAutoscalerCondition], []),
        ),
    )


def _is_cpu(metric: v2_metrics.MetricSpec) -> bool:
    source = metric.resource
    return (
        metric.type == "Resource"
        and source is not None
        and source.name == "cpu"
        and source.target.average_utilization is not None
    )


def _is_cpu_status(metric: v2_metrics.MetricStatus) -> bool:
    source = metric.resource
    return (
        metric.type == "Resource"
        and source is not None
        and source.name == "cpu"
        and source.current == v2_metrics.MetricValueStatus(average_utilization=source.current.average_utilization)
        and source.current.average_utilization is not None
    )


def from_stored(autoscaler: v2.HorizontalPodAutoscaler) -> HorizontalPodAutoscaler:
    """Return the same autoscaler in v1: the first wish about CPU in its label, the rest in annotations."""
    spec, status = autoscaler.spec, autoscaler.status
    cpu = next((metric for metric in spec.metrics if _is_cpu(metric)), None)
    current_cpu = next((metric for metric in status.current_metrics if _is_cpu_status(metric)), None)
    carried: dict[str, Any] = {
        METRICS: [metric for metric in spec.metrics if metric is not cpu],
        CURRENT_METRICS: [metric for metric in status.current_metrics if metric is not current_cpu],
        CONDITIONS: status.conditions,
        BEHAVIOR: spec.behavior,
    }
    annotations = dict(autoscaler.metadata.annotations)
    for key, value in carried.items():
        if value:
            annotations[key] = msgspec.json.encode(value).decode()
    target = cpu.resource.target.average_utilization if cpu is not None and cpu.resource is not None else None
    current = None
    if current_cpu is not None and current_cpu.resource is not None:
        current = current_cpu.resource.current.average_utilization
    return HorizontalPodAutoscaler(
        metadata=msgspec.structs.replace(autoscaler.metadata, annotations=annotations),
        spec=HorizontalPodAutoscalerSpec(
            scale_target_ref=msgspec.convert(spec.scale_target_ref, CrossVersionObjectReference, from_attributes=True),
            min_replicas=spec.min_replicas,
            max_replicas=spec.max_replicas,
            target_cpu_utilization_percentage=target,
        ),
        status=HorizontalPodAutoscalerStatus(
            observed_generation=status.observed_generation,
            last_scale_time=status.last_scale_time,
            current_replicas=status.current_replicas,
            desired_replicas=status.desired_replicas,
            current_cpu_utilization_percentage=current,
        ),
    )


def validate(new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler | None) -> v.Errors:
    """Check it as what it is stored as."""
    yield from v2.validate(to_stored(new), to_stored(old) if old is not None else None)


def validate_status(new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler) -> v.Errors:
    """Check the counts."""
    yield from v2.validate_status(to_stored(new), to_stored(old))


def prepare_for_update(new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler) -> None:
    """Keep what was observed."""
    new.status = old.status
    for key in (CONDITIONS, CURRENT_METRICS):
        if key in old.metadata.annotations:
            new.metadata.annotations[key] = old.metadata.annotations[key]


RESOURCE: Final[Resource[HorizontalPodAutoscaler]] = Resource(
    type=HorizontalPodAutoscaler,
    group="autoscaling",
    version="v1",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
    default=default,
    validate=validate,
    validate_status=validate_status,
    prepare_for_update=prepare_for_update,
    columns=tuple(
        Column(
            column.name,
            column.type,
            lambda hpa, now, cell=column.cell: cell(to_stored(hpa), now),  # type: ignore[misc]
            column.description,
        )
        for column in v2.RESOURCE.columns
    ),
    storage=Storage(v2.RESOURCE, from_stored, to_stored),
)
