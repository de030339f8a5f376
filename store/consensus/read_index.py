"""Linearizable reads without writing to the log: ReadIndex (Raft thesis section 6.4). Pure.

A leader notes its commit index when a read comes in, then makes sure that it still is the leader: a majority must
answer a heartbeat sent after that moment. Heartbeats carry a number, answers repeat it. Then the read may be
served from local state that has applied at least the noted index. Many reads share one number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Read(Generic[R]):
    term: int
    heartbeat: int
    index: int
    reader: R


class ReadQueue(Generic[R]):
    """Reads waiting for their leader to be confirmed, oldest first."""

    def __init__(self) -> None:
        self._reads: deque[_Read[R]] = deque()
        self.heartbeat = 0
        """Number of the newest heartbeat sent or about to be sent."""

    def __len__(self) -> int:
        return len(self._reads)

    def add(self, reader: R, term: int, commit: int) -> None:
        """Queue a read at the leader's `commit`; the next heartbeat sent must carry `heartbeat`."""
        self._reads.append(_Read(term, self.heartbeat + 1, commit, reader))

    def next_heartbeat(self) -> int:
        """Return the number for a heartbeat about to be sent."""
        self.heartbeat += 1
        return self.heartbeat

    @property
    def needs_heartbeat(self) -> bool:
        """Whether a read waits for a heartbeat that has not been sent."""
        return bool(self._reads) and self._reads[-1].heartbeat > self.heartbeat

    def take_ready(
        self, term: int, applied: int, confirmed: Callable[[int], bool]
    ) -> tuple[list[tuple[R, int]], list[R]]:
        """Return (reader, index) of reads that may be served, and the readers whose leader is deposed.

        Args:
            term: this member's term while it leads; -1 when it does not, which fails every read.
            applied: index applied locally.
            confirmed: whether a majority, this member included, has answered that heartbeat or a later one.
        """
        ready: list[tuple[R, int]] = []
        failed: list[R] = []
        while self._reads:
            read = self._reads[0]
            if read.term != term:
                failed.append(read.reader)
            elif applied >= read.index and confirmed(read.heartbeat):
                ready.append((read.reader, read.index))
            else:
                break
            self._reads.popleft()
        return ready, failed
