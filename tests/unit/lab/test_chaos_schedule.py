import json

import pytest

from lab.chaos import faults as injections
from lab.chaos.effects import Effect, Sample, from_logs, from_samples, parse_metrics
from lab.chaos.schedule import FAULTS, draw, possible

EVERYTHING = {"network", "disk", "time", "cluster"}


def test_a_seed_repeats_its_schedule_from_any_round():
    whole = [draw(7, number, FAULTS) for number in range(50)]
    assert whole == [draw(7, number, FAULTS) for number in range(50)]
    assert draw(7, 33, FAULTS) == whole[33]
    assert whole != [draw(8, number, FAULTS) for number in range(50)]


def test_every_fault_comes_up_once_before_any_comes_again():
    first = [draw(1, number, FAULTS).fault.name for number in range(len(FAULTS))]
    second = [draw(1, number + len(FAULTS), FAULTS).fault.name for number in range(len(FAULTS))]
    assert sorted(first) == sorted(second) == sorted(fault.name for fault in FAULTS)
    assert first != second


def test_faults_whose_needs_are_not_met_are_left_out():
    assert possible(EVERYTHING) == FAULTS
    names = {fault.name for fault in possible({"cluster"})}
    assert "kill-leader" in names and "cut-leader" not in names and "full-disk" not in names
    assert "kill-follower" not in {fault.name for fault in possible(set())}


def test_a_wrong_name_says_which_there_are_and_an_impossible_one_what_it_needs():
    with pytest.raises(ValueError, match="no fault is called 'meteor'; there are kill-leader"):
        possible(EVERYTHING, ["meteor"])
    with pytest.raises(ValueError, match="cut-leader needs what there is not here: network"):
        possible({"cluster"}, ["cut-leader"])


def test_every_fault_has_an_injection_and_an_effect():
    assert all(fault.effects for fault in FAULTS)
    assert [fault.name for fault in FAULTS if fault.name not in injections.INJECTIONS] == []


# -- effects


def test_effects_are_read_from_members_logs():
    lines = [
        json.dumps({"msg": "dropped the torn end of the log: it was never acknowledged", "dropped_bytes": "9"}),
        json.dumps({"msg": "serving"}),
        "Traceback (most recent call last):",
        "7",
    ]
    assert dict(from_logs(lines)) == {Effect.TAILS_DROPPED: 1}


def test_lost_leaderships_terms_and_stragglers_are_seen_in_samples():
    rounds = [
        {"a": Sample("a", 2, 1, 100), "b": Sample("b", 2, 1, 100)},
        {"a": Sample("a", 2, 1, 300), "b": Sample("b", 2, 1, 100)},
        {"a": Sample("a", 2, 1, 500), "b": Sample("b", 2, 1, 100)},
        {"b": Sample("b", 5, 2, 500)},
        {"a": Sample("a", 2, 1, 500), "b": Sample("b", 5, 2, 500)},
    ]
    seen = from_samples(rounds, behind_min=50)
    assert dict(seen) == {Effect.FELL_BEHIND: 1, Effect.TERMS_ADVANCED: 3, Effect.LEADERSHIPS_LOST: 1}


def test_compactions_are_seen_in_samples():
    rounds = [{"a": Sample("a", 1, 1, compact_revision=revision)} for revision in (5, 5, 9, 12)]
    assert from_samples(rounds, 50)[Effect.COMPACTIONS] == 2


def test_metrics_are_read_from_their_text_form():
    assert parse_metrics('# TYPE a gauge\na 1\nb{x="y"} 2.5\nbroken\n') == {"a": 1.0, 'b{x="y"}': 2.5}
