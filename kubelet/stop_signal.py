"""A pod's end, as what prepares and starts it sees it: waits that it makes pointless are broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """The pod is to be stopped: what was waited for is pointless."""


class StopSignal:
    """Set once, when a pod is to be stopped."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        """Whether the pod is to be stopped."""
        return self._event.is_set()

    def set(self) -> None:
        """Have the pod stopped; safe to call twice."""
        self._event.set()

    def check(self) -> None:
        """Raise Interrupted if the pod is to be stopped."""
        if self._event.is_set():
            raise Interrupted

    async def unless_set(self, wait: Awaitable[T]) -> T:
        """Return what `wait` gives, or break it off and raise Interrupted when the pod is to be stopped."""
        waiting = asyncio.ensure_future(wait)
        stopped = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise Interrupted
        finally:
            stopped.cancel()
            if not waiting.done():
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
