from __future__ import annotations

from lab.chaos.effects import Effect
from lab.chaos.machines.faults import INJECTIONS
from lab.chaos.machines.load import Request
from lab.chaos.machines.report import write_up
from lab.chaos.machines.rounds import judge_traffic
from lab.chaos.machines.scenarios import BY_NAME, LEAVES_MAJORITY, LOSES_PODS, SCENARIOS
from lab.chaos.schedule import FAULTS, draw
from lab.chaos.verdict import RoundReport, Run, judge


def round_report(fault: str, effects: dict[str, int], *findings: str) -> RoundReport:
    return RoundReport(0, fault, 30.0, 900, 3, 2, 200, 1.25, effects, findings)


def test_every_scenario_has_a_name_of_its_own_effects_and_a_way_to_do_it():
    names = [each.name for each in (*SCENARIOS, *FAULTS)]
    assert len(names) == len(set(names))
    assert set(INJECTIONS) == set(BY_NAME)
    assert all(each.effects for each in SCENARIOS)
    assert set(BY_NAME) >= LOSES_PODS | LEAVES_MAJORITY


def test_a_seed_repeats_the_schedule_and_every_scenario_comes_once_before_any_comes_twice():
    drawn = [draw(7, number, SCENARIOS) for number in range(len(SCENARIOS))]
    assert drawn == [draw(7, number, SCENARIOS) for number in range(len(SCENARIOS))]
    assert {each.fault.name for each in drawn} == set(BY_NAME)


def test_a_failed_request_is_a_finding_where_the_fault_takes_no_pods():
    requests = [Request("m1", 10.0, ""), Request("m1", 12.0, "ConnectionRefusedError")]
    (finding,) = judge_traffic(requests, "hang-apiserver", 11.0, 20.0)
    assert "1 of 2 requests to the Service failed, though the fault takes no pods" in finding


def test_where_a_fault_takes_pods_requests_may_fail_while_it_lasts_and_at_no_other_time():
    during, after = Request("m1", 12.0, "TimeoutError"), Request("m1", 21.0, "TimeoutError")
    assert judge_traffic([during], "power-cut", 11.0, 20.0) == []
    (finding,) = judge_traffic([during, after], "power-cut", 11.0, 20.0)
    assert "+10.0 s after the fault struck" in finding


def test_a_round_without_traffic_proves_nothing_about_it():
    assert judge_traffic([], "hang-apiserver", 1.0, 2.0) == ["no request to the Service was made"]


def test_a_fault_without_its_effect_makes_a_run_unclean():
    fault = BY_NAME["hang-apiserver"]
    assert judge([round_report(fault.name, {Effect.PAUSES_SEEN: 1})], [fault]).is_clean
    verdict = judge([round_report(fault.name, {})], [fault])
    assert not verdict.is_clean
    assert verdict.missing == ("hang-apiserver: no members seen not to run seen",)


def test_the_report_says_what_was_found_and_how_long_writes_were_silent():
    run = Run("lab", 3, 42, [round_report("power-cut", {Effect.MACHINES_BOOTED: 1}, "acknowledged and lost: x")])
    text = write_up([run], ["steer chaos machines --seed 42"])
    assert "**Not clean**: 1 rounds" in text
    assert "| power-cut: the power of one machine cut | 1 | 1.25 s, 1.25 s | machines booted 1 |" in text
    assert "- round 0 (power-cut): acknowledged and lost: x" in text
    assert "steer chaos machines --seed 42" in text
