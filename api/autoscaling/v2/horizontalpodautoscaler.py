"""HorizontalPodAutoscaler: how many pods a workload has, decided by what is measured. The stored version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from api import names, quantity
from api import validation as v
from api.autoscaling.v2.metrics import (
    CrossVersionObjectReference,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
    ResourceMetricSource,
)
from api.columns import AGE, NONE
from api.core.resource_names import check_container_resource_name
from api.meta import KindCondition, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Int64, Struct, Time, always, field, shown_empty, wire

_DEFAULT_CPU_PERCENT: Final = 80


class HorizontalPodAutoscalerCondition(KindCondition):
    """One question about an autoscaler (`type`), its answer, and since when."""


class HorizontalPodAutoscalerStatus(Struct):
    """What was last measured, and how many pods follow from it.

    Attributes:
        observed_generation: The metadata.generation that this belongs to.
        last_scale_time: When the number of pods was last changed.
        current_replicas: How many pods there were when it was last looked at.
        desired_replicas: How many pods there should be by what was measured.
        current_metrics: What was measured, in the order of spec.metrics.
        conditions: Whether it can measure and scale: AbleToScale, ScalingActive, ScalingLimited.
    """

    observed_generation: Annotated[Int64 | None, wire(1)] = None
    last_scale_time: Annotated[Time, wire(2)] = ""
    current_replicas: Annotated[Int32, wire(3)] = 0
    desired_replicas: Annotated[Int32, wire(4, required=True)] = always(0)
    current_metrics: Annotated[list[MetricStatus], wire(5, list_type="atomic")] = shown_empty()
    conditions: Annotated[
        list[HorizontalPodAutoscalerCondition], wire(6, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class HPAScalingPolicy(Struct):
    """So many pods, or so many percent of them, in so many seconds.

    Attributes:
        type: Pods or Percent: what value counts.
        value: By how much the number of pods may change in that time; above 0.
        period_seconds: Over how many seconds the change is counted, 1 to 1800.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    value: Annotated[Int32, wire(2, required=True)] = always(0)
    period_seconds: Annotated[Int32, wire(3, required=True)] = always(0)


class HPAScalingRules(Struct):
    """How fast the number of pods may change in one direction.

    Attributes:
        stabilization_window_seconds: Over how many seconds (0 to 3600) the most cautious of the recommendations is
            taken; 0 by default for growing, 300 for shrinking.
        select_policy: Which policy counts where several do: Max (the default) allows the largest change, Min the
            smallest, Disabled none.
        policies: The limits; at least one if any of this is said. By default 4 pods or 100% in 15 seconds for growing,
            100% in 15 seconds for shrinking.
    """

    stabilization_window_seconds: Annotated[Int32 | None, wire(3)] = None
    select_policy: Annotated[str | None, wire(1)] = None
    policies: Annotated[list[HPAScalingPolicy], wire(2, list_type="atomic")] = []


class HorizontalPodAutoscalerBehavior(Struct):
    """How fast the number of pods may grow and shrink.

    Attributes:
        scale_up: For growing; at once by default, to at most double or 4 pods more in 15 seconds.
        scale_down: For shrinking; by default only to what was enough for all of the last 300 seconds.
    """

    scale_up: Annotated[HPAScalingRules | None, wire(1)] = None
    scale_down: Annotated[HPAScalingRules | None, wire(2)] = None


