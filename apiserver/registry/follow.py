"""Follows the objects of a kind within the server: a turn for whoever asks whenever something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from api.errors import ApiError
from apiserver.registry.selection import select
from apiserver.registry.watch_cache import WatchCache
from component.clock import Clock

LOOK_AGAIN_S: Final = 1.0

Turn = Callable[[list[Any]], Awaitable[bool]]
"""Is given all objects as they are, shared and never to be changed; returns whether to come again soon."""


async def follow(cache: WatchCache, clock: Clock, turn: Turn) -> None:
    """Take turns until cancelled: one at the start, one after every change, one a second for as long as a turn asks."""
    everything = select(cache.resource)
    await cache.wait_ready()
    while True:
        try:
            watcher = await cache.watch(everything, revision=0)
        except ApiError:
            await clock.sleep(LOOK_AGAIN_S)
            continue
        changed = asyncio.Event()
        watcher.on_ready = changed.set
        try:
            while watcher.error is None:
                changed.clear()
                watcher.take(1 << 30)
                is_unfinished = await turn([stored.object for stored in cache.select(everything)])
                try:
                    async with asyncio.timeout(LOOK_AGAIN_S if is_unfinished else None):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            watcher.close()
