"""What is shared by the steps of one evaluation: its variables, and what it has cost. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from typing import Any, Final

from apiserver.cel.values import Failure

COST_MAX: Final = 1_000_000
"""What one evaluation may cost (upstream: the same, per call)."""


class CostExceeded(Exception):
    """An evaluation that would cost more than it may."""


class Turn(ABC):
    """How much may be spent before somebody else has a turn; the evaluations of one piece of work share it."""

    def __init__(self, left: int) -> None:
        self.left = left

    @abstractmethod
    def over(self) -> None:
        """Return once there is more `left`, or raise what ends the work."""


class Unanswered(Exception):
    """An evaluation that has to wait: `answer` gives what `question` asks for, and is to be put into `ANSWERS`."""

    def __init__(self, question: Hashable, answer: Awaitable[Any]) -> None:
        super().__init__(question)
        self.question = question
        self.answer = answer


ANSWERS: Final[ContextVar[dict[Hashable, Any]]] = ContextVar("answers")
"""What was found out for what is evaluated now."""
TURN: Final[ContextVar[Turn | None]] = ContextVar("turn", default=None)
"""The turn of what is evaluated now; None: there is no hurry."""


class Scope:
    """The variables of one evaluation, and what it has cost."""

    __slots__ = ("_counted", "_stop", "_turn", "cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: int) -> None:
        self.variables = variables
        self.cost = 0
        self.limit = limit
        self._turn = turn = TURN.get()
        self._counted = 0
        """How much of the cost the turn knows of."""
        self._stop = limit if turn is None else min(limit, turn.left)

    def spend(self, cost: int) -> None:
        """Count a cost; raises CostExceeded."""
        self.cost += cost
        if self.cost > self._stop:
            self._look_up()

    def settle(self) -> None:
        """Take what was spent off the turn."""
        if self._turn is not None:
            self._turn.left -= self.cost - self._counted
            self._counted = self.cost

    def _look_up(self) -> None:
        if self.cost > self.limit:
            raise CostExceeded
        turn = self._turn
        assert turn is not None, "without a turn the limit is where to stop"
        self.settle()
        if turn.left <= 0:
            turn.over()
        self._stop = min(self.limit, self.cost + turn.left)


Step = Callable[[Scope], Any]


def boolean(value: Any) -> bool:
    """Return what must be true or false; raises Failure."""
    if not isinstance(value, bool):
        raise Failure("no such overload")
    return value
