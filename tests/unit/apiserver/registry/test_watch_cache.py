"""When watchers are told; what they are told is `test_fanout`'s, and that nothing is missed `test_registries`'."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.core import configmap
from apiserver.registry.codec import Codec
from apiserver.registry.watch_cache import WatchCache


class HandClock:
    """Moved by hand."""

    at = 100.0

    def monotonic(self) -> float:
        return self.at


async def test_twice_as_much_rest_follows_as_telling_took_with_what_connections_send_at_the_end_of_the_turn():
    clock: Any = HandClock()
    nothing: Any = None
    cache = WatchCache(Codec(configmap.RESOURCE), nothing, clock, nothing)
    told: list[float] = []

    def pass_time(seconds: float) -> None:
        clock.at += seconds

    def tell() -> None:
        told.append(clock.at)
        pass_time(0.01)
        asyncio.get_running_loop().call_soon(pass_time, 0.02)

    cache._fanout = SimpleNamespace(flush=tell)  # type: ignore[assignment]
    cache._flush()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert told == [100.0] and cache._rest_until == pytest.approx(clock.at + 0.06)
    cache._flush()
    assert len(told) == 1
    clock.at += 0.061
    assert cache._flush_timer is not None
    cache._flush_timer.cancel()
    cache._flush_now()
    assert len(told) == 2
