"""The shape of a checker."""

from __future__ import annotations

from typing import Protocol

from tests.simulation.cluster import Cluster


class Checker(Protocol):
    """One invariant. What breaks it raises AssertionError, at once or in `finish`."""

    def __init__(self, cluster: Cluster) -> None:
        """Begin to observe."""
        ...

    async def sample(self) -> None:
        """Look at the cluster as it is; called about once a virtual second, faults or not."""
        ...

    async def finish(self) -> None:
        """Judge the end, when the faults are over and everything had time to settle."""
        ...
