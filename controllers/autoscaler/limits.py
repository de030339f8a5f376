"""How far and how fast the number of pods may change: bounds, stabilization and policies (KEP-853). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from api.autoscaling.v2.horizontalpodautoscaler import (
    HorizontalPodAutoscalerBehavior,
    HPAScalingPolicy,
    HPAScalingRules,
)

DOWN_WINDOW_S = 300
_UP = HPAScalingRules(
    stabilization_window_seconds=0,
    select_policy="Max",
    policies=[
        HPAScalingPolicy(type="Pods", value=4, period_seconds=15),
        HPAScalingPolicy(type="Percent", value=100, period_seconds=15),
    ],
)
_DOWN = HPAScalingRules(select_policy="Max", policies=[HPAScalingPolicy(type="Percent", value=100, period_seconds=15)])
_LONGEST_S = 3600.0


@dataclass(slots=True)
class Past:
    """What is remembered of one autoscaler, for as long as a window or policy can ask about."""

    wishes: list[tuple[float, int]] = field(default_factory=list)
    """When how many pods were recommended."""
    changes: list[tuple[float, int]] = field(default_factory=list)
    """When how many pods were added, or taken away."""
    has_begun: bool = False

    def begin(self, current: int, now: float) -> None:
        """Take what there is for the first recommendation: who has just begun does not know that fewer would do."""
        if not self.has_begun:
            self.wishes.append((now, current))
        self.has_begun = True

    def forget(self, now: float) -> None:
        """Drop what nobody can ask about any more."""
        self.wishes = [each for each in self.wishes if now - each[0] <= _LONGEST_S]
        self.changes = [each for each in self.changes if now - each[0] <= _LONGEST_S]


@dataclass(frozen=True, slots=True)
class Limited:
    """The number that is allowed, and what held it back: a reason and a message for a condition."""

    replicas: int
    is_stabilized: str = ""
    """ScaleUpStabilized or ScaleDownStabilized if earlier recommendations decided."""
    limit: tuple[str, str] | None = None


def allow(
    wanted: int,
    current: int,
    bounds: tuple[int, int],
    behavior: HorizontalPodAutoscalerBehavior | None,
    past: Past,
    now: float,
) -> Limited:
    """Return the number nearest to `wanted` that bounds, windows and policies allow. `past` knows `wanted` already."""
    low, high = bounds
    up = behavior.scale_up if behavior is not None and behavior.scale_up is not None else _UP
    down = behavior.scale_down if behavior is not None and behavior.scale_down is not None else _DOWN
    steady = _stabilized(wanted, current, up, down, past, now)
    said = "" if steady == wanted else "ScaleUpStabilized" if steady < wanted else "ScaleDownStabilized"
    if steady > current:
        ceiling = _ceiling(current, up, past, now)
        if steady > min(ceiling, high):
            if ceiling < high:
                message = "the desired replica count is increasing faster than the maximum scale rate"
                return Limited(max(ceiling, current), said, ("ScaleUpLimit", message))
            message = "the desired replica count is more than the maximum replica count"
            return Limited(high, said, ("TooManyReplicas", message))
    elif steady < current:
        floor = _floor(current, down, past, now)
        if steady < max(floor, low):
            if floor > low:
                message = "the desired replica count is decreasing faster than the maximum scale rate"
                return Limited(min(floor, current), said, ("ScaleDownLimit", message))
            message = "the desired replica count is less than the minimum replica count"
            return Limited(low, said, ("TooFewReplicas", message))
    return Limited(steady, said)


def _stabilized(wanted: int, current: int, up: HPAScalingRules, down: HPAScalingRules, past: Past, now: float) -> int:
    """Go up only as far as all recent recommendations, and down only as far as none of them."""
    down_window = down.stabilization_window_seconds
    down_window = DOWN_WINDOW_S if down_window is None else down_window
    ceiling = min([wanted, *_since(past.wishes, now - (up.stabilization_window_seconds or 0))])
    floor = max([wanted, *_since(past.wishes, now - down_window)])
    return max(min(current, floor), ceiling)


def _since(noted: Iterable[tuple[float, int]], then: float) -> list[int]:
    return [count for at, count in noted if at > then]


def _changed(changes: Sequence[tuple[float, int]], period_s: float, now: float, sign: int) -> int:
    return sum(count * sign for count in _since(changes, now - period_s) if count * sign > 0)


def _ceiling(current: int, rules: HPAScalingRules, past: Past, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    allowed = []
    for policy in rules.policies:
        before = current - _changed(past.changes, policy.period_seconds, now, 1)
        grown = before + policy.value if policy.type == "Pods" else -(-before * (100 + policy.value) // 100)
        allowed.append(grown)
    return min(allowed) if rules.select_policy == "Min" else max(allowed)


def _floor(current: int, rules: HPAScalingRules, past: Past, now: float) -> int:
    if rules.select_policy == "Disabled":
        return current
    allowed = []
    for policy in rules.policies:
        before = current + _changed(past.changes, policy.period_seconds, now, -1)
        shrunk = before - policy.value if policy.type == "Pods" else before * (100 - policy.value) // 100
        allowed.append(shrunk)
    return max(allowed) if rules.select_policy == "Min" else min(allowed)
