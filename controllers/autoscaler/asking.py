"""What each of an autoscaler's metrics asks for: read from whoever measures, and made a number of pods.

Resources are read from `metrics.k8s.io`; metrics of pods and of one object from `custom.metrics.k8s.io`; metrics of
anything else from `external.metrics.k8s.io`. All three are served by others, if at all, and reached through the API
server. How a number follows is in `usage.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api import quantity
from api.apiextensions import customresourcedefinition as definitions
from api.autoscaling.v2.horizontalpodautoscaler import HorizontalPodAutoscaler
from api.autoscaling.v2.metrics import (
    ContainerResourceMetricStatus,
    ExternalMetricSource,
    ExternalMetricStatus,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
    ObjectMetricSource,
    ObjectMetricStatus,
    PodsMetricSource,
    PodsMetricStatus,
    ResourceMetricStatus,
)
from api.core.pod import Pod
from api.discover import by_kind
from api.errors import ApiError, NotFound
from api.resource import Resource
from api.selectors import go_string, of_label_selector
from controllers.autoscaler import metrics
from controllers.autoscaler.usage import (
    Answer,
    CannotTell,
    Target,
    compute_replicas,
    count_ready,
    replicas_for_average,
    replicas_for_value,
)
from controllers.custom_kinds import handles_of
from controllers.runner import Context

FAILURES: Final = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}
"""The reason that stands in a condition and an event when a metric of a type cannot be had."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """What is scaled, as it is now."""

    wished: int
    """How many pods its scale asks for."""
    present: int
    """How many its scale says there are."""
    selector: str
    pods: Sequence[Pod]


@dataclass(frozen=True, slots=True)
class Wish:
    """What one metric asks for, what it is called in messages, and what was measured."""

    replicas: int
    name: str
    status: MetricStatus


def kind_of(context: Context, api_version: str, kind: str) -> Resource[Any]:
    """Return the handle of a kind, built in or custom; raises NotFound for one that nobody serves."""
    wanted = (api_version, kind)
    found = by_kind(*wanted)
    for crd in context.listers[definitions.RESOURCE].list() if found is None else ():
        custom: list[Resource[Any]] = [each for each in handles_of(crd) if (each.api_version, each.kind) == wanted]
        found = custom[0] if custom else found
    if found is None:
        raise NotFound(f'no matches for kind "{kind}" in group "{api_version.rpartition("/")[0]}"')
    return found


async def ask(context: Context, hpa: HorizontalPodAutoscaler, metric: MetricSpec, scaled: Scaled, now: float) -> Wish:
    """Return what one metric asks for; raises ApiError or CannotTell."""
    asking = _Asking(context, hpa.metadata.namespace, scaled, now)
    match metric:
        case MetricSpec(type="Resource", resource=source) if source is not None:
            answer = await asking.of_resource(source.name, source.target)
            told = ResourceMetricStatus(name=source.name, current=_current(answer))
            return _resource_wish(source, "resource", answer, MetricStatus(type=metric.type, resource=told))
        case MetricSpec(type="ContainerResource", container_resource=source) if source is not None:
            answer = await asking.of_resource(source.name, source.target, source.container)
            told_of = ContainerResourceMetricStatus(
                name=source.name, container=source.container, current=_current(answer)
            )
            status = MetricStatus(type=metric.type, container_resource=told_of)
            return _resource_wish(source, "container resource", answer, status)
        case MetricSpec(type="Pods", pods=source) if source is not None:
            return await asking.of_pods(source)
        case MetricSpec(type="Object", object=source) if source is not None:
            return await asking.of_object(source)
        case MetricSpec(type="External", external=source) if source is not None:
            return await asking.of_external(source)
    raise CannotTell(f'unknown metric source type "{metric.type}"')


@dataclass(frozen=True, slots=True)
class _Asking:
    """One look's questions."""

    context: Context
    namespace: str
    scaled: Scaled
    now: float

    async def of_resource(self, resource: str, wanted: MetricTarget, container: str = "") -> Answer:
        """Return what pods' use of a resource asks for."""
        share = "utilization" if wanted.average_utilization is not None else "usage"
        try:
            found = await self.context.client.list(metrics.METRICS, self.namespace, label_selector=self.scaled.selector)
        except ApiError as error:
            why = f"unable to fetch metrics from resource metrics API: {_told(error, 'pods.metrics.k8s.io')}"
            raise CannotTell(
                f"failed to get {resource} {share}: unable to get metrics for resource {resource}: {why}"
            ) from error
        why = metrics.why_unusable(found.items, container)
        if why:
            raise CannotTell(f"failed to get {resource} {share}: unable to get metrics for resource {resource}: {why}")
        measures = metrics.measures_of(found.items, resource, container)
        target = Target(wanted.average_utilization, _millis(wanted.average_value))
        scaled = self.scaled
        try:
            return compute_replicas(scaled.wished, resource, target, scaled.pods, measures, self.now, container)
        except CannotTell as error:
            raise CannotTell(f"failed to get {resource} {share}: {error}") from error

    async def of_pods(self, source: PodsMetricSource) -> Wish:
        """Return what a metric that each pod has asks for."""
        name, scaled = source.metric.name, self.scaled
        try:
            found = await self._custom("pods", "*", source.metric, {"labelSelector": scaled.selector})
            measures = {item.described_object.name: metrics.measure_of(item) for item in found}
            target = Target(millis=_millis(source.target.average_value))
            answer = compute_replicas(scaled.wished, "", target, scaled.pods, measures, self.now)
        except CannotTell as error:
            raise CannotTell(f"failed to get pods metric value: {error}") from error
        except ApiError as error:
            raise CannotTell(
                f"failed to get pods metric value: unable to get metric {name}: unable to fetch metrics from custom "
                f"metrics API: {_told_of_custom(error)}"
            ) from error
        told = PodsMetricStatus(metric=source.metric, current=_current(answer))
        return Wish(answer.replicas, f"pods metric {name}", MetricStatus(type="Pods", pods=told))

    async def of_object(self, source: ObjectMetricSource) -> Wish:
        """Return what a metric of one object asks for."""
        name, it = source.metric.name, source.described_object
        try:
            kind = kind_of(self.context, it.api_version, it.kind)
            plural = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
            found = await self._custom(plural, it.name, source.metric, {})
        except ApiError as error:
            where = f"{it.kind} on {self.namespace} {it.name}"
            raise CannotTell(
                f"failed to get object metric value: unable to get metric {name}: {where}/unable to fetch metrics "
                f"from custom metrics API: {_told_of_custom(error)}"
            ) from error
        if not found:
            raise CannotTell("failed to get object metric value: no metrics returned from custom metrics API")
        replicas, current = self._outside(quantity.millis(found[0].value), source.target)
        told = ObjectMetricStatus(metric=source.metric, described_object=it, current=current)
        return Wish(replicas, f"{it.kind} metric {name}", MetricStatus(type="Object", object=told))

    async def of_external(self, source: ExternalMetricSource) -> Wish:
        """Return what a metric of something outside the cluster asks for."""
        name, selector = source.metric.name, _selector(source.metric.selector)
        shown = go_string(source.metric.selector)
        try:
            found = await self.context.client.list(metrics.external(name), self.namespace, label_selector=selector)
        except ApiError as error:
            raise CannotTell(
                f"failed to get {name} external metric value: unable to get external metric "
                f"{self.namespace}/{name}/{shown}: unable to fetch metrics from external metrics API: "
                f"{_told(error, f'{name}.external.metrics.k8s.io')}"
            ) from error
        if not found.items:
            raise CannotTell(
                f"failed to get {name} external metric value: unable to get external metric "
                f"{self.namespace}/{name}/{shown}: no metrics returned from external metrics API"
            )
        total = sum(quantity.millis(item.value) for item in found.items)
        replicas, current = self._outside(total, source.target)
        told = ExternalMetricStatus(metric=source.metric, current=current)
        return Wish(replicas, f"external metric {name}({shown})", MetricStatus(type="External", external=told))

    def _outside(self, measured: int, wanted: MetricTarget) -> tuple[int, MetricValueStatus]:
        """Return what a measure that belongs to no single pod asks for: of it all, or shared out among the pods."""
        average = _millis(wanted.average_value)
        if average is not None:
            replicas, each = replicas_for_average(self.scaled.present, measured, average)
            return replicas, MetricValueStatus(average_value=quantity.from_millis(each))
        value = _millis(wanted.value)
        if value is None:
            raise CannotTell("invalid metric target: neither a value nor an average value was given")
        ready = count_ready(self.scaled.pods)
        replicas = replicas_for_value(self.scaled.wished, ready, measured, value)
        return replicas, MetricValueStatus(value=quantity.from_millis(measured))

    async def _custom(
        self, plural: str, name: str, metric: Any, options: Mapping[str, str]
    ) -> Sequence[metrics.MetricValue]:
        chosen = _selector(metric.selector)
        asked = {**options, **({"metricLabelSelector": chosen} if chosen else {})}
        client, namespace = self.context.client, self.namespace
        return (await metrics.read_custom(client, namespace, plural, name, metric.name, asked)).items


