"""A watch whose stream is cancelled under it, in every way that gRPC has of saying so."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest

from proto.etcd import rpc_pb2
from store import client_watch
from store.client import ClientWatch, Unavailable


class Stream:
    """A call of grpc.aio's that was cancelled by us, and had broken by itself at the same moment."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.is_writable = True

    async def write(self, request: object) -> None:
        if not self.is_writable:
            raise asyncio.CancelledError

    async def __aiter__(self):
        await self.ended.wait()
        raise asyncio.CancelledError
        yield

    def cancel(self) -> None:
        self.ended.set()

    def add_done_callback(self, callback: object) -> None: ...

    def cancelled(self) -> bool:
        return False  # its status is UNAVAILABLE, which came first

    def done(self) -> bool:
        return not self.is_writable

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    async def details(self) -> str:
        return "the member is gone"


def watch_on(stream: Stream) -> ClientWatch:
    endpoint = SimpleNamespace(
        channel=SimpleNamespace(stream_stream=lambda *_: lambda: stream), streams=set(), address="a:1"
    )
    return ClientWatch(SimpleNamespace(current=endpoint), rpc_pb2.WatchCreateRequest(key=b"/"))


async def follow(watch: ClientWatch) -> None:
    async for _ in watch:
        pass


async def test_a_stream_that_was_cancelled_is_unavailable_and_does_not_cancel_who_follows_it():
    stream = Stream()
    following = asyncio.create_task(follow(watch_on(stream)))
    await asyncio.sleep(0.01)
    stream.cancel()
    with pytest.raises(Unavailable, match="left for another"):
        await following


async def test_asking_for_progress_on_a_stream_that_was_cancelled_does_not_cancel_who_asks():
    stream = Stream()
    stream.is_writable = False
    with pytest.raises(Unavailable):
        await watch_on(stream).request_progress()


@pytest.mark.parametrize("is_left", [True, False])
async def test_a_member_that_accepts_and_never_answers_holds_nobody_up(is_left, monkeypatch):
    monkeypatch.setattr(client_watch, "WRITE_WITHIN_S", 5 if is_left else 0.2)
    left: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        channel = grpc.aio.secure_channel(f"127.0.0.1:{deaf.getsockname()[1]}", grpc.ssl_channel_credentials())
        endpoint = SimpleNamespace(channel=channel, streams=set(), address="a:1")
        watch = ClientWatch(SimpleNamespace(current=endpoint, leave=left.append), rpc_pb2.WatchCreateRequest(key=b"/"))
        following = asyncio.create_task(follow(watch))
        asking = asyncio.create_task(watch.request_progress())
        await asyncio.sleep(0.1)
        if is_left:
            for stream in tuple(endpoint.streams):
                stream.cancel()
        done, _ = await asyncio.wait({following, asking}, timeout=3)
        assert done == {following, asking}
        assert all(isinstance(task.exception(), Unavailable) for task in done)
        assert bool(left) != is_left
        await channel.close()


async def test_who_is_cancelled_is_cancelled_and_who_closes_just_ends():
    stream = Stream()
    following = asyncio.create_task(follow(watch_on(stream)))
    await asyncio.sleep(0.01)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    watch = watch_on(Stream())
    following = asyncio.create_task(follow(watch))
    await asyncio.sleep(0.01)
    await watch.close()
    await following
