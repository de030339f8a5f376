"""From the store's members there are to those there should be."""

from __future__ import annotations

from deploy.store_members import Step, plan_steps
from store.client import StoreMember


def member(number: int, name: str | None = None, is_learner: bool = False) -> StoreMember:
    name = f"s{number}" if name is None else name
    return StoreMember(number, name, (f"https://127.0.0.1:{number}",), (), is_learner)


def wanted(*numbers: int) -> list[tuple[str, str]]:
    return [(f"s{number}", f"127.0.0.1:{number}") for number in numbers]


def test_growing_adds_one_after_the_other():
    assert plan_steps([member(1)], wanted(1, 2, 3)) == [
        Step("add", "s2", "127.0.0.1:2"),
        Step("add", "s3", "127.0.0.1:3"),
    ]


def test_shrinking_removes_the_newest_first():
    present = [member(number) for number in (1, 2, 3, 4, 5)]
    assert plan_steps(present, wanted(1, 2, 3)) == [
        Step("remove", "s5", "127.0.0.1:5"),
        Step("remove", "s4", "127.0.0.1:4"),
    ]


def test_what_was_interrupted_goes_on_where_it_was():
    assert plan_steps([member(1), member(2, "")], wanted(1, 2)) == [Step("add", "s2", "127.0.0.1:2")]
    assert plan_steps([member(1), member(2, is_learner=True)], wanted(1, 2)) == [Step("add", "s2", "127.0.0.1:2")]


def test_one_without_a_vote_goes_before_those_that_have_one():
    present = [member(1), member(2), member(3), member(4, "", is_learner=True)]
    assert [step.peer_address for step in plan_steps(present, wanted(1))] == [
        "127.0.0.1:4",
        "127.0.0.1:3",
        "127.0.0.1:2",
    ]


def test_nothing_to_do_is_nothing_done():
    assert plan_steps([member(1), member(2), member(3)], wanted(1, 2, 3)) == []
