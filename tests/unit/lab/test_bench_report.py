import json

import pytest

from lab.bench.report import Figure, Goal, Report, machine, show


def test_a_figure_has_a_median_and_a_spread() -> None:
    figure = Figure("up", "s", [3.0, 1.0, 2.0, 10.0])
    assert (figure.median, figure.percentile(0), figure.percentile(0.9), figure.percentile(1)) == (2.5, 1, 10, 10)


@pytest.mark.parametrize(("value", "verdict"), [(4.9, "aim"), (5.0, "aim"), (14.0, "floor"), (15.1, "missed")])
def test_a_goal_is_reached_missed_or_the_floor_is_held(value: float, verdict: str) -> None:
    assert Goal("up", floor=15, aim=5).verdict(value) == verdict


def test_json_names_the_machine_and_every_sample(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("t", [Figure("up", "s", [1.0, 3.0])], goals=[Goal("up", 15, 5), Goal("absent", 1, 1)])
    show(report, machine(), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["machine"]["cores"] >= 1
    assert shown["figures"][0]["samples"] == [1.0, 3.0]
    assert shown["goals"] == [{"figure": "up", "median": 2.0, "floor": 15, "aim": 5, "reached": "aim"}]
