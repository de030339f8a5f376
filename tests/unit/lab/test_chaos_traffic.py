"""Which failed requests to a Service are held against the cluster."""

from __future__ import annotations

import pytest

from lab.chaos.machines.traffic import Blow, Ready, Request, Traffic, first_without, is_gone, judge

POD_OF_M1, POD_OF_M2 = "10.244.0.5", "10.244.1.6"
BLOW = Blow(frozenset({"m1"}), struck=100.0, healed=200.0)


def traffic(*requests: Request, ready: tuple[Ready, ...] = ()) -> Traffic:
    made = Traffic(None, None)  # type: ignore[arg-type]
    made._pods_of = {"10.244.0.0/24": "m1", "10.244.1.0/24": "m2"}
    made.requests, made.ready = list(requests), list(ready)
    return made


def both_until(last: float, *, then: frozenset[str], to: float) -> tuple[Ready, ...]:
    both = frozenset({POD_OF_M1, POD_OF_M2})
    return tuple(Ready(at / 2, both if at / 2 <= last else then) for at in range(180, int(to * 2)))


def test_a_request_that_failed_is_a_finding_where_the_fault_takes_no_pods():
    failed = Request("m2", 120.0, "TimeoutError", POD_OF_M1)
    (finding,) = judge(traffic(Request("m2", 119.0), failed), Blow(frozenset(), 100.0, 200.0))
    assert "1 of 2 requests to the Service failed though the fault takes no pods" in finding
    assert "+20.0 s after the fault struck, TimeoutError" in finding


@pytest.mark.parametrize(
    "request_",
    [Request("m2", 98.5, "TimeoutError", POD_OF_M1), Request("m1", 120.0, "OSError"), Request("m2", 120.0)],
    ids=["to a pod that was lost, sent just before", "by a machine that was hit", "answered"],
)
def test_a_request_may_fail_that_the_fault_hit(request_: Request):
    assert judge(traffic(request_), BLOW) == []


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request("m2", 97.0, "TimeoutError", POD_OF_M1), "not while the fault lasted"),
        (Request("m2", 201.0, "TimeoutError", POD_OF_M1), "not while the fault lasted"),
        (Request("m2", 120.0, "TimeoutError", POD_OF_M2), "a pod of m2, which the fault left alone"),
        (Request("m2", 120.0, "ConnectionRefusedError"), "it was sent to no pod"),
    ],
)
def test_every_other_failure_is_a_finding(request_: Request, why: str):
    (finding,) = judge(traffic(request_), BLOW)
    assert why in finding


def test_a_request_to_an_endpoint_that_had_been_gone_is_a_finding():
    ready = both_until(140.0, then=frozenset({POD_OF_M2}), to=200.0)
    early, late = (Request("m2", at, "TimeoutError", POD_OF_M1) for at in (142.0, 145.0))
    assert judge(traffic(early, ready=ready), BLOW) == []
    (finding,) = judge(traffic(early, late, ready=ready), BLOW)
    assert "1 of 2 requests to the Service failed though the endpoint that it was sent to had been gone" in finding


def test_what_the_api_did_not_say_counts_for_nothing():
    ready = both_until(140.0, then=frozenset({POD_OF_M2}), to=140.5)
    assert not is_gone(POD_OF_M1, 180.0, ready)


def test_an_endpoint_that_came_back_is_not_gone():
    gone = Ready(110.0, frozenset({POD_OF_M2}))
    assert is_gone(POD_OF_M1, 120.0, [gone])
    assert not is_gone(POD_OF_M1, 120.0, [gone, Ready(119.0, frozenset({POD_OF_M1}))])


def test_it_is_known_when_a_lost_machine_had_no_endpoint_any_more():
    with_both = traffic(ready=both_until(140.0, then=frozenset({POD_OF_M2}), to=150.0))
    assert first_without({"m1"}, 100.0, with_both) == 40.5
    assert first_without({"m2"}, 100.0, with_both) is None


def test_a_round_without_traffic_proves_nothing_about_it():
    assert judge(traffic(), BLOW) == ["no request to the Service was made"]
