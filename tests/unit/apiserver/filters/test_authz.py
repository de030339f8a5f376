"""What comes of a decision."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import Forbidden, InternalError
from apiserver.filters.authz import with_authorization
from apiserver.nowhere import InPlainText
from apiserver.request import Call, Deciding, Decision, RequestInfo, User
from component.metrics import Spread

INFO = RequestInfo("get", "/api/v1/pods/x", "", "v1", "pods", "", "", "x")


class Says:
    def __init__(self, decision: Decision, *, is_slow: bool) -> None:
        self._decision = decision
        self._is_slow = is_slow

    def authorize(self, user: User, request: RequestInfo) -> Deciding:
        return self._later() if self._is_slow else self._decision

    async def _later(self) -> Decision:
        return self._decision


async def outcome(decision: Decision, *, is_slow: bool) -> tuple[Any, Call, Spread]:
    async def answer(call: Call) -> str:
        return "answered"

    durations, call = Spread("d", "", ("result",)), Call(INFO, user=User("jane"))
    try:
        said: Any = await with_authorization(answer, Says(decision, is_slow=is_slow), durations)(call)
    except (Forbidden, InternalError) as error:
        said = error
    return said, call, durations


@pytest.mark.parametrize("is_slow", [False, True])
async def test_who_is_allowed_is_answered_even_if_something_went_wrong(is_slow: bool) -> None:
    said, call, _ = await outcome(Decision(True, "fine", error="oh"), is_slow=is_slow)
    assert said == "answered"
    assert call.annotations == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "fine"}


@pytest.mark.parametrize("is_slow", [False, True])
async def test_who_is_not_is_told_why(is_slow: bool) -> None:
    said, call, durations = await outcome(Decision(False, "never", denied=True), is_slow=is_slow)
    assert isinstance(said, Forbidden) and said.message.endswith('in API group "" at the cluster scope: never')
    assert call.annotations["authorization.k8s.io/decision"] == "forbid"
    assert sum(durations.of(("denied",)).counts) == 1


async def test_what_could_not_be_decided_fails_and_is_no_refusal() -> None:
    said, call, durations = await outcome(Decision(False, error="nobody answers"), is_slow=True)
    assert isinstance(said, InternalError) and isinstance(said, InPlainText)
    assert said.text == 'Internal Server Error: "/api/v1/pods/x": nobody answers'
    assert call.annotations == {"authorization.k8s.io/reason": "internal error"}
    assert sum(durations.of(("error",)).counts) == 1