def _millis(amount: str | None) -> int | None:
    return quantity.millis(amount) if amount is not None else None


def _selector(given: Any) -> str:
    return str(of_label_selector(given)) if given is not None else ""


_NOBODY: Final = "the server could not find the requested resource"
"""What is answered where nobody serves a group."""


def _told(error: ApiError, asked: str) -> str:
    """Return an error as Go's client tells it, which says what was asked where the server says nothing of its own."""
    if error.message == _NOBODY:
        return f"{error.message} (get {asked})"
    if error.message == "service unavailable":
        return f"the server is currently unable to handle the request (get {asked})"
    return error.message


def _told_of_custom(error: ApiError) -> str:
    """Return an error of the API of custom metrics, whose client looks beforehand whether there is any."""
    return "no custom metrics API (custom.metrics.k8s.io) registered" if error.message == _NOBODY else error.message


def _current(answer: Answer) -> MetricValueStatus:
    value = quantity.from_millis(answer.average_millis)
    return MetricValueStatus(average_value=value, average_utilization=answer.percent)


def _resource_wish(source: Any, what: str, answer: Answer, status: MetricStatus) -> Wish:
    share = " utilization (percentage of request)" if source.target.average_utilization is not None else ""
    return Wish(answer.replicas, f"{source.name} {what}{share}", status)
