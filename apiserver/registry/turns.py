"""Who writes an object next: writers of one object, one after the other.

Each write is guarded by the revision it was decided on, so of four writers who begin at once three decide in vain, ask
the store in vain, and begin anew. Waiting for one another costs them less. It is a courtesy and no lock: what keeps
writes apart is the store, between servers as within one. So whoever holds the others up, because a webhook takes its
time or writes the very object that it was asked about, is passed after `PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from apiserver.registry.codec import Stored

PATIENCE_S: Final = 0.05
"""How long a writer is waited for."""


class Turn:
    """The writers of one object: those at work, usually one, and those who wait."""

    __slots__ = ("_timer", "_turns", "_waiting", "at_work", "key", "latest")

    def __init__(self, turns: Turns, key: str) -> None:
        self.key = key
        self.at_work = 1
        self.latest: Stored | None = None
        """What the last of them wrote: the cache may not have heard of it yet."""
        self._turns = turns
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Wait until it is one's turn, or nobody has finished for too long."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._timer is None:
            self._be_patient()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.end()  # It was this one's turn already.
            raise

    def end(self, written: Stored | None = None) -> None:
        """Say that one's own writing is over, and what it came to if the object is still there."""
        self.at_work -= 1
        if written is not None and (self.latest is None or written.revision > self.latest.revision):
            self.latest = written
        self._let_in()

    def _let_in(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            next_one = self._waiting.popleft()
            if not next_one.done():  # else it has gone away
                self.at_work += 1
                next_one.set_result(None)
                break
        if self._waiting:
            self._be_patient()
        elif not self.at_work:
            self._turns.forget(self)

    def _be_patient(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._let_in)


class Turns:
    """The writers of a kind's objects."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}

    async def take(self, key: str) -> Turn:
        """Wait for one's turn at an object; whoever has it calls `end`."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = Turn(self, key)
        else:
            await turn.wait()
        return turn

    def forget(self, turn: Turn) -> None:
        """Drop an object that nobody writes."""
        del self._turns[turn.key]

    def __len__(self) -> int:
        return len(self._turns)
