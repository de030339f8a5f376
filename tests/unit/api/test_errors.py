"""From a Status, whoever wrote it, to an exception."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import Cause, Conflict, InternalError, from_status


def test_a_status_becomes_the_exception_that_it_stands_for() -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "no", "field": "spec"}]
    details = {"name": "a", "group": "g", "kind": "pandas", "retryAfterSeconds": 2, "causes": causes}
    error = from_status({"reason": "Conflict", "code": 409, "message": "full", "details": details})
    assert isinstance(error, Conflict)
    assert (error.message, error.name, error.retry_after_s) == ("full", "a", 2)
    assert list(error.causes) == [Cause("FieldValueInvalid", "no", "spec")]


@pytest.mark.parametrize(
    "said",
    [
        {"details": 5}, {"details": {"causes": 3}}, {"details": {"causes": [3]}}, {"code": "x"}, {"reason": [1]},
        {"details": {"retryAfterSeconds": "x"}}, {"reason": {}}, {"metadata": 3}, {"message": 3}, {"code": 10**30},
    ],
)  # fmt: skip
def test_what_is_no_status_stands_for_a_fault_of_the_server(said: dict[str, Any]) -> None:
    error = from_status(said)
    assert type(error) is InternalError
    assert error.status()["code"] == 500
