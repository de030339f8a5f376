from __future__ import annotations

import msgspec
import pytest

from api.core.containers import Container
from kubelet.probes.prober import UnknownPort, port_number
from kubelet.probes.streak import Streak


def after(results: str, successes: int = 1, failures: int = 3) -> bool | None:
    streak = Streak(None)
    for result in results:
        streak = streak.add(result == "+", successes, failures)
    return streak.verdict


def test_a_verdict_turns_after_enough_results_in_a_row():
    assert after("") is None
    assert after("+") is True
    assert after("--") is None
    assert after("---") is False
    assert after("+--+--") is True
    assert after("+---") is False


def test_success_may_need_several_too():
    assert after("+", successes=2) is None
    assert after("++", successes=2) is True
    assert after("---+", successes=2) is False


def test_ports_are_found_by_number_and_by_name():
    container = msgspec.convert({"name": "c", "ports": [{"name": "web", "containerPort": 80}]}, Container)
    assert port_number(container, 81) == 81
    assert port_number(container, "web") == 80
    assert port_number(container, "82") == 82
    with pytest.raises(UnknownPort, match='couldn\'t find port: "admin" in container c'):
        port_number(container, "admin")
