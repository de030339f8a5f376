"""Members are left without a trace: what was connected to them is closed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from component.serve import Identity
from store import endpoints
from store.endpoints import Endpoints

ASKED = "/test.Slow/Ask"


class Slow(grpc.GenericRpcHandler):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.is_asked = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def answer(request: bytes, context: object) -> bytes:
            self.is_asked.set()
            await self.may_answer.wait()
            return b"answer"

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Identity:
    monkeypatch.setattr(endpoints, "grpc_channel", lambda addresses, *_, **__: grpc.aio.insecure_channel(addresses[0]))
    monkeypatch.setattr(endpoints, "LEFT_GRACE_S", 0.3)
    return Identity(Path("cert"), Path("key"), Path("ca"))


async def until_closed(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(5):
        while (state := channel.get_state()) is not grpc.ChannelConnectivity.SHUTDOWN:
            await channel.wait_for_state_change(state)


async def test_the_channel_of_a_member_that_was_left_is_closed(identity: Identity) -> None:
    several = Endpoints(["127.0.0.1:1", "127.0.0.1:2"], identity, None)
    left = several.current
    several.leave(left)
    assert several.current is not left
    await until_closed(left.channel)
    await several.close()


async def test_what_was_asked_of_a_member_before_it_was_left_is_still_answered(identity: Identity) -> None:
    slow = Slow()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((slow,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    several = Endpoints([f"127.0.0.1:{port}", "127.0.0.1:2"], identity, None)
    left = several.current
    asking = asyncio.ensure_future(left.channel.unary_unary(ASKED)(b"question"))
    await slow.is_asked.wait()
    several.leave(left)
    await asyncio.sleep(0)
    slow.may_answer.set()
    assert await asyncio.wait_for(asking, 5) == b"answer"
    await until_closed(left.channel)
    await several.close()
    await server.stop(None)


async def test_closing_does_not_wait_for_what_was_asked_of_members_that_were_left(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "LEFT_GRACE_S", 60.0)
    slow = Slow()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((slow,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    several = Endpoints([f"127.0.0.1:{port}", "127.0.0.1:2"], identity, None)
    left = several.current
    asking = asyncio.ensure_future(left.channel.unary_unary(ASKED)(b"question"))
    await slow.is_asked.wait()
    several.leave(left)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        await several.close()
    await until_closed(left.channel)
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await asking
    slow.may_answer.set()
    await server.stop(None)
