import json
from pathlib import Path

import pytest

from lab.chaos.schedule import BY_NAME, FAULTS
from lab.chaos.verdict import RoundReport, Run, judge, progress_line, show


def a_round(fault: str, number: int = 0, findings: tuple[str, ...] = (), **effects: int) -> RoundReport:
    named = {name.replace("_", " "): count for name, count in effects.items()}
    return RoundReport(number, fault, 1.0, 100, 2, 3, 50, 0.5, named, findings)


def seen(fault: str, number: int = 0) -> RoundReport:
    effects = {str(effect): 1 for effect in BY_NAME[fault].effects}
    return RoundReport(number, fault, 1.0, 100, 2, 3, 50, 0.5, effects, ())


def test_a_run_is_clean_when_every_fault_had_its_effects_and_nothing_was_found():
    verdict = judge([seen(fault.name) for fault in FAULTS], FAULTS)
    assert (verdict.is_clean, verdict.findings, verdict.missing, verdict.not_run) == (True, (), (), ())


def test_a_fault_without_effect_spoils_the_run():
    verdict = judge([a_round("torn-tail", members_died_of_a_signal=1)], FAULTS)
    assert not verdict.is_clean
    assert verdict.missing == ("torn-tail: no log tails dropped seen",)


def test_an_effect_seen_in_any_round_of_its_fault_is_enough():
    rounds = [a_round("torn-tail", 0, members_died_of_a_signal=1), seen("torn-tail", 1)]
    assert judge(rounds, FAULTS).is_clean


def test_a_finding_spoils_the_run_and_names_its_round():
    verdict = judge([a_round("kill-follower", 4, ("acknowledged and lost: x",), members_died_of_a_signal=1)], FAULTS)
    assert verdict.findings == ("round 4 (kill-follower): acknowledged and lost: x",)
    assert not verdict.is_clean


def test_faults_that_did_not_come_up_are_named_and_a_run_without_rounds_proves_nothing():
    assert "kill-all" in judge([seen("kill-leader")], FAULTS).not_run
    assert not judge([], FAULTS).is_clean


def test_a_run_is_taken_up_from_its_file(tmp_path: Path):
    run = Run("steer-store", 3, 7, [seen("kill-leader"), seen("kill-all", 1)])
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == run
    (tmp_path / "run.json").write_text('{"rounds": 3}')
    with pytest.raises(ValueError, match="is not the file of a run"):
        Run.load(tmp_path / "run.json")


def test_the_verdict_is_printed_as_json_with_every_round(capsys: pytest.CaptureFixture[str]):
    run = Run("steer-store", 3, 7, [seen("kill-leader")])
    show(run, judge(run.rounds, FAULTS), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"]["is_clean"] is True
    assert shown["rounds"][0]["fault"] == "kill-leader"
    assert "terms advanced 1: ok" in progress_line(run.rounds[0], 20)
