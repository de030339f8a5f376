"""Several authorizers as one."""

from __future__ import annotations

import pytest

from api.rbac.rules import PolicyRule
from apiserver.auth.authorizers import AlwaysAllow, AlwaysDeny, Authorizers, Step
from apiserver.cel.authorization import METHODS, AuthorizerValue
from apiserver.evaluating import Evaluating
from apiserver.request import Deciding, Decision, RequestInfo, User, decided
from component.metrics import Tally

JANE = User("jane", groups=("system:authenticated",))
ASKED = RequestInfo("get", "", "", "v1", "pods", "", "a", "x")


class Says:
    """Has one answer, at once or later."""

    def __init__(self, decision: Decision, *, is_slow: bool = False) -> None:
        self._decision = decision
        self._is_slow = is_slow
        self.asked = 0

    def authorize(self, user: User, request: RequestInfo) -> Deciding:
        self.asked += 1
        return self._later() if self._is_slow else self._decision

    async def _later(self) -> Decision:
        return self._decision

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        return [PolicyRule(verbs=["get"])]

    def why_incomplete(self, user: User) -> str:
        return self._decision.error


def chain(*said: Says) -> Authorizers:
    return Authorizers([Step("Webhook", f"s{place}", each) for place, each in enumerate(said)])


@pytest.mark.parametrize("is_slow", [False, True])
async def test_the_first_who_allows_or_denies_decides_and_nobody_is_asked_after_that(is_slow: bool) -> None:
    for verdict in (Decision(True, "fine"), Decision(False, "never", denied=True)):
        first, second = Says(Decision(False, "perhaps"), is_slow=is_slow), Says(verdict, is_slow=not is_slow)
        third = Says(Decision(True))
        assert await decided(chain(first, second, third).authorize(JANE, ASKED)) == verdict
        assert (first.asked, second.asked, third.asked) == (1, 1, 0)


async def test_what_nobody_has_an_opinion_on_is_refused_with_all_that_was_said() -> None:
    said = chain(
        Says(Decision(False, "one", error="e1")), Says(Decision(False), is_slow=True), Says(Decision(False, "two"))
    )
    assert await decided(said.authorize(JANE, ASKED)) == Decision(False, "one\ntwo", error="e1")
    assert await decided(chain().authorize(JANE, ASKED)) == Decision(False)


async def test_an_error_does_not_keep_another_from_allowing() -> None:
    said = chain(Says(Decision(False, error="no answer"), is_slow=True), Says(Decision(True)))
    assert await decided(said.authorize(JANE, ASKED)) == Decision(True)


def test_who_answers_at_once_costs_no_waiting() -> None:
    assert isinstance(chain(Says(Decision(False)), Says(Decision(True))).authorize(JANE, ASKED), Decision)


def test_masters_may_do_anything_whoever_else_is_asked() -> None:
    denies = Says(Decision(False, denied=True))
    assert chain(denies).authorize(User("root", groups=("system:masters",)), ASKED) == Decision(True)
    assert not denies.asked


def test_always_allow_allows_and_always_deny_has_a_word_for_it() -> None:
    denies = Authorizers([Step("AlwaysDeny", "alwaysdeny", AlwaysDeny())])
    assert denies.authorize(JANE, ASKED) == Decision(False, "Everything is forbidden.")
    assert denies.rules_of(JANE) == []
    allows = Authorizers([Step("AlwaysDeny", "alwaysdeny", AlwaysDeny()), Step("AlwaysAllow", "a", AlwaysAllow())])
    assert allows.authorize(JANE, ASKED) == Decision(True)
    assert [rule.verbs for rule in allows.rules_of(JANE)] == [["*"], ["*"]]


async def test_who_decided_is_counted() -> None:
    decisions = Tally("d", "", ("type", "name", "decision"))
    said = Authorizers(
        [Step("Webhook", "w", Says(Decision(False), is_slow=True)), Step("RBAC", "rbac", Says(Decision(True)))],
        decisions,
    )
    await decided(said.authorize(JANE, ASKED))
    said.use([Step("Webhook", "w", Says(Decision(False, denied=True)))])
    await decided(said.authorize(JANE, ASKED))
    assert decisions.values == {("RBAC", "rbac", "allowed"): 1, ("Webhook", "w", "denied"): 1}


def test_rules_are_those_of_all_and_so_is_why_they_are_not_all() -> None:
    said = chain(Says(Decision(False, error="no rules here")), Says(Decision(False)))
    assert len(said.rules_of(JANE)) == 2
    assert said.why_incomplete(JANE) == "no rules here"


async def test_an_expression_that_asks_somebody_elsewhere_waits_for_the_answer() -> None:
    slow = Says(Decision(False, "not you", error="oh"), is_slow=True)
    value = AuthorizerValue(chain(slow), JANE, ASKED)

    def work() -> tuple[bool, str, str]:
        path = METHODS["path"](value, "/healthz")
        said = [METHODS["check"](path, "get") for _ in range(2)]
        return METHODS["allowed"](said[0]), METHODS["reason"](said[1]), METHODS["error"](said[1])

    assert await Evaluating().run(work) == (False, "not you", "oh")
    assert slow.asked == 1, "the same question twice is one"
