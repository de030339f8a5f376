from __future__ import annotations

import pytest

from api.go_types import printed
from api.patch.words import mismatched
from api.reader import WrongType


def test_a_patch_is_printed_as_go_prints_maps() -> None:
    patch = {"spec": {"replicas": "3", "paused": True, "args": ["a", None, 1.5]}}
    assert printed(patch) == "map[spec:map[args:[a <nil> 1.5] paused:true replicas:3]]"


@pytest.mark.parametrize(
    ("value", "wanted", "why"),
    [
        ("3", "int32", "unrecognized type: int32"),
        (True, "string", "unrecognized type: string"),
        (1, "string", "cannot convert int64 to string"),
        (1.5, "int32", "cannot convert float64 to int32"),
        (1, "bool", "unrecognized type: bool"),
        ("x", "v1.PodSpec", "cannot restore struct from: string"),
        ({}, "[]v1.Container", "cannot restore slice from map"),
        ([], "map[string]string", "cannot restore map from slice"),
    ],
)
def test_a_mismatch_is_told_as_maps_are_turned_into_objects(value: object, wanted: str, why: str) -> None:
    assert mismatched(WrongType(None, "", wanted, value=value)) == why
