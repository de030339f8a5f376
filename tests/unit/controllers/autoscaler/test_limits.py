from __future__ import annotations

from typing import Any

import msgspec

from api.autoscaling.v2.horizontalpodautoscaler import HorizontalPodAutoscalerBehavior
from controllers.autoscaler.limits import Limited, Past, allow

NOW = 10_000.0


def limited(wanted: int, current: int, past: Past | None = None, behavior: Any = None, **bounds: int) -> Limited:
    past = past or Past()
    past.wishes.append((NOW, wanted))
    rules = msgspec.convert(behavior, HorizontalPodAutoscalerBehavior) if behavior else None
    return allow(wanted, current, (bounds.get("low", 1), bounds.get("high", 100)), rules, past, NOW)


def policy(kind: str, value: int, period_s: int = 60) -> dict[str, Any]:
    return {"type": kind, "value": value, "periodSeconds": period_s}


def test_growth_is_at_most_twofold_or_four_pods_in_fifteen_seconds():
    assert limited(50, 1).replicas == 5
    assert limited(50, 10).replicas == 20
    assert limited(50, 10).limit == (
        "ScaleUpLimit",
        "the desired replica count is increasing faster than the maximum scale rate",
    )
    assert limited(50, 10, Past(changes=[(NOW - 5, 5)])).replicas == 10
    assert limited(50, 10, Past(changes=[(NOW - 20, 5)])).replicas == 20


def test_bounds_hold_and_are_said():
    over, under = limited(50, 10, high=15), limited(0, 10, low=2)
    assert (over.replicas, over.limit and over.limit[0]) == (15, "TooManyReplicas")
    assert (under.replicas, under.limit and under.limit[0]) == (2, "TooFewReplicas")


def test_shrinking_waits_until_five_minutes_of_recommendations_agree():
    recent = limited(2, 10, Past(wishes=[(NOW - 200, 8)]))
    assert (recent.replicas, recent.is_stabilized) == (8, "ScaleDownStabilized")
    assert limited(2, 10, Past(wishes=[(NOW - 301, 8)])).replicas == 2


def test_who_has_just_begun_does_not_shrink_for_five_minutes():
    past = Past()
    past.begin(10, NOW - 200)
    past.begin(3, NOW - 100)
    assert limited(2, 10, past).replicas == 10
    past = Past()
    past.begin(10, NOW - 301)
    assert limited(2, 10, past).replicas == 2


def test_policies_and_windows_of_its_own():
    slow = {"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [policy("Pods", 1)]}}
    assert limited(2, 10, behavior=slow).replicas == 9
    assert limited(2, 9, Past(changes=[(NOW - 30, -1)]), slow).replicas == 9
    both = [policy("Pods", 2), policy("Percent", 50)]
    least = {"scaleUp": {"selectPolicy": "Min", "stabilizationWindowSeconds": 60, "policies": both}}
    assert limited(40, 10, behavior=least).replicas == 12
    held = limited(40, 10, Past(wishes=[(NOW - 30, 11)]), least)
    assert (held.replicas, held.is_stabilized) == (11, "ScaleUpStabilized")
    off = {"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled", "policies": both}}
    assert limited(2, 10, behavior=off).replicas == 10


def test_what_nobody_can_ask_about_is_forgotten():
    past = Past(wishes=[(NOW - 4000, 3), (NOW, 4)], changes=[(NOW - 4000, 1)])
    past.forget(NOW)
    assert past == Past(wishes=[(NOW, 4)])
