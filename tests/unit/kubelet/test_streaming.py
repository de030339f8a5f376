"""WebSocket v5 and tunnelled SPDY, translated for a runtime that is a stub which speaks SPDY."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from component import relay, spdy
from component.websocket import WebSocket
from kubelet import streaming
from kubelet.streaming import TUNNEL, V5, Wanted

ALL = Wanted(stdin=True, stdout=True, stderr=True, tty=False)
SUCCESS = b'{"metadata":{},"status":"Success"}'


@dataclass
class Runtime:
    """The runtime's end of one SPDY connection."""

    session: spdy.Session
    connection: relay.Connection
    streams: dict[str, int] = field(default_factory=dict)

    async def accept(self, frames: AsyncIterator[spdy.Frame], count: int) -> None:
        while len(self.streams) < count:
            frame = await anext(frames)
            assert isinstance(frame, spdy.Opened)
            self.streams[frame.headers["streamtype"]] = frame.stream
            self.session.reply(frame.stream)

    def say(self, stream: str, data: bytes, *, is_last: bool = False) -> None:
        self.session.send(self.streams[stream], data, is_last=is_last)

    async def end(self, status: bytes = SUCCESS) -> None:
        """End as containerd does: outputs closed, a status, everything else reset."""
        for output in ("stdout", "stderr"):
            if output in self.streams:
                self.say(output, b"", is_last=True)
        self.say("error", status)
        for stream in self.streams.values():
            self.session.reset(stream)
        with contextlib.suppress(OSError):
            await self.session.drain()
        self.connection.writer.close()


Serve = Callable[[Runtime], Awaitable[None]]


