"""Pure: which API server a new connection goes to, from what is known of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Health(IntEnum):
    """How an API server is doing, as far as we know; greater is better."""

    DOWN = 0
    """It did not answer at all."""
    UNKNOWN = 1
    UNREADY = 2
    """It answers that it cannot serve: its store has no quorum, or it is starting."""
    READY = 3


@dataclass(slots=True)
class Backend:
    """One API server."""

    address: str
    """host:port."""
    health: Health = Health.UNKNOWN
    problem: str = ""
    """What it said is wrong, or why it could not be asked."""
    connections: int = 0
    """How many are carried to it now."""

    @property
    def host(self) -> str:
        """Its host."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])


def choose(backends: Sequence[Backend], tried: Collection[str] = ()) -> Backend | None:
    """Return where the next connection goes, or None when all have been tried.

    The healthiest first, and of equals the one with the fewest connections, so that load spreads. One that is not ready
    still says why, and answers what it has in its cache; one that seems down may have come back.
    """
    untried = [backend for backend in backends if backend.address not in tried]
    return max(untried, key=lambda backend: (backend.health, -backend.connections), default=None)
