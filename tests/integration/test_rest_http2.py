"""The REST API over HTTP/2 and TLS, asked by a client of another make: the `h2` library on a stream of asyncio's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h2.connection
import h2.events
import h2.exceptions
import pytest

from apiserver.registry import fanout
from component.http2 import frames
from tests.integration.test_apiserver import CORE, Running, pki, server, tls

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration


class Client:
    """One connection."""

    def __init__(self, running: Running, stem: str = "admin") -> None:
        self._running = running
        self._stem = stem
        self._h2 = h2.connection.H2Connection()
        self.bodies: dict[int, bytes] = {}
        self.statuses: dict[int, int] = {}
        self.ended: dict[int, str] = {}
        """How each stream ended."""
        self.stalled: set[int] = set()
        """Streams on which the client takes no more than it did."""
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Client:
        context = tls(self._running.certificates, self._stem)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self._reader, self._writer = await asyncio.open_connection(
            "localhost", self._running.settings.secure_port, ssl=context
        )
        assert self._writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(1 << 30)
        self._flush()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _read(self) -> None:
        while data := await self._reader.read(65536):
            for event in self._h2.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        self.statuses[event.stream_id] = int(dict(event.headers)[b":status"])
                        self.bodies[event.stream_id] = b""
                    case h2.events.DataReceived():
                        self.bodies[event.stream_id] += event.data
                        if event.stream_id not in self.stalled:
                            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        self.ended[event.stream_id] = "whole"
                    case h2.events.StreamReset():
                        self.ended[event.stream_id] = "reset"
            self._flush()
            async with self._changed:
                self._changed.notify_all()

    async def ask(self, method: str, path: str, body: Any = None, *, is_whole: bool = True) -> int:
        stream = self._h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        self._h2.send_headers(stream, head, end_stream=body is None)
        content = json.dumps(body).encode() if body is not None else b""
        while content:
            room = min(self._h2.local_flow_control_window(stream), 16384)
            if room:
                self._h2.send_data(stream, content[:room], end_stream=is_whole and len(content) <= room)
                content = content[room:]
            else:
                self._flush()
                await self.until(lambda: self._h2.local_flow_control_window(stream) > 0)
        self._flush()
        return stream

    def stop_listening(self) -> None:
        """Leave all that comes from now on to `rest`."""
        self._reading.cancel()

    async def rest(self) -> bytes:
        """Return what came since, to the end of the connection, as it came."""
        async with asyncio.timeout(20):
            return await self._reader.read()

    async def until(self, what: Any) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(what)

    async def answer(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        stream = await self.ask(method, path, body)
        await self.until(lambda: stream in self.ended)
        return self.statuses[stream], json.loads(self.bodies[stream])

    def events(self, stream: int) -> list[str]:
        lines = self.bodies.get(stream, b"").splitlines()
        return [json.loads(line)["object"]["metadata"]["name"] for line in lines]


def config_map(name: str, size: int = 1) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x" * size}}


async def test_a_client_that_speaks_http_2_is_known_by_its_certificate_and_gets_what_it_asks(server: Running):
    async with Client(server) as client, Client(server, "apiserver-kubelet-client") as other:
        assert (await client.answer("POST", f"{CORE}/configmaps", config_map("a", 100_000)))[0] == 201
        status, found = await client.answer("GET", f"{CORE}/configmaps/a")
        assert status == 200 and len(found["data"]["a"]) == 100_000
        status, refused = await other.answer("GET", f"{CORE}/configmaps/a")
        assert status == 403 and "apiserver-kubelet-client" in refused["message"]


async def test_a_hundred_watches_share_a_connection_and_each_hears_of_everything(server: Running):
    async with Client(server) as client, Client(server) as writer:
        streams = [
            await client.ask("GET", f"{CORE}/configmaps?watch=1&fieldSelector=metadata.name!=no") for _ in range(99)
        ]
        await client.until(lambda: len(client.statuses) == 99)
        encoded = fanout.ENCODES.values.get(("json",), 0)
        names = [f"m{number}" for number in range(20)]
        for name in names:
            assert (await writer.answer("POST", f"{CORE}/configmaps", config_map(name, 3_000)))[0] == 201
        await client.until(
            lambda: all(
                client.bodies[each].endswith(b"\n") and client.bodies[each].count(b"\n") >= 20 for each in streams
            )
        )
        assert all(client.events(stream)[-20:] == names for stream in streams)
        assert fanout.ENCODES.values[("json",)] - encoded <= 20
        # No more than a hundred: Go's clients open another connection then.
        await client.ask("GET", f"{CORE}/configmaps?watch=1")
        with pytest.raises(h2.exceptions.TooManyStreamsError):
            await client.ask("GET", f"{CORE}/configmaps?watch=1")


async def test_a_watch_that_takes_nothing_is_ended_and_its_neighbours_on_the_connection_are_not(
    server: Running, monkeypatch
):
    monkeypatch.setattr(fanout, "PENDING_BYTES_MAX", 500_000)
    async with Client(server) as client, Client(server) as writer:
        stalled = await client.ask("GET", f"{CORE}/configmaps?watch=1")
        client.stalled.add(stalled)
        watching = await client.ask("GET", f"{CORE}/configmaps?watch=1")
        await client.until(lambda: len(client.statuses) == 2)
        evicted = fanout.EVICTED.values.get((), 0)
        for number in range(8):
            assert (await writer.answer("POST", f"{CORE}/configmaps", config_map(f"m{number}", 100_000)))[0] == 201
        await client.until(lambda: stalled in client.ended)
        assert client.ended == {stalled: "reset"} and fanout.EVICTED.values[()] == evicted + 1
        assert (await writer.answer("POST", f"{CORE}/configmaps", config_map("last")))[0] == 201
        await client.until(lambda: client.bodies[watching].endswith(b"\n") and client.events(watching)[-1] == "last")


async def test_a_server_that_stops_tells_its_clients_ends_watches_and_cuts_off_what_does_not_end(server: Running):
    async with Client(server) as client:
        watch = await client.ask("GET", f"{CORE}/configmaps?watch=1")
        await client.until(lambda: watch in client.statuses)
        unfinished = await client.ask("POST", f"{CORE}/configmaps", {"kind": "ConfigMap"}, is_whole=False)
        assert (await client.answer("GET", "/version"))[0] == 200
        client.stop_listening()
        await server.stop()
        came = await client.rest()
        assert frames.frame(frames.DATA, frames.END_STREAM, watch) in came
        assert frames.reset(unfinished, frames.CANCEL) in came and came.startswith(bytes([0, 0, 8, frames.GOAWAY]))


async def test_a_watch_by_http_1_that_the_server_ends_as_it_stops_is_whole(server: Running):
    async with server.http.get(f"{CORE}/configmaps?watch=1&allowWatchBookmarks=1") as watch:
        await server.stop()
        assert json.loads(await watch.content.read())["type"] == "BOOKMARK"


@pytest.mark.parametrize("offered", [["http/1.1"], []])
async def test_a_client_that_does_not_offer_http_2_gets_http_1(server: Running, offered: list[str]):
    context = tls(server.certificates, "admin")
    if offered:
        context.set_alpn_protocols(offered)
    reader, writer = await asyncio.open_connection("localhost", server.settings.secure_port, ssl=context)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == (offered[0] if offered else None)
    writer.write(f"GET {CORE}/configmaps HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
