"""What they may do, asked of several: in order, until one allows or denies; what nobody has an opinion on is refused.

RBAC and the nodes' rules answer at once, from caches, so that a request which they decide costs one plain call. One
that asks elsewhere gives an awaitable; the others after it are asked when it has answered. Members of system:masters
may do anything, whoever else there is: upstream's privileged group, always the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.errors import as_one
from api.rbac.rules import PolicyRule
from apiserver.auth.rbac import SUPERUSERS
from apiserver.request import Authorizer, Deciding, Decision, RequestInfo, RuleSource, User
from component.metrics import Tally

_MASTER: Final = Decision(True)
_ANYTHING: Final = (
    PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"]),
    PolicyRule(verbs=["*"], non_resource_urls=["*"]),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One of those who are asked."""

    type: str
    """Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny."""
    name: str
    authorizer: Authorizer


@dataclass(slots=True)
class _Said:
    """What those who had no opinion had to say."""

    reasons: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Authorizers:
    """Several as one. `use` may change who they are; what is being decided then is decided by those before.

    Args:
        steps: in order.
        decisions: counts who has allowed or denied.
    """

    def __init__(self, steps: Sequence[Step] = (), decisions: Tally | None = None) -> None:
        self._decisions = decisions
        self.use(steps)

    def use(self, steps: Sequence[Step]) -> None:
        """Ask these from now on."""
        self._steps = tuple(steps)

    def authorize(self, user: User, request: RequestInfo) -> Deciding:
        """Say whether a user may do what is asked."""
        if SUPERUSERS in user.groups:
            return _MASTER
        return self._ask(iter(self._steps), user, request, _Said())

    def _ask(self, steps: Iterator[Step], user: User, request: RequestInfo, said: _Said) -> Deciding:
        for step in steps:
            decision = step.authorizer.authorize(user, request)
            if not isinstance(decision, Decision):
                return self._go_on(step, decision, steps, user, request, said)
            if self._is_final(step, decision, said):
                return decision
        if not said.reasons and not said.errors:
            return _NO_OPINION
        errors = list(dict.fromkeys(said.errors))
        return Decision(False, "\n".join(said.reasons), error=as_one(errors) if errors else "")

    async def _go_on(
        self,
        step: Step,
        deciding: Awaitable[Decision],
        steps: Iterator[Step],
        user: User,
        request: RequestInfo,
        said: _Said,
    ) -> Decision:
        decision = await deciding
        if self._is_final(step, decision, said):
            return decision
        following = self._ask(steps, user, request, said)
        return following if isinstance(following, Decision) else await following

    def _is_final(self, step: Step, decision: Decision, said: _Said) -> bool:
        if decision.allowed or decision.denied:
            if self._decisions is not None:
                self._decisions.add((step.type, step.name, "allowed" if decision.allowed else "denied"))
            return True
        if decision.reason:
            said.reasons.append(decision.reason)
        if decision.error:
            said.errors.append(decision.error)
        return False

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return every rule that any of them knows of."""
        sources = (step.authorizer for step in self._steps)
        return [rule for each in sources if isinstance(each, RuleSource) for rule in each.rules_of(user, namespace)]

    def why_incomplete(self, user: User) -> str:
        """Return why rules do not say all that `user` may do, as each of them says it."""
        sources = (step.authorizer for step in self._steps)
        why = [each.why_incomplete(user) for each in sources if isinstance(each, RuleSource)]
        said = list(dict.fromkeys(filter(None, why)))
        return as_one(said) if said else ""


_NO_OPINION: Final = Decision(False)


class AlwaysAllow:
    """Allows everything: for tests, and behind somebody who denies."""

    def authorize(self, user: User, request: RequestInfo) -> Decision:
        """Say yes."""
        return _MASTER

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return that everything may be done."""
        return list(_ANYTHING)

    def why_incomplete(self, user: User) -> str:
        """Return nothing: that is all."""
        return ""


class AlwaysDeny:
    """Allows nothing, and has upstream's word for it; asks nobody to stop asking others."""

    def authorize(self, user: User, request: RequestInfo) -> Decision:
        """Have no opinion but that everything is forbidden."""
        return _FORBIDDEN

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return nothing."""
        return []

    def why_incomplete(self, user: User) -> str:
        """Return nothing: that is all."""
        return ""


_FORBIDDEN: Final = Decision(False, "Everything is forbidden.")