@contextlib.asynccontextmanager
async def carried(
    serve: Serve, wanted: Wanted | None = ALL, protocol: str = V5, has_ended: Callable[[], bool] | None = None
) -> AsyncIterator[WebSocket]:
    """A client's WebSocket to a runtime that does `serve`; with `has_ended`, to a container that is attached to."""

    async def runtime(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = relay.Connection(reader, writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await serve(Runtime(spdy.Session(connection, is_client=False), connection))

    async def kubelet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await relay.dial(*behind.sockets[0].getsockname()[:2], is_apart=True)
        connection = relay.Connection(reader, writer)
        watching = asyncio.ensure_future(streaming.hang_up(onward, has_ended)) if has_ended is not None else None
        with contextlib.suppress(asyncio.CancelledError):
            await streaming.carry(protocol, connection, onward, wanted, has_ended)
            await connection.close()
        if watching is not None:
            watching.cancel()

    behind = await asyncio.start_server(runtime, "127.0.0.1", 0)
    front = await asyncio.start_server(kubelet, "127.0.0.1", 0, limit=relay.CHUNK_BYTES)
    client = await relay.dial(*front.sockets[0].getsockname()[:2])
    try:
        yield WebSocket(client, is_client=True)
    finally:
        client.abort()
        front.close()
        behind.close()


async def received(socket: WebSocket) -> dict[int, bytes]:
    """Read to the end; what came on each channel."""
    got: dict[int, bytearray] = {}
    channel = -1
    async for piece in socket.pieces():
        data = piece.data
        if piece.is_first:
            channel, data = data[0], data[1:]
        got.setdefault(channel, bytearray()).extend(data)
    return {channel: bytes(data) for channel, data in got.items()}


async def echo(runtime: Runtime) -> None:
    """`cat`, which also says on stderr that it has ended."""
    frames = runtime.session.frames()
    await runtime.accept(frames, 4)
    async for frame in frames:
        if isinstance(frame, spdy.Data) and frame.stream == runtime.streams["stdin"]:
            runtime.say("stdout", frame.data)
            await runtime.session.drain()
            if frame.is_last:
                runtime.say("stderr", b"ended")
                await runtime.end()
                return


async def test_stdin_ends_when_its_channel_is_closed_and_the_outcome_comes_last() -> None:
    async with asyncio.timeout(10), carried(echo) as socket:
        await socket.send(b"\x00hello ")
        await socket.send(b"\x00world")
        await socket.send(b"\xff\x00")
        assert await received(socket) == {1: b"hello world", 2: b"ended", 3: SUCCESS}


async def test_a_message_in_many_frames_is_one_channels() -> None:
    async with asyncio.timeout(10), carried(echo) as socket:
        connection = socket._connection
        mask = b"\0\0\0\0"
        connection.writer.write(b"\x02\x82" + mask + b"\x00a" + b"\x00\x81" + mask + b"b" + b"\x80\x81" + mask + b"c")
        await socket.send(b"\xff\x00")
        assert (await received(socket))[1] == b"abc"


async def test_a_terminal_has_one_output_and_a_size() -> None:
    sizes: list[bytes] = []

    async def serve(runtime: Runtime) -> None:
        frames = runtime.session.frames()
        await runtime.accept(frames, 4)
        assert set(runtime.streams) == {"error", "stdin", "stdout", "resize"}
        async for frame in frames:
            if isinstance(frame, spdy.Data) and frame.stream == runtime.streams["resize"]:
                sizes.append(frame.data)
                await runtime.end()
                return

    wanted = Wanted(stdin=True, stdout=True, stderr=False, tty=True)
    async with asyncio.timeout(10), carried(serve, wanted) as socket:
        await socket.send(b'\x04{"Width":80,"Height":24}')
        assert (await received(socket))[3] == SUCCESS
    assert sizes == [b'{"Width":80,"Height":24}']


async def test_an_exit_code_reaches_the_client_as_the_runtime_says_it() -> None:
    failure = json.dumps({"status": "Failure", "reason": "NonZeroExitCode"}).encode()

    async def serve(runtime: Runtime) -> None:
        await runtime.accept(runtime.session.frames(), 2)
        await runtime.end(failure)

    async with asyncio.timeout(10), carried(serve, Wanted(stdin=False, stdout=True, stderr=False, tty=False)) as socket:
        assert await received(socket) == {1: b"", 3: failure}


async def test_a_runtime_that_vanishes_is_a_failure_and_not_a_success() -> None:
    async def serve(runtime: Runtime) -> None:
        await runtime.accept(runtime.session.frames(), 4)
        runtime.say("stdout", b"half")
        await runtime.session.drain()
        runtime.connection.writer.close()

    async with asyncio.timeout(10), carried(serve) as socket:
        got = await received(socket)
    assert got[1] == b"half" and json.loads(got[3])["reason"] == "InternalError"


async def test_a_stream_that_the_runtime_forgot_ends_with_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SILENT_S", 0.5)
    monkeypatch.setattr(streaming, "LOOK_S", 0.01)
    ended, gone = asyncio.Event(), asyncio.Event()

    async def forget(runtime: Runtime) -> None:
        frames = runtime.session.frames()
        await runtime.accept(frames, 4)
        runtime.say("stdout", b"half")
        await runtime.session.drain()
        await asyncio.sleep(0.6)  # longer than what counts as silence: the container runs, and may be silent
        runtime.say("stdout", b"whole", is_last=True)
        await runtime.session.drain()
        ended.set()
        async for _ in frames:
            pass
        gone.set()

    async with asyncio.timeout(10), carried(forget, has_ended=ended.is_set) as socket:
        assert await received(socket) == {1: b"halfwhole", 3: SUCCESS}
        await gone.wait()


async def test_all_that_a_container_said_is_handed_on_to_a_slow_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SILENT_S", 0.5)
    monkeypatch.setattr(streaming, "LOOK_S", 0.01)
    much = 8 << 20

    async def pour(runtime: Runtime) -> None:
        frames = runtime.session.frames()
        await runtime.accept(frames, 4)
        for _ in range(much >> 16):
            runtime.say("stdout", b"x" * (1 << 16))
            await runtime.session.drain()
        async for _ in frames:
            pass

    async with asyncio.timeout(20), carried(pour, has_ended=lambda: True) as socket:
        await asyncio.sleep(1.0)
        assert len((await received(socket))[1]) == much


async def test_a_command_that_ends_early_is_heard_of_while_stdin_still_flows() -> None:
    async def serve(runtime: Runtime) -> None:
        frames = runtime.session.frames()
        await runtime.accept(frames, 4)
        while not isinstance(await anext(frames), spdy.Data):
            pass
        await runtime.end()

    async with asyncio.timeout(10), carried(serve) as socket:

        async def feed() -> None:
            with contextlib.suppress(OSError):
                for _ in range(200):
                    await socket.send(b"\x00" + b"x" * 60_000)

        feeding = asyncio.ensure_future(feed())
        assert (await received(socket))[3] == SUCCESS
        feeding.cancel()


async def test_a_client_that_leaves_ends_the_runtimes_side() -> None:
    ended = asyncio.Event()

    async def serve(runtime: Runtime) -> None:
        try:
            async for _ in runtime.session.frames():
                pass
        finally:
            ended.set()

    async with asyncio.timeout(10), carried(serve) as socket:
        await socket.send(b"\x00x")
        await socket.close()
        await ended.wait()


async def test_gigabytes_would_pass_without_growth_and_at_the_readers_pace() -> None:
    size = 64 * 1024 * 1024

    async def serve(runtime: Runtime) -> None:
        await runtime.accept(runtime.session.frames(), 4)
        sent = 0
        while sent < size:
            runtime.say("stdout", bytes(1 << 20))
            await runtime.session.drain()
            sent += 1 << 20
        await runtime.end()

    async with asyncio.timeout(20), carried(serve) as socket:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.sleep(0.3)  # nobody reads: the runtime has to wait
        got = 0
        async for piece in socket.pieces():
            got += len(piece.data)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert got > size
    assert grown_kib < 24 * 1024, "sender, translator and reader are all in this process"


async def test_a_hundred_at_once() -> None:
    async def one(number: int) -> None:
        async with carried(echo) as socket:
            await socket.send(b"\x00" + str(number).encode())
            await socket.send(b"\xff\x00")
            assert (await received(socket))[1] == str(number).encode()

    async with asyncio.timeout(20):
        await asyncio.gather(*(one(number) for number in range(100)))


async def test_a_tunnel_carries_the_bytes_of_spdy_whatever_they_are() -> None:
    async def serve(runtime: Runtime) -> None:
        data = await runtime.connection.reader.readexactly(100_003)
        runtime.connection.writer.write(data[::-1])
        await runtime.connection.close()

    data = bytes(at % 251 for at in range(100_003))
    async with asyncio.timeout(10), carried(serve, None, TUNNEL) as socket:
        await socket.send(data[:3])
        await socket.send(data[3:])
        got = b"".join([piece.data async for piece in socket.pieces()])
    assert got == data[::-1]


@pytest.mark.parametrize(
    ("protocol", "offered", "translated"),
    [
        ("websocket", ["v5.channel.k8s.io"], V5),
        ("websocket", ["v4.channel.k8s.io", "v5.channel.k8s.io"], ""),
        ("websocket", [TUNNEL], TUNNEL),
        ("websocket", [], ""),
        ("spdy/3.1", [], ""),
    ],
)
def test_only_what_the_runtime_does_not_speak_is_translated(protocol: str, offered: list[str], translated: str) -> None:
    assert streaming.translated(protocol, offered) == translated
