from __future__ import annotations

import msgspec

from lab.chaos.effects import Effect
from lab.chaos.history import Call, Kind, Outcome
from lab.chaos.machines.faults import INJECTIONS
from lab.chaos.machines.load import KUBECTL
from lab.chaos.machines.report import write_up
from lab.chaos.machines.rounds import first_by_kubectl
from lab.chaos.machines.scenarios import BY_NAME, LEAVES_MAJORITY, SCENARIOS
from lab.chaos.machines.site import crowd
from lab.chaos.schedule import FAULTS, draw
from lab.chaos.verdict import RoundReport, Run, judge


def round_report(fault: str, effects: dict[str, int], *findings: str) -> RoundReport:
    return RoundReport(0, fault, 30.0, 900, 3, 2, 200, 1.25, effects, findings)


def test_every_scenario_has_a_name_of_its_own_effects_and_a_way_to_do_it():
    names = [each.name for each in (*SCENARIOS, *FAULTS)]
    assert len(names) == len(set(names))
    assert set(INJECTIONS) == set(BY_NAME)
    assert all(each.effects for each in SCENARIOS)
    assert set(BY_NAME) >= LEAVES_MAJORITY


def test_a_seed_repeats_the_schedule_and_every_scenario_comes_once_before_any_comes_twice():
    drawn = [draw(7, number, SCENARIOS) for number in range(len(SCENARIOS))]
    assert drawn == [draw(7, number, SCENARIOS) for number in range(len(SCENARIOS))]
    assert {each.fault.name for each in drawn} == set(BY_NAME)


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


def test_the_report_adds_runs_up_and_says_which_builds_ran_when():
    measured = msgspec.structs.replace(
        round_report("power-cut", {Effect.MACHINES_BOOTED: 1}),
        build="0.1.0-abc", began_at=1_795_000_000.0, failover="fast", acknowledged=500, not_acknowledged=4,
        requests=300, requests_failed=7,
        figures={"endpoints of a lost machine gone": 11.5, "first kubectl done that began": 0.9},
    )  # fmt: skip
    text = write_up([Run("lab", 3, 1, [measured]), Run("lab", 3, 2, [measured])], [], "A remark.")
    assert "Together: 2 rounds in 0.02 hours, 1800 calls (6 with unknown outcome), 1000 writes acknowledged" in text
    assert "\nA remark.\n" in text
    assert "## 3 machines of a lab, seed 2, failover fast" in text
    assert "- build 0.1.0-abc: 1 rounds, 0.01 hours, begun from 2026-11-18 11:06 to 2026-11-18 11:06 UTC" in text
    assert "| endpoints of a lost machine gone | 1 | 11.50 s, 11.50 s |" in text
    assert "| first kubectl done that began, where a machine was lost | 1 | 0.90 s, 0.90 s |" in text


def test_kubectl_works_again_when_one_that_began_after_the_blow_is_done():
    def kubectl(invoked: float, returned: float, outcome: Outcome = Outcome.OK) -> Call:
        return Call(KUBECTL, "kubectl", Kind.PUT, "k", invoked, "v", returned=returned, outcome=outcome)

    ledger = [kubectl(9.5, 10.2), kubectl(10.5, 11.0, Outcome.UNKNOWN), kubectl(12.0, 12.5), kubectl(13.0, 13.2)]
    assert first_by_kubectl(ledger, 10.0) == 2.5
    assert first_by_kubectl(ledger[:2], 10.0) is None


def test_pods_that_crowd_on_one_machine_are_told_to_move_and_no_others():
    machines = ["m1", "m2", "m3"]
    assert crowd({"a": "m1", "b": "m2", "c": "m3"}, machines) == []
    assert crowd({"a": "m3", "b": "m2", "c": "m3"}, machines) == ["c"]
    assert crowd({"a": "m3", "b": "m3", "c": "m3"}, machines) == ["c", "b"]
    assert crowd({"a": "m3", "b": "m2"}, machines) == [], "fewer pods than machines, and nobody shares"
