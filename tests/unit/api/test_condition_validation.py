from api.condition_validation import check_conditions
from api.meta import Condition

GOOD = Condition(type="Ready", status="True", last_transition_time="2024-01-01T00:00:00Z", reason="All:Is,Well")


def test_a_condition_answers_one_question_and_says_why_and_since_when() -> None:
    assert list(check_conditions("c", [GOOD])) == []
    assert [error.path for error in check_conditions("c", [GOOD, GOOD])] == ["c[1].type"]
    bad = Condition(type="", status="Maybe", observed_generation=-1, reason="not one word")
    found = [error.path.removeprefix("c[0].") for error in check_conditions("c", [bad])]
    assert found == ["type", "type", "status", "observedGeneration", "lastTransitionTime", "reason"]
