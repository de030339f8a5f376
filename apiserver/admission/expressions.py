"""CEL expressions of webhooks and policies: compiled once, evaluated on a budget that several share. Pure.

An expression that does not compile was refused when it was written; one that was stored by another release fails
whenever it is asked.
"""

from __future__ import annotations

from typing import Any, Final

from apiserver.admission.variables import Variables
from apiserver.cel.authorization import LIBRARY
from apiserver.cel.program import COST_MAX as CALL_COST_MAX
from apiserver.cel.program import BadProgram, CostExceeded, Program, compile_
from apiserver.cel.values import Failure

COST_MAX: Final = 10_000_000
"""What all expressions of one policy may cost about one request."""
OUT_OF_BUDGET: Final = "validation failed due to running out of cost budget, no further validation rules will be run"


_TOO_COSTLY: Final = "operation cancelled: actual cost limit exceeded"


class ExpressionFailed(Exception):
    """An expression has no value, and why; `kind` is what it is counted as, `bare` why without the expression."""

    def __init__(self, why: str, kind: str = "invalid_error", *, bare: str = "") -> None:
        super().__init__(why)
        self.kind = kind
        self.bare = bare or why


class Budget:
    """What is left to spend."""

    __slots__ = ("left",)

    def __init__(self, cost: int = COST_MAX) -> None:
        self.left = cost


class Expression:
    """One expression over named variables."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self.text = text
        self._program: Program | None = None
        self._error = ""
        try:
            self._program = compile_(text, names, LIBRARY)
        except BadProgram as error:
            self._error = str(error)

    def evaluate(self, variables: Variables, budget: Budget) -> Any:
        """Return the value, and spend what it costs.

        Raises:
            ExpressionFailed: it has none, or the budget does not suffice.
        """
        if self._program is None:
            raise ExpressionFailed(f"compilation error: {self._error}", "compile_error")
        if budget.left <= 0:
            raise ExpressionFailed(OUT_OF_BUDGET, "out_of_budget")
        limit = min(budget.left, CALL_COST_MAX)
        try:
            value, cost = self._program.evaluate(variables.of(self._program.names, budget), limit)
        except CostExceeded:
            budget.left -= limit
            if limit < CALL_COST_MAX:
                raise ExpressionFailed(OUT_OF_BUDGET, "out_of_budget") from None
            raise ExpressionFailed(
                f"expression '{self.text}' resulted in error: {_TOO_COSTLY}", bare=_TOO_COSTLY
            ) from None
        except Failure as failure:
            why = str(failure)
            raise ExpressionFailed(f"expression '{self.text}' resulted in error: {why}", bare=why) from None
        budget.left -= cost
        return value
