from __future__ import annotations

import msgspec
import pytest

from api.meta import ObjectMeta
from controllers.garbage_collector.verdict import KEEP, OwnerState, Verdict, blocks, judge, phase

SOLID, WAITING, ABSENT = OwnerState.SOLID, OwnerState.WAITING, OwnerState.ABSENT


def metadata(owners: str = "", finalizers: tuple[str, ...] = (), deleted: bool = False, blocking: bool = True):
    body = {
        "name": "a",
        "finalizers": list(finalizers),
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocking}
            for uid in owners
        ],
    }
    if deleted:
        body["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    return msgspec.convert(body, ObjectMeta)


@pytest.mark.parametrize(
    ("states", "finalizers", "has_dependents", "expected"),
    [
        ("", (), False, KEEP),
        ("S", (), False, KEEP),
        ("A", (), False, Verdict(delete="Background")),
        ("AA", (), True, Verdict(delete="Background")),
        ("SA", (), False, Verdict(owners_removed=frozenset("1"))),
        ("SW", (), True, Verdict(owners_removed=frozenset("1"))),
        ("W", (), False, Verdict(delete="Background")),
        ("W", (), True, Verdict(delete="Foreground")),
        ("A", ("orphan",), True, Verdict(delete="Orphan")),
        ("A", ("foregroundDeletion",), True, Verdict(delete="Foreground")),
    ],
)
def test_an_object_goes_when_all_its_owners_are_gone(states, finalizers, has_dependents, expected):
    names = {"S": SOLID, "W": WAITING, "A": ABSENT}
    owners = {str(number): names[letter] for number, letter in enumerate(states)}
    dependents = [metadata()] if has_dependents else []
    assert judge(metadata("".join(owners), finalizers), owners, dependents) == expected


def test_an_object_that_is_being_deleted_is_left_to_its_finalizers():
    assert judge(metadata("0", deleted=True), {"0": ABSENT}) == KEEP


def test_a_circle_of_owners_is_broken_where_it_closes():
    root = metadata("2", finalizers=("foregroundDeletion",), deleted=True)
    expected = Verdict(delete="Foreground", is_unblocking=True)
    assert judge(metadata("1"), {"1": WAITING}, [root]) == expected


def test_a_phase_begins_with_the_deletion():
    assert phase(metadata(finalizers=("foregroundDeletion",))) == ""
    assert phase(metadata(finalizers=("x", "foregroundDeletion"), deleted=True)) == "foregroundDeletion"
    assert phase(metadata(finalizers=("orphan",), deleted=True)) == "orphan"


def test_only_a_dependent_that_says_so_blocks_its_owner():
    assert blocks(metadata("0"), "0")
    assert not blocks(metadata("0", blocking=False), "0")
    assert not blocks(metadata("0"), "1")