class HorizontalPodAutoscalerSpec(Struct):
    """What is scaled, in which bounds, and by what.

    Attributes:
        scale_target_ref: What is scaled: anything with a scale subresource, such as a Deployment.
        min_replicas: The fewest pods there may be; 1 by default. 0 only with a feature gate.
        max_replicas: The most pods there may be; not less than minReplicas.
        metrics: What is measured; the measure that asks for the most pods wins. By default the CPU use of the pods, at
            80% of their requests.
        behavior: How fast the number of pods may grow and shrink; quickly up and slowly down by default.
    """

    scale_target_ref: Annotated[CrossVersionObjectReference, wire(1, required=True)] = field(
        default_factory=CrossVersionObjectReference
    )
    min_replicas: Annotated[Int32 | None, wire(2)] = None
    max_replicas: Annotated[Int32, wire(3, required=True)] = always(0)
    metrics: Annotated[list[MetricSpec], wire(4, list_type="atomic")] = []
    behavior: Annotated[HorizontalPodAutoscalerBehavior | None, wire(5)] = None


class HorizontalPodAutoscaler(Struct):
    """How many pods a workload has, decided by what is measured."""

    api_version: str = always("autoscaling/v2")
    kind: str = always("HorizontalPodAutoscaler")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[HorizontalPodAutoscalerSpec, wire(2)] = field(default_factory=HorizontalPodAutoscalerSpec)
    status: Annotated[HorizontalPodAutoscalerStatus, wire(3)] = field(default_factory=HorizontalPodAutoscalerStatus)


def default(autoscaler: HorizontalPodAutoscaler) -> None:
    """At least one pod, and as many as keep CPU at 80 percent of what was requested."""
    spec = autoscaler.spec
    if spec.min_replicas is None:
        spec.min_replicas = 1
    if not spec.metrics:
        spec.metrics = [cpu_metric(_DEFAULT_CPU_PERCENT)]
    if spec.behavior is not None:
        spec.behavior.scale_up = _filled(spec.behavior.scale_up, ((("Pods", 4, 15), ("Percent", 100, 15))), 0)
        spec.behavior.scale_down = _filled(spec.behavior.scale_down, (("Percent", 100, 15),), None)


def cpu_metric(percent: int) -> MetricSpec:
    """Return the wish to keep CPU at so many percent of what was requested."""
    target = MetricTarget(type="Utilization", average_utilization=percent)
    return MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=target))


def _filled(
    rules: HPAScalingRules | None, policies: Sequence[tuple[str, int, int]], window_s: int | None
) -> HPAScalingRules:
    rules = rules or HPAScalingRules()
    if rules.select_policy is None:
        rules.select_policy = "Max"
    if rules.stabilization_window_seconds is None:
        rules.stabilization_window_seconds = window_s
    if not rules.policies:
        rules.policies = [HPAScalingPolicy(type=kind, value=value, period_seconds=s) for kind, value, s in policies]
    return rules


def validate(new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler | None) -> v.Errors:
    """Check the bounds, what is scaled, and by what."""
    spec = new.spec
    allowed = 0 if old is not None and old.spec.min_replicas == 0 else 1
    if spec.min_replicas is not None and spec.min_replicas < allowed:
        yield v.invalid("spec.minReplicas", spec.min_replicas, f"must be greater than or equal to {allowed}")
    if spec.max_replicas < 1:
        yield v.invalid("spec.maxReplicas", spec.max_replicas, "must be greater than 0")
    if spec.min_replicas is not None and spec.max_replicas < spec.min_replicas:
        yield v.invalid("spec.maxReplicas", spec.max_replicas, "must be greater than or equal to `minReplicas`")
    yield from _check_reference("spec.scaleTargetRef", spec.scale_target_ref)
    for i, metric in enumerate(spec.metrics):
        yield from _check_metric(f"spec.metrics[{i}]", metric)
    if spec.min_replicas == 0 and not any(metric.type in ("External", "Object") for metric in spec.metrics):
        yield v.forbidden(
            "spec.metrics", "must specify at least one Object or External metric to support scaling to zero replicas"
        )
    if spec.behavior is not None:
        for label, rules in (("scaleUp", spec.behavior.scale_up), ("scaleDown", spec.behavior.scale_down)):
            if rules is not None:
                yield from _check_rules(f"spec.behavior.{label}", rules)


