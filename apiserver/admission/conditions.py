"""matchConditions: expressions that must all be true for a webhook or policy to be about a request. Pure.

One that is false settles it, whatever the others say; where one cannot be evaluated and none is false, failurePolicy
says whether the request fails or goes on unasked (KEP-3716).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api.admissionregistration.webhooks import MatchCondition
from api.errors import as_one
from apiserver.admission.expressions import Budget, Expression, ExpressionFailed
from apiserver.admission.variables import CONDITION_NAMES, Variables

COST_MAX: Final = 2_500_000
"""What all conditions of one webhook or policy may cost about one request."""


class ConditionFailed(Exception):
    """A condition could not be evaluated, where that is to fail the request."""


class Conditions:
    """The conditions of one webhook or policy; false if there are none."""

    def __init__(
        self,
        conditions: Sequence[MatchCondition],
        *,
        fails_closed: bool,
        names: frozenset[str] = CONDITION_NAMES,
    ) -> None:
        self._conditions = [Expression(condition.expression, names) for condition in conditions]
        self._fails_closed = fails_closed

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def hold(self, variables: Variables) -> bool:
        """Whether all are true.

        Raises:
            ConditionFailed: one cannot be evaluated, and failurePolicy is Fail.
        """
        failures: list[str] = []
        budget = Budget(COST_MAX)
        for condition in self._conditions:
            try:
                if condition.evaluate(variables, budget) is False:
                    return False
            except ExpressionFailed as failed:
                failures.append(str(failed))
        if failures and self._fails_closed:
            raise ConditionFailed(as_one(failures))
        return not failures
