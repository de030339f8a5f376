from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core.containers import Container, LifecycleHandler
from component.clock import LoopClock
from kubelet.hooks import HookFailed, run_hook
from kubelet.runtime.hollow import HollowCri

pytestmark = pytest.mark.looptime


async def run(handler: dict[str, Any]) -> float:
    clock = LoopClock()
    began = clock.monotonic()
    container = msgspec.convert({"name": "main", "image": "i"}, Container)

    def http() -> Any:
        raise AssertionError("nothing is asked")

    await run_hook(
        msgspec.convert(handler, LifecycleHandler), container, "id", "10.0.0.5", HollowCri(clock), http, clock
    )
    return clock.monotonic() - began


async def test_a_hook_that_sleeps_takes_its_time():
    assert await run({"sleep": {"seconds": 7}}) == pytest.approx(7)


async def test_a_hook_on_a_port_is_no_hook():
    with pytest.raises(HookFailed, match="must be exec, httpGet or sleep"):
        await run({"tcpSocket": {"port": 80}})
