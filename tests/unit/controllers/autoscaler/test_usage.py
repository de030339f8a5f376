from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api import timestamps
from api.core.pod import Pod
from controllers.autoscaler.metrics import PodMetrics, duration_s, measures_of, why_unusable
from controllers.autoscaler.usage import (
    CannotTell,
    Measure,
    Target,
    compute_replicas,
    replicas_for_average,
    replicas_for_value,
)

NOW = timestamps.parse("2024-01-02T00:00:00Z")
HALF = Target(percent=50)


def pod(name: str, *, phase: str = "Running", ready: str = "True", request: str | None = "100m", **more: Any) -> Pod:
    since = more.pop("since", "2024-01-01T00:01:00Z")
    resources = {"requests": {"cpu": request}} if request else {}
    body = {
        "metadata": {"name": name, **more},
        "spec": {"containers": [{"name": "c", "resources": resources}]},
        "status": {
            "phase": phase,
            "startTime": more.get("startTime", "2024-01-01T00:00:00Z"),
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
        },
    }
    return msgspec.convert(body, Pod)


def used(**millis: int) -> dict[str, Measure]:
    return {name: Measure(amount, NOW, 30.0) for name, amount in millis.items()}


def replicas(current: int, pods: list[Pod], target: Target = HALF, **millis: int) -> int:
    return compute_replicas(current, "cpu", target, pods, used(**millis), NOW).replicas


def test_pods_follow_usage_in_proportion_within_a_tolerance_of_a_tenth():
    two = [pod("a"), pod("b")]
    assert replicas(2, two, a=100, b=100) == 4
    assert replicas(2, two, a=54, b=54) == 2
    assert replicas(2, two, a=56, b=56) == 3
    assert replicas(2, two, a=20, b=20) == 1
    assert replicas(2, two, Target(millis=50), a=100, b=100) == 4


def test_pods_without_a_measure_never_make_the_change_larger():
    three = [pod("a"), pod("b"), pod("c")]
    assert replicas(3, three, a=100, b=100) == 4
    assert replicas(3, three, a=10, b=10) == 3
    assert replicas(3, three, a=50, b=50) == 3


def test_pods_that_are_not_ready_count_for_nothing_when_more_are_asked_for():
    pods = [pod("a"), pod("b", phase="Pending")]
    assert replicas(2, pods, a=150) == 3
    assert replicas(2, pods, a=90) == 2


def test_a_pod_that_starts_is_not_measured_yet():
    young = pod("b", since="2024-01-01T23:59:50Z")
    young.status.start_time = "2024-01-01T23:59:00Z"
    assert replicas(2, [pod("a"), young], a=25, b=1000) == 1


def test_pods_that_failed_or_leave_are_left_out():
    pods = [pod("a"), pod("b", phase="Failed"), pod("c", deletionTimestamp="2024-01-01T00:00:00Z")]
    assert replicas(1, pods, a=100, b=1000, c=1000) == 2


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ([], "no pods returned by selector"),
        ([pod("x")], "did not receive metrics for targeted pods"),
        ([pod("a", request=None)], "missing request for cpu in container c of Pod a"),
    ],
)
def test_what_cannot_be_told_is_said(pods: list[Pod], why: str):
    with pytest.raises(CannotTell, match=why):
        replicas(1, pods, a=10)


def test_measures_are_read_as_metrics_servers_write_them():
    containers = [{"name": "c", "usage": {"cpu": "250m"}}, {"name": "d", "usage": {"cpu": "1"}}]
    body = {
        "metadata": {"name": "a"},
        "timestamp": "2024-01-02T00:00:00Z",
        "window": "1m0.5s",
        "containers": containers,
    }
    found = [msgspec.convert(body, PodMetrics)]
    assert measures_of(found, "cpu") == {"a": Measure(1250, NOW, 60.5)}
    assert measures_of(found, "cpu", "d")["a"].millis == 1000
    assert measures_of(found, "memory") == {}
    assert duration_s("15s") == 15


def test_no_measures_at_all_and_a_container_that_is_not_measured_are_told_apart():
    assert why_unusable([], "c") == "no metrics returned from resource metrics API"
    body = {"metadata": {"namespace": "x", "name": "a"}, "containers": [{"name": "c", "usage": {}}]}
    found = [msgspec.convert(body, PodMetrics)]
    assert why_unusable(found) == why_unusable(found, "c") == ""
    missing = "failed to get container metrics: container d not present in metrics for pod x/a"
    assert why_unusable(found, "d") == missing


def test_a_measure_of_all_pods_together_scales_those_that_are_ready():
    assert replicas_for_value(2, 2, 300, 100) == 6
    assert replicas_for_value(2, 1, 300, 100) == 3
    assert replicas_for_value(4, 4, 105, 100) == 4
    assert replicas_for_value(0, 0, 250, 100) == 3


def test_a_measure_shared_out_among_pods_asks_for_enough_of_them():
    assert replicas_for_average(2, 1000, 100) == (10, 500)
    assert replicas_for_average(10, 1050, 100) == (10, 105)
    assert replicas_for_average(0, 150, 100) == (2, 0)
