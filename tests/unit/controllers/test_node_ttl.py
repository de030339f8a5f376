from __future__ import annotations

import msgspec
import pytest

from api.core.node import Node
from controllers.actions import Patch
from controllers.node_ttl import ANNOTATION, Observed, reconcile, ttl_s


def node(number: int, ttl: str | None = None, **metadata: str) -> Node:
    said = {} if ttl is None else {ANNOTATION: ttl}
    return msgspec.convert({"metadata": {"name": f"n{number}", "annotations": said, **metadata}}, Node)


def some(count: int, ttl: str | None = None) -> list[Node]:
    return [node(number, ttl) for number in range(count)]


def test_a_new_node_is_told_and_others_are_left_alone():
    plan = reconcile(Observed([node(0, "0"), node(1), node(2, "soon")]), 0.0)
    patches = [step for step in plan.actions if isinstance(step, Patch)]
    assert [step.key.name for step in patches] == ["n1", "n2"]
    assert {step.patch["metadata"]["annotations"][ANNOTATION] for step in patches} == {"0"}


def test_a_node_that_goes_is_not_written_any_more():
    going = node(0, deletionTimestamp="2026-01-01T00:00:00Z")
    assert reconcile(Observed([going]), 0.0).actions == ()


@pytest.mark.parametrize(
    ("count", "before", "after"),
    [
        (100, "0", 0), (101, "0", 15), (90, "15", 15), (89, "15", 0), (500, "15", 15), (501, "15", 30),
        (450, "30", 30), (449, "30", 15), (1001, "30", 60), (900, "60", 60), (2001, "60", 300), (1800, "300", 300),
        (1799, "300", 60), (2, "300", 0), (5000, "0", 300), (600, None, 30),
    ],
)  # fmt: skip
def test_steps_overlap(count: int, before: str | None, after: int):
    assert ttl_s(some(count, before)) == after


def test_what_most_say_counts():
    assert ttl_s([*some(94, "15"), node(95, "0"), node(96)]) == 15
    assert ttl_s([*some(94, "0"), node(95, "300")]) == 0


def test_nothing_is_told_where_there_are_no_nodes():
    assert reconcile(Observed([]), 0.0).actions == ()