def _check_reference(path: str, reference: CrossVersionObjectReference) -> v.Errors:
    yield from v.check_name(f"{path}.kind", reference.kind, names.check_path_segment)
    yield from v.check_name(f"{path}.name", reference.name, names.check_path_segment)


_SOURCES: Final = {
    "ContainerResource": "container_resource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def _check_metric(path: str, metric: MetricSpec) -> v.Errors:
    if not metric.type:
        yield v.required(f"{path}.type", "must specify a metric source type")
    if metric.type not in _SOURCES:
        yield v.not_supported(f"{path}.type", metric.type, _SOURCES)
    given = [kind for kind in _READING_ORDER if getattr(metric, _SOURCES[kind]) is not None]
    if given:
        yield from _check_source(f"{path}.{_label(given[0])}", given[0], getattr(metric, _SOURCES[given[0]]))
    if metric.type in _SOURCES and metric.type not in given:
        yield v.required(f"{path}.{_label(metric.type)}", "must populate information for the given metric source")
    for kind in given if len(given) > 1 else ():
        if kind != metric.type:
            yield v.forbidden(f"{path}.{_label(kind)}", "must populate the given metric source only")


_READING_ORDER: Final = ("Object", "External", "Pods", "Resource", "ContainerResource")
"""Of several sources the first is looked at."""


def _label(kind: str) -> str:
    return kind[0].lower() + kind[1:]


def _check_source(where: str, kind: str, source: Any) -> v.Errors:
    if kind in ("Resource", "ContainerResource"):
        if not source.name:
            yield v.required(f"{where}.name", "must specify a resource name")
        elif kind == "ContainerResource":
            yield from check_container_resource_name(f"{where}.name", source.name)
        if kind == "ContainerResource":
            yield from v.check_name(
                f"{where}.container", source.container, names.check_label, why="must specify a container"
            )
    else:
        yield from v.check_name(
            f"{where}.metric.name", source.metric.name, names.check_path_segment, why="must specify a metric name"
        )
    if kind == "Object":
        yield from _check_reference(f"{where}.describedObject", source.described_object)
    yield from _check_target(f"{where}.target", source.target, kind)


def validate_status(new: HorizontalPodAutoscaler, old: HorizontalPodAutoscaler) -> v.Errors:
    """Check the counts."""
    yield from v.check_not_negative("status.currentReplicas", new.status.current_replicas)
    yield from v.check_not_negative("status.desiredReplicas", new.status.desired_replicas)


def _check_target(path: str, target: MetricTarget, kind: str) -> v.Errors:
    if not target.type:
        yield v.required(f"{path}.type", "must specify a metric target type")
    if target.type not in ("Utilization", "Value", "AverageValue"):
        yield v.invalid(f"{path}.type", target.type, "must be either Utilization, Value, or AverageValue")
    for label, amount in (("value", target.value), ("averageValue", target.average_value)):
        if amount is not None and quantity.compare(amount, "0") <= 0:
            yield v.invalid(f"{path}.{label}", amount, "must be positive")
    if target.average_utilization is not None and target.average_utilization < 1:
        yield v.invalid(f"{path}.averageUtilization", target.average_utilization, "must be greater than 0")
    match kind:
        case "Resource" | "ContainerResource":
            if target.average_utilization is None and target.average_value is None:
                yield v.required(
                    f"{path}.averageUtilization", "must set either a target raw value or a target utilization"
                )
            if target.average_utilization is not None and target.average_value is not None:
                yield v.forbidden(
                    f"{path}.averageValue", "may not set both a target raw value and a target utilization"
                )
        case "Pods":
            if target.average_value is None:
                yield v.required(f"{path}.averageValue", "must specify a positive target averageValue")
        case _:
            if target.value is None and target.average_value is None:
                what = "target value or averageValue"
                if kind == "External":
                    what = "target value for metric or a per-pod target"
                yield v.required(f"{path}.averageValue", f"must set either a {what}")
            if kind == "External" and target.value is not None and target.average_value is not None:
                yield v.forbidden(f"{path}.value", "may not set both a target value for metric and a per-pod target")


def _check_rules(path: str, rules: HPAScalingRules) -> v.Errors:
    window = rules.stabilization_window_seconds
    yield from v.check_not_negative(f"{path}.stabilizationWindowSeconds", window)
    if window is not None and window > 3600:
        yield v.invalid(f"{path}.stabilizationWindowSeconds", window, "must be less than or equal to 3600")
    if rules.select_policy is not None:
        yield from v.check_given(f"{path}.selectPolicy", rules.select_policy, ("Disabled", "Max", "Min"))
    if not rules.policies:
        yield v.required(f"{path}.policies", "must specify at least one Policy")
    for i, policy in enumerate(rules.policies):
        where = f"{path}.policies[{i}]"
        yield from v.check_supported(f"{where}.type", policy.type, ("Percent", "Pods"))
        if policy.value <= 0:
            yield v.invalid(f"{where}.value", policy.value, "must be greater than zero")
        if policy.period_seconds <= 0:
            yield v.invalid(f"{where}.periodSeconds", policy.period_seconds, "must be greater than zero")
        elif policy.period_seconds > 1800:
            yield v.invalid(f"{where}.periodSeconds", policy.period_seconds, "must be less than or equal to 1800")


def _reference(autoscaler: HorizontalPodAutoscaler, now: float) -> str:
    target = autoscaler.spec.scale_target_ref
    return f"{target.kind}/{target.name}"


def _targets(autoscaler: HorizontalPodAutoscaler, now: float) -> str:
    shown = []
    for i, metric in enumerate(autoscaler.spec.metrics):
        current = autoscaler.status.current_metrics
        shown.append(_target(metric, current[i] if i < len(current) else None))
    if len(shown) > 2:
        return f"{', '.join(shown[:2])} + {len(shown) - 2} more..."
    return ", ".join(shown) or NONE


def _target(metric: MetricSpec, status: MetricStatus | None) -> str:
    wanted: Any = getattr(metric, _SOURCES.get(metric.type, "resource"))
    found: Any = getattr(status, _SOURCES.get(metric.type, "resource")) if status is not None else None
    if wanted is None:
        return "<unknown type>"
    target, current = wanted.target, found.current if found is not None else MetricValueStatus()
    prefix, average = "", ""
    if metric.type in ("Resource", "ContainerResource"):
        prefix = f"{wanted.name}: " if metric.type == "Resource" else f"{wanted.container}/{wanted.name}: "
        if target.average_value is None:
            have = "<unknown>" if current.average_utilization is None else f"{current.average_utilization}%"
            want = "<auto>" if target.average_utilization is None else f"{target.average_utilization}%"
            return f"{prefix}{have}/{want}"
    if target.average_value is not None:
        if metric.type in ("External", "Object"):
            average = " (avg)"
        return f"{prefix}{current.average_value or '<unknown>'}/{target.average_value}{average}"
    return f"{prefix}{current.value or '<unknown>'}/{target.value}"


RESOURCE: Final[Resource[HorizontalPodAutoscaler]] = Resource(
    type=HorizontalPodAutoscaler,
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    namespaced=True,
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
    default=default,
    validate=validate,
    validate_status=validate_status,
    columns=(
        Column("Reference", "string", _reference, "What is scaled."),
        Column("Targets", "string", _targets, "What is measured, and what it should be."),
        Column("MinPods", "string", lambda hpa, now: str(hpa.spec.min_replicas or "<unset>"), "Never fewer pods."),
        Column("MaxPods", "string", lambda hpa, now: hpa.spec.max_replicas, "Never more pods."),
        Column("Replicas", "string", lambda hpa, now: hpa.status.current_replicas, "How many pods there are."),
        AGE,
    ),
)
