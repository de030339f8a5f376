"""Work that must go on: what nobody expected ends one turn of it, never the work.

A task that nobody awaits would die in silence, and its part of the process with it. Expected failures are the work's
own to handle; what reaches this place is a mistake, so it is logged whole.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from component.clock import Clock

log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0


async def keep_going(what: str, work: Callable[[], Awaitable[None]], clock: Clock, again_s: float = AGAIN_S) -> None:
    """Run `work` until it returns; where it breaks, log that and run it again `again_s` later."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("broke; starting it again", extra={"what": what})
        await clock.sleep(again_s)
