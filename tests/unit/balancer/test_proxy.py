"""The balancer on loopback, with servers that answer, refuse, hang and say that they are not ready."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from balancer import proxy
from balancer.backends import Health
from balancer.proxy import Proxy
from deploy.pki import Pki


class ApiServer:
    """Answers every request with its name, and /readyz as told."""

    def __init__(self, name: str, tls: ssl.SSLContext) -> None:
        self.name, self._tls = name, tls
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self.answers.wait()
                ready = head.startswith(b"GET /readyz")
                body = b"[-]etcd failed: no quorum" if ready and self.status != 200 else self.name.encode()
                status = self.status if ready else 200
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
                await writer.drain()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[list[ApiServer]]:
    pki = Pki(tmp_path)
    pki.ensure_control_plane([], ["m1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cluster/apiserver.crt", tmp_path / "cluster/apiserver.key")
    servers = [ApiServer(name, tls) for name in ("a", "b")]
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        server.server.close()


@pytest.fixture
async def balancer(
    tmp_path: Path, servers: list[ApiServer], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Proxy, int]]:
    monkeypatch.setattr(proxy, "EVERY_S", 0.1)
    balancer = Proxy(
        [f"127.0.0.1:{server.port}" for server in servers],
        ssl.create_default_context(cafile=str(tmp_path / "cluster/ca.crt")),
    )
    listener = await asyncio.start_server(balancer.carry, "127.0.0.1", 0)
    running = asyncio.create_task(balancer.run())
    await until(lambda: all(backend.health is Health.READY for backend in balancer.backends))
    yield balancer, listener.sockets[0].getsockname()[1]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    listener.close()


async def until(is_so) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  (what is waited for has no event of its own)
            await asyncio.sleep(0.01)


async def connect(port: int, ca: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    tls = ssl.create_default_context(cafile=str(ca))
    return await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="kubernetes")


async def ask(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> str:
    reader, writer = streams
    writer.write(b"GET /api HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return (await reader.readexactly(1)).decode()


async def test_connections_spread_over_all(balancer, tmp_path: Path):
    streams = [await connect(balancer[1], tmp_path / "cluster/ca.crt") for _ in range(4)]
    assert sorted([await ask(each) for each in streams]) == ["a", "a", "b", "b"]


async def test_one_that_hangs_is_left_and_its_connections_are_cut(balancer, servers, tmp_path: Path):
    ca = tmp_path / "cluster/ca.crt"
    streams = [await connect(balancer[1], ca) for _ in range(2)]
    by_name = {await ask(each): each for each in streams}
    on_a = by_name["a"]
    servers[0].answers.clear()
    on_a[1].write(b"GET /api HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(20):
        with contextlib.suppress(OSError):
            assert await on_a[0].read(1) == b"", "a client of the server that hangs must hear that it is over"
    assert [await ask(await connect(balancer[1], ca)) for _ in range(3)] == ["b", "b", "b"]
    servers[0].answers.set()
    await until(lambda: balancer[0].backends[0].health is Health.READY)


async def test_one_that_is_not_ready_is_passed_over_until_there_is_no_other(balancer, servers, tmp_path: Path):
    ca = tmp_path / "cluster/ca.crt"
    servers[0].status = 500
    await until(lambda: balancer[0].backends[0].health is Health.UNREADY)
    assert balancer[0].backends[0].problem == "[-]etcd failed: no quorum"
    assert [await ask(await connect(balancer[1], ca)) for _ in range(3)] == ["b", "b", "b"]
    servers[1].status = 500
    await until(lambda: balancer[0].backends[1].health is Health.UNREADY)
    assert await ask(await connect(balancer[1], ca)) == "a"
    assert balancer[0].check() is None


async def test_one_that_stays_unready_loses_its_connections_while_another_is_ready(balancer, servers, tmp_path: Path):
    ca = tmp_path / "cluster/ca.crt"
    streams = [await connect(balancer[1], ca) for _ in range(2)]
    by_name = {await ask(each): each for each in streams}
    servers[0].status = 500
    async with asyncio.timeout(20):
        with contextlib.suppress(OSError):
            assert await by_name["a"][0].read(1) == b""
    assert await ask(by_name["b"]) == "b"
    servers[1].status = 500
    await until(lambda: balancer[0].backends[1].health is Health.UNREADY)
    left = await connect(balancer[1], ca)
    for _ in range(10):  # longer than it takes to be moved, were there somewhere to go
        assert await ask(left) in "ab"
        await asyncio.sleep(0.1)


async def test_one_that_refuses_connections_costs_no_request(balancer, servers, tmp_path: Path):
    servers[0].server.close()
    ca = tmp_path / "cluster/ca.crt"
    assert [await ask(await connect(balancer[1], ca)) for _ in range(3)] == ["b", "b", "b"]


async def test_a_server_that_is_slow_to_take_a_connection_is_not_waited_for(
    balancer, servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(proxy, "NEXT_AFTER_S", 0.05)
    monkeypatch.setattr(proxy, "CONNECT_WITHIN_S", 30.0)
    ca = tmp_path / "cluster/ca.crt"
    really_connect, dropped = asyncio.open_connection, asyncio.Event()

    async def connect_slowly(host: str, port: int, **options: object):
        if port == servers[0].port and "ssl" not in options:
            try:
                await asyncio.Event().wait()
            finally:
                dropped.set()
        return await really_connect(host, port, **options)

    monkeypatch.setattr(asyncio, "open_connection", connect_slowly)
    async with asyncio.timeout(20):
        assert [await ask(await connect(balancer[1], ca)) for _ in range(3)] == ["b", "b", "b"]
        await dropped.wait()
    await until(lambda: balancer[0].backends[0].health is Health.READY)
