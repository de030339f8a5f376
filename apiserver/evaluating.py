"""Evaluates users' expressions without holding up the event loop: cheap ones at once, costly ones in slices.

Rules and conditions may cost what upstream lets them, which is a second and more of this process's time. Work begins on
the spot, as if it were cheap; nearly all is. What has then cost more than a moment's worth is begun anew (it is pure)
on a thread that runs in turns with the event loop: a slice, then a round of the loop, then the next slice. The two
never run at the same time, so whatever expressions look at (caches, who may do what) needs no locks.

An expression that asks what only somebody elsewhere knows ends there; when the answer has come, all begins anew.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from apiserver.cel.evaluation import ANSWERS, TURN, Turn, Unanswered

T = TypeVar("T")

AT_ONCE_COST: Final = 20_000
"""What is evaluated on the spot: some three milliseconds."""
SLICE_COST: Final = 10_000


class TooLong(Exception):
    """What was begun on the spot costs more than that allows."""


class _Abandoned(BaseException):
    """Nobody waits for the outcome any more."""


class _OnTheSpot(Turn):
    """Ends what takes too long."""

    def over(self) -> None:
        raise TooLong


class _InTurns(Turn, Generic[T]):
    """Work on a thread that runs while, and only while, `step` waits for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(SLICE_COST)
        self._work = work
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._is_abandoned = False
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._context = contextvars.copy_context()
        self._thread = threading.Thread(target=self._run, name="expressions", daemon=True)

    def start(self) -> None:
        """Make ready for the first step."""
        self._thread.start()

    def step(self) -> bool:
        """Run one slice; returns whether the work is over."""
        self._go.release()
        self._stopped.acquire()
        return bool(self._result) or self._error is not None

    def result(self) -> T:
        """Return what came of it, or raise it."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def abandon(self) -> None:
        """End the thread, wherever it stands; safe to call when it is over."""
        self._is_abandoned = True
        self._go.release()

    def over(self) -> None:
        """Wait for the next slice; on the thread."""
        self._stopped.release()
        self._go.acquire()
        if self._is_abandoned:
            raise _Abandoned
        self.left = SLICE_COST

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._is_abandoned:
                self._result.append(self._context.run(self._in_context))
        except BaseException as error:
            self._error = error
        self._stopped.release()

    def _in_context(self) -> T:
        TURN.set(self)
        return self._work()


class Evaluating:
    """Evaluates; made and used on one event loop. One piece of work is in slices at a time, others wait for it."""

    def __init__(self) -> None:
        self._turns = asyncio.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises.

        Args:
            work: pure, so that it may be begun twice; nothing it reads may be changed by anything this call awaits.
        """
        remembering = ANSWERS.set({})
        try:
            while True:
                try:
                    return await self._run(work)
                except Unanswered as unanswered:
                    ANSWERS.get({})[unanswered.question] = await unanswered.answer
        finally:
            ANSWERS.reset(remembering)

    async def _run(self, work: Callable[[], T]) -> T:
        token = TURN.set(_OnTheSpot(AT_ONCE_COST))
        try:
            return work()
        except TooLong:
            pass
        finally:
            TURN.reset(token)
        async with self._turns:
            pieces = _InTurns(work)
            pieces.start()
            try:
                while not pieces.step():  # noqa: ASYNC110  # nothing is waited for: others have their turn
                    await asyncio.sleep(0)
            finally:
                pieces.abandon()
            return pieces.result()
