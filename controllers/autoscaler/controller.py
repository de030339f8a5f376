"""Looks at each HorizontalPodAutoscaler every fifteen seconds and gives its target the number of pods it should have.

A dialogue: it asks for the target's scale and for what its pods use, and writes the scale and the autoscaler's status.
What it recommended and changed lately is remembered in memory alone, as stabilization windows and policies need it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import msgspec

from api import timestamps
from api.apiextensions import customresourcedefinition as definitions
from api.autoscaling.scale import Scale
from api.autoscaling.v2 import horizontalpodautoscaler as autoscalers
from api.autoscaling.v2.horizontalpodautoscaler import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerCondition,
    HorizontalPodAutoscalerStatus,
)
from api.autoscaling.v2.metrics import MetricStatus
from api.core import pod as pods
from api.errors import ApiError
from api.resource import ObjectKey, Resource
from api.selectors import Selector, parse_labels
from client.events import NORMAL, WARNING
from controllers.actions import Emit, update_status
from controllers.autoscaler.asking import FAILURES, Scaled, ask, kind_of
from controllers.autoscaler.limits import Limited, Past, allow
from controllers.autoscaler.usage import CannotTell
from controllers.conditions import with_condition
from controllers.runner import Context, Dialogue, Watch

PERIOD_S = 15.0


@dataclass(slots=True)
class _Look:
    """One look at an autoscaler: its status as it becomes."""

    hpa: HorizontalPodAutoscaler
    context: Context
    status: HorizontalPodAutoscalerStatus
    now: float

    def say(self, type: str, status: bool, reason: str, message: str) -> None:
        """Set a condition."""
        wanted = HorizontalPodAutoscalerCondition(
            type=type, status="True" if status else "False", reason=reason, message=message
        )
        self.status.conditions = with_condition(self.status.conditions, wanted, self.now)

    def warn(self, reason: str, message: str) -> None:
        """Record a warning."""
        self.context.emit(Emit(self.hpa, WARNING, reason, message))


class Autoscaler:
    """Looks at autoscalers, and remembers what it did."""

    def __init__(self) -> None:
        self._past: dict[str, Past] = {}
        self._looked: dict[str, tuple[int, float]] = {}
        """At which generation, and when by the monotonic clock, each was looked at last."""
        self._selectors: dict[ObjectKey, Selector] = {}
        """Which pods each is about, as last seen: nobody can follow two."""

    async def look(self, key: ObjectKey, context: Context) -> float | None:
        """Take one look; returns when to look again."""
        hpa = context.listers[autoscalers.RESOURCE].get(key)
        if hpa is None:
            known = {each.metadata.uid for each in context.listers[autoscalers.RESOURCE].list()}
            self._past = {uid: past for uid, past in self._past.items() if uid in known}
            self._looked = {uid: seen for uid, seen in self._looked.items() if uid in known}
            self._selectors.pop(key, None)
            return None
        uid, generation, at = hpa.metadata.uid, hpa.metadata.generation, context.clock.monotonic()
        seen, before = self._looked.get(uid, (-1, 0.0))
        if seen == generation and at - before < PERIOD_S:
            # Our own writing woke us.
            return before + PERIOD_S - at
        self._looked[uid] = (generation, at)
        look = _Look(hpa, context, msgspec.structs.replace(hpa.status), context.clock.now())
        await self._settle(look)
        patch = update_status(autoscalers.RESOURCE, hpa, look.status)
        if patch is not None:
            await context.client.patch(autoscalers.RESOURCE, key, patch.patch, subresource="status")
        return PERIOD_S

    async def _settle(self, look: _Look) -> None:
        hpa, status = look.hpa, look.status
        past = self._past.setdefault(hpa.metadata.uid, Past())
        past.forget(look.now)
        try:
            handle = _handle(look)
            key = ObjectKey(hpa.metadata.namespace, hpa.spec.scale_target_ref.name)
            scale = await look.context.client.get(handle, key, subresource="scale")
        except ApiError as error:
            look.warn("FailedGetScale", error.message)
            message = f"the HPA controller was unable to get the target's current scale: {error.message}"
            look.say("AbleToScale", False, "FailedGetScale", message)
            return
        look.say(
            "AbleToScale", True, "SucceededGetScale", "the HPA controller was able to get the target's current scale"
        )
        current = scale.spec.replicas
        status.current_replicas = scale.status.replicas
        low, high = hpa.spec.min_replicas or 1, hpa.spec.max_replicas
        if current == 0:
            message = "scaling is disabled since the replica count of the target is zero"
            look.say("ScalingActive", False, "ScalingDisabled", message)
            status.desired_replicas = 0
            return
        why = ""
        if current > high or current < low:
            wanted = max(low, min(high, current))
            why = f"Current number of replicas {'above' if current > high else 'below'} Spec."
            why += "MaxReplicas" if current > high else "MinReplicas"
        else:
            past.begin(current, look.now)
            measured = await self._measure(look, scale, current)
            if measured is None:
                status.desired_replicas = current
                return
            most, metric = measured
            past.wishes.append((look.now, most))
            limited = allow(most, current, (low, high), hpa.spec.behavior, past, look.now)
            _tell_limits(look, limited)
            wanted = limited.replicas
            # What decided is told, not what came of it: growth to which earlier numbers hold back is still growth.
            why = f"{metric} above target" if most > current else "All metrics below target" if most < current else ""
        status.desired_replicas = wanted
        if wanted != current:
            await self._rescale(look, handle, scale, wanted, why, past)

    async def _rescale(
        self, look: _Look, handle: Resource[Scale], scale: Scale, wanted: int, why: str, past: Past
    ) -> None:
        current, scale.spec.replicas = scale.spec.replicas, wanted
        try:
            await look.context.client.update(handle, scale, subresource="scale")
        except ApiError as error:
            look.warn("FailedRescale", f"New size: {wanted}; reason: {why}; error: {error.message}")
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            look.say("AbleToScale", False, "FailedUpdateScale", message)
            look.status.desired_replicas = current
            return
        past.changes.append((look.now, wanted - current))
        look.status.last_scale_time = timestamps.render(look.now)
        look.context.emit(Emit(look.hpa, NORMAL, "SuccessfulRescale", f"New size: {wanted}; reason: {why}"))
        message = f"the HPA controller was able to update the target scale to {wanted}"
        look.say("AbleToScale", True, "SucceededRescale", message)

    async def _measure(self, look: _Look, scale: Scale, current: int) -> tuple[int, str] | None:
        """Return how many pods the target should have, and which metric says so; None, and say why, if none does."""
        text, namespace = scale.status.selector, look.hpa.metadata.namespace
        if not text:
            message = "the HPA target's scale is missing a selector"
            look.warn("SelectorRequired", "selector is required")
            look.say("ScalingActive", False, "InvalidSelector", message)
            look.warn("FailedComputeMetricsReplicas", "selector is required")
            return None
        selector = parse_labels(text)
        self._selectors[ObjectKey(namespace, look.hpa.metadata.name)] = selector
        found = look.context.listers[pods.RESOURCE].list(namespace)
        mine = [pod for pod in found if selector.matches(pod.metadata.labels)]
        followers = sorted(
            f"{key.namespace}/{key.name}"
            for key, other in self._selectors.items()
            if key.namespace == namespace and any(other.matches(pod.metadata.labels) for pod in mine)
        )
        if len(followers) > 1:
            message = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(followers)}]"
            look.warn("AmbiguousSelector", message)
            look.say("ScalingActive", False, "AmbiguousSelector", message)
            look.warn("FailedComputeMetricsReplicas", message)
            return None
        return await _ask_all(look, Scaled(current, scale.status.replicas, text, mine))


def _handle(look: _Look) -> Resource[Scale]:
    """Return the handle of the target's scale; raises NotFound for a kind that nobody serves."""
    target = look.hpa.spec.scale_target_ref
    return dataclasses.replace(kind_of(look.context, target.api_version, target.kind), type=Scale)


