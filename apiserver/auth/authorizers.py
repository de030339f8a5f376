"""What they may do, asked of several: in order, until one allows or denies; what nobody has an opinion on is refused.

RBAC and the nodes' rules answer at once, from caches, so that a request which they decide costs one plain call. One
that asks elsewhere gives an awaitable; the others after it are asked when it has answered. Members of system:masters
may do anything, whoever else there is: upstream's privileged group, always the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.errors import as_one
from api.rbac.rules import PolicyRule
from apiserver.auth.rbac import SUPERUSERS
from apiserver.request import NO_OPINION, Authorizer, Deciding, Decision, RequestInfo, RuleSource, User
from component.metrics import Labels, Tally

_MASTER: Final = Decision(True)
_Asked = tuple[tuple[Callable[[User, RequestInfo], Deciding], Labels], ...]
"""How each is asked, and how it is counted that it allows."""
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

    def take(self, decision: Decision) -> None:
        """Note what one of them says."""
        if decision.reason:
            self.reasons.append(decision.reason)
        if decision.error:
            self.errors.append(decision.error)

    def as_decision(self) -> Decision:
        """Return the refusal that comes of it."""
        errors = list(dict.fromkeys(self.errors))
        return Decision(False, "\n".join(self.reasons), error=as_one(errors) if errors else "")


class Authorizers:
    """Several as one. `use` may change who they are; what is being decided then is decided by those before.

    Args:
        steps: in order.
        decisions: counts who has allowed or denied.
    """

    def __init__(self, steps: Sequence[Step] = (), decisions: Tally | None = None) -> None:
        self._counts: dict[Labels, float] = decisions.values if decisions is not None else {}
        self.use(steps)

    def use(self, steps: Sequence[Step]) -> None:
        """Ask these from now on."""
        self._steps = tuple(steps)
        self._asked: _Asked = tuple((each.authorizer.authorize, (each.type, each.name, "allowed")) for each in steps)

    def authorize(self, user: User, request: RequestInfo) -> Deciding:
        """Say whether a user may do what is asked."""
        if SUPERUSERS in user.groups:
            return _MASTER
        # Every request passes here: what is seldom needed is left to `_settle`.
        place = 0
        for authorize, labels in self._asked:
            decision = authorize(user, request)
            place += 1
            if decision is NO_OPINION:
                continue
            if isinstance(decision, Decision) and decision.allowed:
                counts = self._counts
                counts[labels] = counts.get(labels, 0) + 1
                return decision
            return self._settle(decision, labels, self._asked[place:], user, request, _Said())
        return NO_OPINION

    def _settle(
        self, deciding: Deciding, labels: Labels, others: _Asked, user: User, request: RequestInfo, said: _Said
    ) -> Deciding:
        """Return what comes of a decision, and of those of `others` where it has no opinion."""
        while True:
            if not isinstance(deciding, Decision):
                return self._wait(deciding, labels, others, user, request, said)
            if deciding.allowed or deciding.denied:
                labels = labels if deciding.allowed else (*labels[:2], "denied")
                self._counts[labels] = self._counts.get(labels, 0) + 1
                return deciding
            said.take(deciding)
            if not others:
                return said.as_decision()
            (authorize, labels), others = others[0], others[1:]
            deciding = authorize(user, request)

    async def _wait(
        self,
        deciding: Awaitable[Decision],
        labels: Labels,
        others: _Asked,
        user: User,
        request: RequestInfo,
        said: _Said,
    ) -> Decision:
        settled = self._settle(await deciding, labels, others, user, request, said)
        return settled if isinstance(settled, Decision) else await settled

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
