"""Requests on a stream that is cancelled under them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from proto.steersman.v1 import store_pb2
from store.face import Unavailable
from store.pipe import Pipe


class Stream:
    """A call of grpc.aio's whose channel is closed by somebody else."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def write(self, message: bytes) -> None: ...

    async def __aiter__(self) -> AsyncIterator[store_pb2.Replies]:
        await self.closed.wait()
        raise asyncio.CancelledError
        yield

    def cancel(self) -> None: ...


async def test_whoever_waits_is_told_when_the_channel_was_closed_under_the_stream() -> None:
    stream = Stream()
    endpoint = SimpleNamespace(channel=SimpleNamespace(stream_stream=lambda *_: lambda: stream), address="a:1")
    pipe = Pipe(endpoint, 1, is_watched=False)  # type: ignore[arg-type]
    asking = asyncio.ensure_future(pipe.ask(store_pb2.Request(id=1)))
    await asyncio.sleep(0)
    stream.closed.set()
    with pytest.raises(Unavailable, match="not known"):
        await asyncio.wait_for(asking, 5)
    assert pipe.is_broken
    await pipe.close()