async def _ask_all(look: _Look, scaled: Scaled) -> tuple[int, str] | None:
    """Return the highest number that any metric asks for, and its name; None, and say why, if it cannot be told."""
    hpa, current = look.hpa, scaled.wished
    wanted: dict[int, str] = {}
    """The first metric, by its name, that asks for a number."""
    statuses: list[MetricStatus] = []
    failures: list[tuple[str, str]] = []
    for metric in hpa.spec.metrics:
        try:
            wish = await ask(look.context, hpa, metric, scaled, look.now)
        except (ApiError, CannotTell) as error:
            text = error.message if isinstance(error, ApiError) else str(error)
            failures.append((FAILURES.get(metric.type, f"FailedGet{metric.type}Metric"), text))
            look.warn(*failures[-1])
            statuses.append(MetricStatus())
            continue
        wanted.setdefault(wish.replicas, wish.name)
        statuses.append(wish.status)
    most = max(wanted, default=current)
    reason, text = failures[0] if failures else ("InvalidMetricSourceType", "there is nothing to measure")
    # Fewer pods are not asked for while a metric is missing: it might ask for more.
    if not wanted or (failures and most < current):
        count = f"invalid metrics ({len(failures)} invalid out of {len(hpa.spec.metrics)}), first error is"
        look.warn("FailedComputeMetricsReplicas", f"{count}: {text}")
        look.say("ScalingActive", False, reason, f"the HPA was unable to compute the replica count: {text}")
        return None
    look.status.current_metrics = statuses
    message = f"the HPA was able to successfully calculate a replica count from {wanted[most]}"
    look.say("ScalingActive", True, "ValidMetricFound", message)
    return most, wanted[most]


def _tell_limits(look: _Look, limited: Limited) -> None:
    if limited.is_stabilized:
        way = "higher" if limited.is_stabilized == "ScaleDownStabilized" else "lower"
        end = "highest" if way == "higher" else "lowest"
        message = f"recent recommendations were {way} than current one, applying the {end} recent recommendation"
        look.say("AbleToScale", True, limited.is_stabilized, message)
    else:
        look.say("AbleToScale", True, "ReadyForNewScale", "recommended size matches current size")
    if limited.limit is not None:
        look.say("ScalingLimited", True, *limited.limit)
    else:
        message = "the desired count is within the acceptable range"
        look.say("ScalingLimited", False, "DesiredWithinRange", message)


def controller() -> Dialogue[HorizontalPodAutoscaler]:
    """Return the controller, with a memory of its own."""
    return Dialogue(
        name="horizontal-pod-autoscaler",
        resource=autoscalers.RESOURCE,
        reconcile=Autoscaler().look,
        watches=(Watch(resource=pods.RESOURCE), Watch(resource=definitions.RESOURCE)),
    )
