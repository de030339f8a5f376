"""What is shared by the steps of one evaluation: its variables, and what it has cost. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.cel.values import Failure

COST_MAX: Final = 1_000_000
"""What one evaluation may cost (upstream: the same, per call)."""


class CostExceeded(Exception):
    """An evaluation that would cost more than it may."""


class Scope:
    """The variables of one evaluation, and what it has cost."""

    __slots__ = ("cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: int) -> None:
        self.variables = variables
        self.cost = 0
        self.limit = limit

    def spend(self, cost: int) -> None:
        """Count a cost; raises CostExceeded."""
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded


Step = Callable[[Scope], Any]


def boolean(value: Any) -> bool:
    """Return what must be true or false; raises Failure."""
    if not isinstance(value, bool):
        raise Failure("no such overload")
    return value
