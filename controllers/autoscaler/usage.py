"""How many pods follow from what pods use of a resource, beside what they request. Pure.

Pods that have no measure yet, or are not ready yet, must not make the number swing: where they count, they count for
what makes the change smaller ("Algorithm details", Horizontal Pod Autoscaling in Kubernetes' documentation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api import quantity, timestamps
from api.core.pod import Pod
from controllers.pods import condition_of

TOLERANCE = 0.1
INITIALIZATION_S = 300.0
READINESS_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Measure:
    """What a pod used, in thousandths, and when and over how long that was measured."""

    millis: int
    at: float
    window_s: float


@dataclass(frozen=True, slots=True)
class Target:
    """What usage should be: a share of the requests in percent, or an amount of each pod in thousandths."""

    percent: int | None = None
    millis: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How many pods there should be, and what was measured."""

    replicas: int
    average_millis: int
    percent: int | None


class CannotTell(Exception):
    """The number does not follow from what is known; the text says why."""


def compute_replicas(
    current: int,
    resource: str,
    target: Target,
    pods: Sequence[Pod],
    measures: Mapping[str, Measure],
    now: float,
    container: str = "",
) -> Answer:
    """Return how many pods there should be.

    Args:
        current: how many the target has.
        resource: cpu or memory.
        target: what usage should be.
        pods: the target's.
        measures: by pod name.
        now: seconds since the epoch.
        container: whose requests count; empty for all of a pod's.

    Raises:
        CannotTell: no pod was measured, or one requests nothing of the resource.
    """
    if not pods:
        raise CannotTell("no pods returned by selector while calculating replica count")
    counted = [p for p in pods if not p.metadata.deletion_timestamp and p.status.phase != "Failed"]
    missing = [p for p in counted if p.status.phase != "Pending" and p.metadata.name not in measures]
    unready = [p for p in counted if _is_unready(p, resource, measures.get(p.metadata.name), now)]
    quiet = {p.metadata.name for p in (*missing, *unready)}
    usage = {p.metadata.name: measures[p.metadata.name].millis for p in counted if p.metadata.name not in quiet}
    if not usage:
        raise CannotTell("did not receive metrics for targeted pods (pods might be unready)")
    requests = (
        {p.metadata.name: _request(p, resource, container) for p in counted} if target.percent is not None else {}
    )
    ratio, percent = _ratio(usage, requests, target)
    answer = Answer(current, sum(usage.values()) // len(usage), percent)
    if not missing and not (unready and ratio > 1):
        return _scaled(answer, current, ratio, len(usage))
    for pod in missing:
        # Less than all is assumed of nobody when pods would go, nothing of anybody when pods would come.
        wanted = _wanted_of(pod.metadata.name, requests, target)
        if ratio < 1:
            usage[pod.metadata.name] = wanted
        elif ratio > 1:
            usage[pod.metadata.name] = 0
    if ratio > 1:
        usage |= {pod.metadata.name: 0 for pod in unready}
    new_ratio, _ = _ratio(usage, requests, target)
    if (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio):
        return answer
    scaled = _scaled(answer, current, new_ratio, len(usage))
    is_backwards = (new_ratio < 1 and scaled.replicas > current) or (new_ratio > 1 and scaled.replicas < current)
    return answer if is_backwards else scaled


def replicas_for_value(wished: int, ready: int, measured: int, target: int) -> int:
    """Return how many pods there should be for a measure that they bring down together to `target`."""
    ratio = measured / target
    if wished == 0:
        return math.ceil(ratio)
    return wished if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * ready)


def replicas_for_average(present: int, measured: int, target: int) -> tuple[int, int]:
    """Return how many pods there should be for each to have `target` of a measure; and what each has now."""
    each = math.ceil(measured / present) if present else 0
    if present and abs(1 - measured / (target * present)) <= TOLERANCE:
        return present, each
    return math.ceil(measured / target), each


def count_ready(pods: Sequence[Pod]) -> int:
    """Return how many pods are ready; raises CannotTell where there is none at all."""
    if not pods:
        raise CannotTell("no pods returned by selector while calculating replica count")
    running = (pod for pod in pods if pod.status.phase == "Running")
    return sum(1 for pod in running if (ready := condition_of(pod, "Ready")) is not None and ready.status == "True")


def _wanted_of(name: str, requests: Mapping[str, int], target: Target) -> int:
    if target.percent is not None:
        return requests[name] * max(100, target.percent) // 100
    return target.millis or 0


def _ratio(usage: Mapping[str, int], requests: Mapping[str, int], target: Target) -> tuple[float, int | None]:
    """Return usage as a share of the target, and in percent of requests."""
    if target.percent is not None:
        requested = sum(requests[name] for name in usage)
        percent = sum(usage.values()) * 100 // requested
        return percent / target.percent, percent
    return sum(usage.values()) / len(usage) / (target.millis or 1), None


def _scaled(answer: Answer, current: int, ratio: float, count: int) -> Answer:
    if abs(1 - ratio) <= TOLERANCE:
        return answer
    return Answer(math.ceil(ratio * count), answer.average_millis, answer.percent)


def _request(pod: Pod, resource: str, only: str) -> int:
    total = 0
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    for container in (*pod.spec.containers, *sidecars):
        if only not in ("", container.name):
            continue
        amount = container.resources.requests.get(resource)
        if amount is None:
            raise CannotTell(f"missing request for {resource} in container {container.name} of Pod {pod.metadata.name}")
        total += quantity.millis(amount)
    if not total:
        raise CannotTell(f"no request for {resource} in Pod {pod.metadata.name}")
    return total


def _is_unready(pod: Pod, resource: str, measure: Measure | None, now: float) -> bool:
    """Return whether a pod's usage says nothing yet: what starts uses CPU that it will not use later."""
    if pod.status.phase == "Pending":
        return True
    if measure is None or resource != "cpu":
        return False
    ready = condition_of(pod, "Ready")
    if ready is None or not pod.status.start_time:
        return True
    started = timestamps.parse(pod.status.start_time)
    since = timestamps.parse(ready.last_transition_time) if ready.last_transition_time else started
    if started + INITIALIZATION_S > now:
        return ready.status == "False" or measure.at < since + measure.window_s
    return ready.status == "False" and started + READINESS_DELAY_S > since
