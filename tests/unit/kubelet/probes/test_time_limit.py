from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
import uvloop

from api.core.containers import HTTPGetAction
from kubelet.probes import http, tcp
from kubelet.probes.streak import Result
from kubelet.probes.time_limit import TimeLimit


async def test_what_is_done_in_time_is_not_touched():
    async with TimeLimit(5):
        await asyncio.sleep(0)


async def test_a_limit_ends_what_waits():
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.01):
            await asyncio.Event().wait()


async def test_what_fails_by_itself_fails_as_it_would():
    with pytest.raises(KeyError):
        async with TimeLimit(5):
            raise KeyError("a")


async def test_who_is_cancelled_from_outside_is_cancelled():
    async def wait() -> None:
        async with TimeLimit(5):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def compute(seconds: float) -> None:
    ends_at = time.thread_time() + seconds
    while time.thread_time() < ends_at:
        pass


async def test_time_in_which_others_had_the_loop_is_added():
    begun_at = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.1):
            compute(0.08)
            await asyncio.sleep(0)
            await asyncio.Event().wait()
    assert time.monotonic() - begun_at >= 0.17


async def test_a_timer_that_rings_late_is_told_by_the_clock_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kubelet.probes.time_limit._deaf_s", lambda: 0.0)
    begun_at = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.1):
            time.sleep(0.15)  # noqa: ASYNC251 the loop is held up
            await asyncio.Event().wait()
    assert time.monotonic() - begun_at >= 0.19


async def test_no_more_is_added_than_twice_the_limit(monkeypatch: pytest.MonkeyPatch):
    deaf_s = iter(range(0, 1000, 100))
    monkeypatch.setattr("kubelet.probes.time_limit._deaf_s", lambda: float(next(deaf_s)))
    begun_at = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(0.02):
            await asyncio.Event().wait()
    assert 0.06 <= time.monotonic() - begun_at < 5


@contextmanager
def answering_after(seconds: float) -> Iterator[int]:
    """A server in a thread of its own, which answers one request late; yields its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                time.sleep(seconds)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            thread.join()


@pytest.mark.parametrize("held_up_s", [0.4, 0.9])
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_who_answered_while_the_loop_was_held_up_has_answered(kind: str, held_up_s: float):
    async def ask(port: int) -> Result:
        async with aiohttp.ClientSession() as session:
            if kind == "tcp":
                asking = asyncio.ensure_future(tcp.probe("127.0.0.1", port, 0.2))
            else:
                action = HTTPGetAction(path="/", port=port)
                asking = asyncio.ensure_future(http.probe(session, "127.0.0.1", port, action, 0.2))
            await asyncio.sleep(0.05 if kind == "http" else 0)
            time.sleep(held_up_s)  # noqa: ASYNC251 what holds the loop up
            return await asking

    async def ask_and_let_go(port: int) -> Result:
        found = await ask(port)
        if kind == "tcp":
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        return found

    with answering_after(0.1 if kind == "http" else 0) as port:
        assert uvloop.run(ask_and_let_go(port)).is_success
