"""Clients of several apiservers, and what one apiserver does when its store is gone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from api.core import configmap as configmaps
from api.errors import AlreadyExists, ApiError, ServiceUnavailable
from api.resource import ObjectKey
from client.transport import GrpcTransport
from client.verbs import Client, EventType
from component.serve import Identity
from store.client import StoreClient, Unavailable
from tests import builders
from tests.integration.store_cluster import StoreCluster
from tests.integration.store_process import Authority, StoreProcess
from tests.integration.test_apiserver_process import ApiserverProcess, until_longer
from tests.integration.unstarved_clock import UnstarvedClock

pytestmark = pytest.mark.integration

WRITES_BACK_WITHIN_S = 4.0
"""The longest pause between two writes: 1.5 s by design; the rest is for machines that do much else.

By an `UnstarvedClock`, as all that is promised here."""

REFUSED_WITHIN_S = 7.0
"""4 to 5 s by design."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    store.start()
    yield store
    store.kill()


@pytest.fixture
async def servers(tmp_path: Path, store: StoreProcess) -> AsyncIterator[list[ApiserverProcess]]:
    servers = [ApiserverProcess(tmp_path, store.endpoint, store.client, name) for name in ("one", "two")]
    try:
        for server in servers:
            server.start()
        for server in servers:
            await server.wait_ready()
        yield servers
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                server.end(signal.SIGKILL)


@pytest.fixture
async def client(tmp_path: Path, servers: list[ApiserverProcess]) -> AsyncIterator[Client]:
    at = tmp_path / "cluster-pki" / "cluster"
    endpoints = [f"127.0.0.1:{server.grpc_port}" for server in servers]
    client = Client(GrpcTransport(endpoints, Identity(at / "admin.crt", at / "admin.key", at / "ca.crt")))
    yield client
    await client.close()


async def write(client: Client, written: list[float], until: asyncio.Event, clock: UnstarvedClock) -> None:
    number = 0
    while not until.is_set():
        try:
            async with asyncio.timeout(2.5):
                await client.create(configmaps.RESOURCE, builders.configmap(f"c{number}"))
        except AlreadyExists:
            pass  # written by an attempt whose answer was lost
        except (ApiError, TimeoutError):
            await asyncio.sleep(0.02)
            continue
        written.append(clock.now())
        number += 1


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_writes_and_watches_go_on_by_the_other_apiserver(
    how: signal.Signals, store: StoreProcess, servers: list[ApiserverProcess], client: Client
):
    heard: list[str] = []

    async def follow(version: str) -> None:
        while True:
            with contextlib.suppress(ApiError):
                async for batch in client.watch(configmaps.RESOURCE, resource_version=version):
                    for event in batch:
                        version = event.resource_version
                        if event.type is EventType.ADDED:
                            heard.append(event.object.metadata.name)
            await asyncio.sleep(0.02)

    processes = [store, *servers]
    clock = UnstarvedClock(lambda: [each.process.pid for each in processes if each.process is not None])
    written: list[float] = []
    stop = asyncio.Event()
    beginning = (await client.list(configmaps.RESOURCE)).resource_version
    async with asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(follow(beginning))
        writer = tasks.create_task(write(client, written, stop, clock))
        await until_longer(heard, 20)
        for server in servers:  # one after the other, so that the one that is used is among them
            assert server.process is not None
            server.process.send_signal(how)
            before = len(written)
            began = clock.now()
            await until_longer(written, before + 50)
            # Of several writes on end one at least went to the server that is gone. How fast they are is the disk's.
            moments = [began, *written[before : before + 40]]
            assert max(after - earlier for earlier, after in pairwise(moments)) < WRITES_BACK_WITHIN_S
            if how is signal.SIGSTOP:
                server.process.send_signal(signal.SIGCONT)
            else:
                server.process.wait(10)
                server.start()
                await server.wait_ready()
            await asyncio.sleep(1.5)  # for its connection to be made again
        stop.set()
        await writer
        await until_longer(heard, len(written))
        follower.cancel()
    assert sorted(heard) == sorted(f"c{number}" for number in range(len(written))), "an event lost or told twice"


async def test_without_its_store_an_apiserver_says_so_and_answers_from_its_cache(
    servers: list[ApiserverProcess], store: StoreProcess, client: Client
):
    await client.create(configmaps.RESOURCE, builders.configmap("kept"))
    began, ended = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        with contextlib.suppress(ServiceUnavailable):
            async for _ in client.watch(configmaps.RESOURCE, resource_version="0"):
                began.set()
        ended.set()

    follower = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        await began.wait()
    assert store.process is not None
    store.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            await ended.wait()
        listed = await client.list(configmaps.RESOURCE, resource_version="0")
        assert "kept" in [each.metadata.name for each in listed.items]
        with pytest.raises(ServiceUnavailable, match="the store cannot be reached: no member answers"):
            await client.create(configmaps.RESOURCE, builders.configmap("lost"))
    finally:
        store.process.send_signal(signal.SIGCONT)
        follower.cancel()
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ServiceUnavailable):
                await client.get(configmaps.RESOURCE, ObjectKey("default", "kept"))
                return
            await asyncio.sleep(0.05)


async def test_without_a_majority_of_its_store_an_apiserver_says_so_in_seconds_and_serves_when_it_is_back(
    tmp_path: Path,
):
    cluster = StoreCluster(tmp_path / "store", 3)
    endpoints = ",".join(member.endpoint for member in cluster.members.values())
    server = ApiserverProcess(tmp_path, endpoints, cluster.client)
    client = server.client()
    try:
        cluster.start()
        await cluster.leader(30)
        server.start()
        await server.wait_ready()
        await client.create(configmaps.RESOURCE, builders.configmap("kept"))
        lost = [cluster.members["s1"], cluster.members["s2"]]
        for member in lost:
            member.kill()

        clock = UnstarvedClock(cluster.pids)

        async def refusal(work: Awaitable[object]) -> float:
            began = clock.now()
            with pytest.raises(ServiceUnavailable, match="the store has lost its quorum"):
                await work
            return clock.now() - began

        took_s = await asyncio.gather(
            refusal(client.create(configmaps.RESOURCE, builders.configmap("lost"))),
            refusal(client.get(configmaps.RESOURCE, ObjectKey("default", "kept"))),
            refusal(client.list(configmaps.RESOURCE, "default")),
        )
        assert max(took_s) < REFUSED_WITHIN_S
        cluster.start()
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(ServiceUnavailable, AlreadyExists):
                    await client.create(configmaps.RESOURCE, builders.configmap("after"))
                    break
                await asyncio.sleep(0.05)
    finally:
        await client.close()
        with contextlib.suppress(ProcessLookupError):
            server.end(signal.SIGKILL)
        cluster.close()


async def test_a_store_watch_on_a_member_that_never_answers_ends_when_the_member_is_left(tmp_path: Path):
    identity = Authority(tmp_path / "pki").issue("steer-apiserver")
    silence = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    client = StoreClient([address, address], identity, timeout_s=3.0)

    async def watch() -> None:
        async with client.watch(b"/") as watch:
            async for _ in watch:
                pass

    watching = asyncio.create_task(watch())
    with pytest.raises(Unavailable):  # by then it was left, since a request found it silent
        await client.range(b"/x")
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await watching
    await client.close()
    silence.set()
    listener.close()
