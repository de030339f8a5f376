"""Several API servers on one store: killed under load, with store leaders killed and history compacted meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.core import configmap as configmaps
from api.core import namespace as namespaces
from api.core.namespace import Namespace
from api.errors import AlreadyExists, ApiError, Conflict, Expired, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.transport import GrpcTransport
from client.verbs import Address, Client, EventType
from component.serve import Identity
from store.client import Compacted, FutureRevision, Refused, Unavailable
from store.mvcc.kv import Put
from tests import builders
from tests.integration.store_cluster import StoreCluster
from tests.integration.test_apiserver_process import ApiserverProcess
from tests.integration.unstarved_clock import UnstarvedClock
from tests.integration.watch_history import History, Object, Segment, Selects, Story, problems

pytestmark = pytest.mark.integration

PREFIX = b"/registry/core/configmaps/"
SPACES = ("a", "b")
NAMES = [f"c{number}" for number in range(8)]
SETTLE_S_MAX = 30.0
JUMP_S_MAX = 1.0
"""How long a write may take that was under way, or was begun, when its server was killed; by an `UnstarvedClock`."""


class Servers:
    """Three store members and some API servers over them, a client of all of them, and the store's own history."""

    def __init__(self, directory: Path, count: int, members: int = 3) -> None:
        self.store = StoreCluster(directory / "store", members)
        self.history = History()
        self.apiservers: list[ApiserverProcess] = []
        endpoints = ",".join(member.endpoint for member in self.store.members.values())
        for number in range(count):
            self.apiservers.append(ApiserverProcess(directory, endpoints, self.store.client, f"apiserver-{number}"))

    async def start(self) -> None:
        self.store.start()
        await self.store.leader(30)
        for apiserver in self.apiservers:
            apiserver.start()
        for apiserver in self.apiservers:
            await apiserver.wait_ready()

    def close(self) -> None:
        for apiserver in self.apiservers:
            with contextlib.suppress(ProcessLookupError):
                apiserver.end(signal.SIGKILL)
        self.store.close()

    def pids(self) -> list[int]:
        """Return those of the processes that run."""
        found = [one.process for one in (*self.apiservers, *self.store.members.values())]
        return [process.pid for process in found if process is not None and process.poll() is None]

    def identity(self) -> Identity:
        return self.apiservers[0].identity()

    def client(self) -> Client:
        return Client(GrpcTransport([one.grpc_endpoint for one in self.apiservers], self.identity()))

    async def record(self) -> None:
        """Take the history down as the store tells it, until cancelled."""
        client = self.store.store_client(timeout_s=2.0)
        try:
            while True:
                try:
                    async with client.watch(PREFIX, self.history.revision + 1) as watch:
                        async for batch in watch:
                            for event in batch.events:
                                key = event.kv.key[len(PREFIX) :].decode()
                                value = None if event.is_delete else event.kv.value
                                self.history.add(event.kv.mod_revision, key, value)
                            self.history.revision = max(self.history.revision, batch.revision)
                except (Unavailable, Refused):
                    await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def revision(self) -> int:
        client = self.store.store_client(timeout_s=5.0)
        try:
            return (await client.status()).revision
        finally:
            await client.close()

    async def write_all_again(self) -> None:
        """Give every object a new revision, past the API servers; return when the history has it."""
        client = self.store.store_client(timeout_s=2.0)
        try:
            async with asyncio.timeout(30):
                while True:
                    try:
                        found = await client.range(PREFIX, PREFIX[:-1] + b"0")
                        done = await client.txn((), [Put(one.key, one.value) for one in found.kvs])
                        break
                    except (Unavailable, Refused):
                        await asyncio.sleep(0.2)  # its leader was killed a moment ago
                while self.history.revision < done.revision:  # noqa: ASYNC110  # another task writes it
                    await asyncio.sleep(0.05)
        finally:
            await client.close()

    async def compact(self, kept: int = 5) -> None:
        """Forget all but the last revisions; never what the history has not taken down yet."""
        client = self.store.store_client(timeout_s=2.0)
        try:
            async with asyncio.timeout(30):
                while True:
                    try:
                        newest = (await client.status()).revision - kept
                        await client.compact(max(1, min(newest, self.history.revision)))
                        return
                    except Compacted:
                        return
                    except (FutureRevision, Unavailable, Refused):
                        await asyncio.sleep(0.2)  # its leader was killed a moment ago, or it is behind
        finally:
            await client.close()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    servers = Servers(tmp_path, 2)
    try:
        await servers.start()
        yield servers
    finally:
        servers.close()


class Load:
    """Writers whose acknowledged writes must be there in the end."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client = client
        self._rng = rng
        self.acknowledged: dict[tuple[str, str], int] = {}
        """Of each object, the highest number that a server said was stored."""
        self.slowest_s = 0.0
        self.writes = 0

    async def run(self, space: str, name: str) -> None:
        """Write rising numbers to one object, now and then deleting it, until cancelled."""
        number = 0
        while True:
            number += 1
            began = time.monotonic()
            try:
                await self._write(space, name, number)
            except (Conflict, AlreadyExists, NotFound):
                continue
            except ApiError:
                await asyncio.sleep(0.02)
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.writes += 1
            await asyncio.sleep(self._rng.random() * 0.05)

    async def _write(self, space: str, name: str, number: int) -> None:
        labels = {"colour": self._rng.choice(("red", "blue"))}
        try:
            found = await self._client.get(configmaps.RESOURCE, ObjectKey(space, name))
        except NotFound:
            made = builders.configmap(name, namespace=space, labels=labels, number=str(number))
            await self._client.create(configmaps.RESOURCE, made)
        else:
            stored = int(found.data.get("number", "0"))
            assert stored >= self.acknowledged.get((space, name), 0), "an acknowledged write is gone"
            if self._rng.random() < 0.1:
                self.acknowledged.pop((space, name), None)
                await self._client.delete(configmaps.RESOURCE, ObjectKey(space, name))
                return
            found.data = {"number": str(number)}
            found.metadata.labels = labels
            await self._client.update(configmaps.RESOURCE, found)
        self.acknowledged[space, name] = number


def selections() -> list[tuple[str, str, dict[str, str], Selects]]:
    """Return kinds of watches: what it is called, its namespace, its selectors, and what it should see."""
    found: list[tuple[str, str, dict[str, str], Selects]] = [("all", "", {}, lambda one: True)]
    for space in SPACES:
        found.append((f"in {space}", space, {}, lambda one, space=space: one["metadata"]["namespace"] == space))
    for colour in ("red", "blue"):

        def has(one: Object, colour: str = colour) -> bool:
            return bool(one["metadata"].get("labels", {}).get("colour") == colour)

        found.append((f"{colour}", "", {"labelSelector": f"colour={colour}"}, has))
        found.append((f"not {colour}", "", {"labelSelector": f"colour!={colour}"}, lambda one, has=has: not has(one)))
    for name in NAMES[:2]:
        selector = {"fieldSelector": f"metadata.name={name}"}
        found.append((f"named {name}", "a", selector, lambda one, key=f"a/{name}": _key(one) == key))
    return found


class RestWatcher:
    """One watch over HTTP, taken up again at any server whenever it breaks."""

    def __init__(
        self, servers: Servers, kind: tuple[str, str, dict[str, str], Selects], accept: str, place: int
    ) -> None:
        name, space, self._options, selects = kind
        self.story = Story(f"REST {place}: {name} as {accept or 'json'}", selects)
        self._bases = [one.url for one in servers.apiservers]
        self._path = f"/api/v1/namespaces/{space}/configmaps" if space else "/api/v1/configmaps"
        self._accept = {"Accept": accept} if accept else {}
        self._place = place

    async def run(self, http: aiohttp.ClientSession) -> None:
        while True:
            try:
                if not self.story.segments or self._is_stale:
                    await self._list(http)
                await self._watch(http)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                await asyncio.sleep(0.05)
            self._place += 1
            self.story.resumed += 1

    _is_stale = False

    def _url(self) -> str:
        return self._bases[self._place % len(self._bases)] + self._path

    async def _list(self, http: aiohttp.ClientSession) -> None:
        async with http.get(self._url(), params=self._options) as answer:
            if answer.status != 200:
                raise ValueError(answer.status)
            body = await answer.json()
        listed = {_key(one): int(one["metadata"]["resourceVersion"]) for one in body["items"]}
        version = int(body["metadata"]["resourceVersion"])
        self.story.segments.append(Segment(version, listed, reached=version))
        self._is_stale = False

    async def _watch(self, http: aiohttp.ClientSession) -> None:
        segment = self.story.segments[-1]
        asked = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": str(segment.reached)}
        # Short watches, so that taking one up again is tried as often as not.
        asked |= {"timeoutSeconds": str(2 + self._place % 5)} | self._options
        async with http.get(self._url(), params=asked, headers=self._accept) as answer:
            if answer.status == 410:
                self._is_stale = True
                return
            if answer.status != 200:
                raise ValueError(answer.status)
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    self._is_stale = event["object"]["code"] == 410
                    return
                told = event["object"]
                if told["kind"] == "Table":
                    told = told["rows"][0]["object"] if told["rows"] else told
                version = int(told["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    segment.events.append((event["type"], _key(told), version))
                segment.reached = max(segment.reached, version)


class GrpcWatcher:
    """One watch over the component API."""

    def __init__(self, servers: Servers, kind: tuple[str, str, dict[str, str], Selects], place: int) -> None:
        name, self._space, self._options, selects = kind
        self.story = Story(f"gRPC {place}: {name}", selects)
        endpoints = [one.grpc_endpoint for one in servers.apiservers]
        self.transport = GrpcTransport(endpoints[place % 2 :] + endpoints[: place % 2], servers.identity())

    async def run(self) -> None:
        address = Address("", "v1", "configmaps", self._space)
        selectors = {
            "label_selector": self._options.get("labelSelector", ""),
            "field_selector": self._options.get("fieldSelector", ""),
        }
        is_stale = True
        while True:
            try:
                if is_stale:
                    found = await self.transport.list(address, resource_version="", **selectors)
                    listed = {_key(json.loads(one.json)): int(one.resource_version) for one in found.items}
                    version = int(found.resource_version)
                    self.story.segments.append(Segment(version, listed, reached=version))
                    is_stale = False
                segment = self.story.segments[-1]
                async for batch in self.transport.watch(address, resource_version=str(segment.reached), **selectors):
                    for event in batch:
                        version = int(event.resource_version)
                        if event.type is not EventType.BOOKMARK:
                            segment.events.append((event.type.value, _key(json.loads(event.json)), version))
                        segment.reached = max(segment.reached, version)
            except Expired:
                is_stale = True
            except ApiError:
                await asyncio.sleep(0.05)
            self.story.resumed += 1


def _key(one: Object) -> str:
    return f"{one['metadata']['namespace']}/{one['metadata']['name']}"


async def watch_through(servers: Servers, faults: list[str], between_s: float, watchers: int = 50) -> dict[str, Any]:
    """Write and watch while faults happen; returns figures, having checked that every story is complete."""
    rng = random.Random(7)
    client = servers.client()
    for space in SPACES:
        await client.create(namespaces.RESOURCE, Namespace(metadata=ObjectMeta(name=space)))
    recording = asyncio.create_task(servers.record())
    context = ssl.create_default_context(cafile=servers.identity().ca)
    context.load_cert_chain(servers.identity().cert, servers.identity().key)
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=0), timeout=aiohttp.ClientTimeout(total=None, sock_connect=2)
    )
    kinds = selections()
    media = ("", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
             "application/json;as=Table;v=v1;g=meta.k8s.io")  # fmt: skip
    rest = [
        RestWatcher(servers, kinds[place % len(kinds)], media[place % 3], place) for place in range(watchers * 4 // 5)
    ]
    over_grpc = [GrpcWatcher(servers, kinds[place % len(kinds)], place) for place in range(watchers - len(rest))]
    load = Load(client, rng)
    tasks = [asyncio.create_task(one.run(http)) for one in rest]
    tasks += [asyncio.create_task(one.run()) for one in over_grpc]
    writing = [asyncio.create_task(load.run(space, name)) for space in SPACES for name in NAMES]
    stories = [one.story for one in rest] + [one.story for one in over_grpc]
    try:
        for fault in faults:
            await asyncio.sleep(between_s)
            match fault:
                case "apiserver":
                    victim = rng.choice(servers.apiservers)
                    victim.end(signal.SIGKILL)
                    await asyncio.sleep(between_s / 2)
                    victim.start()
                    await victim.wait_ready()
                case "leader":
                    leader = await servers.store.leader()
                    leader.kill()
                    await asyncio.sleep(between_s / 2)
                    servers.store.start()
                case "compaction":
                    await servers.compact()
                case "outage":
                    # What watchers have not heard of by now is forgotten when servers are back: they must be told so.
                    for victim in servers.apiservers:
                        victim.end(signal.SIGKILL)
                    await servers.write_all_again()  # or all might have heard of everything
                    await servers.compact(0)
                    for victim in servers.apiservers:
                        victim.start()
                    for victim in servers.apiservers:
                        await victim.wait_ready()
            assert not [task for task in (*tasks, *writing, recording) if task.done()], "somebody gave up"
        await asyncio.sleep(between_s)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await _settle(servers, client, stories)
    finally:
        for task in (*tasks, *writing, recording):
            task.cancel()
        results = await asyncio.gather(*tasks, *writing, recording, return_exceptions=True)
        await http.close()
        for watcher in over_grpc:
            await watcher.transport.close()
    broken = [result for result in results if isinstance(result, Exception)]
    assert not broken, broken
    found = [problem for story in stories for problem in problems(story, servers.history)]
    assert not found, "\n".join(found[:10])
    final = {(one.metadata.namespace, one.metadata.name): int(one.data["number"])
             for one in (await client.list(configmaps.RESOURCE)).items
             if one.metadata.namespace in SPACES and "number" in one.data}  # fmt: skip
    await client.close()
    for key, number in load.acknowledged.items():
        assert final.get(key, -1) >= number, f"{key}: {number} was acknowledged, and there is {final.get(key)}"
    return {
        "events": sum(len(segment.events) for story in stories for segment in story.segments),
        "segments": sum(len(story.segments) for story in stories),
        "resumed": sum(story.resumed for story in stories),
        "writes": load.writes,
        "slowest write": round(load.slowest_s, 2),
    }


async def _settle(servers: Servers, client: Client, stories: list[Story]) -> None:
    """Touch every object until each watcher has come past a revision at which all was still."""
    still_at = await servers.revision()
    until = time.monotonic() + SETTLE_S_MAX
    while True:
        behind = [f"{story.name} at {story.reached}" for story in stories if story.reached < still_at]
        if not behind and servers.history.revision >= still_at:
            return
        assert time.monotonic() < until, f"not come to {still_at}: {behind}, history at {servers.history.revision}"
        async with asyncio.timeout(SETTLE_S_MAX):
            # What everybody selects something of: an object of each name, space and colour.
            for space in SPACES:
                for name in NAMES[:2]:
                    for colour in ("red", "blue"):
                        with contextlib.suppress(ApiError):
                            await _touch(client, space, name, colour)
        await asyncio.sleep(0.1)


async def _touch(client: Client, space: str, name: str, colour: str) -> None:
    try:
        found = await client.get(configmaps.RESOURCE, ObjectKey(space, name))
    except NotFound:
        made = builders.configmap(name, namespace=space, labels={"colour": colour}, number="1000000")
        await client.create(configmaps.RESOURCE, made)
        return
    found.metadata.labels = {"colour": colour}
    await client.update(configmaps.RESOURCE, found)


async def test_watches_are_complete_through_kills_of_servers_and_leaders_and_compactions(servers: Servers):
    figures = await watch_through(servers, ["apiserver", "compaction", "leader", "outage", "apiserver"], 1.5)
    assert figures["events"] > 500 and figures["resumed"] > 50 and figures["segments"] > 50, figures
    print(figures)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_watches_are_complete_through_many_kills(servers: Servers):
    rng = random.Random(11)
    faults = [rng.choice(("apiserver", "apiserver", "leader", "compaction", "outage")) for _ in range(60)]
    print(await watch_through(servers, faults, 4.0))


async def test_our_processes_move_to_another_server_within_a_second_and_lose_no_write(tmp_path: Path):
    servers = Servers(tmp_path, 2, members=1)
    try:
        await servers.start()
        client = servers.client()
        clock = UnstarvedClock(servers.pids)
        seen: dict[str, float] = {}
        written: dict[str, float] = {}

        async def follow() -> None:
            version = ""
            while True:
                try:
                    if not version:
                        version = (await client.list(configmaps.RESOURCE, "default")).resource_version
                    async for batch in client.watch(configmaps.RESOURCE, "default", resource_version=version):
                        for event in batch:
                            version = event.resource_version
                            if event.type is EventType.ADDED:
                                seen.setdefault(event.object.metadata.name, clock.now())
                except ApiError:
                    await asyncio.sleep(0.02)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.3)
        for number in range(120):
            if number == 40:
                servers.apiservers[0].end(signal.SIGKILL)
            if number == 60:
                servers.apiservers[0].start()
                await servers.apiservers[0].wait_ready()
            if number == 80:
                servers.apiservers[1].end(signal.SIGKILL)
            began = clock.now()
            while True:
                try:
                    await client.create(configmaps.RESOURCE, builders.configmap(f"n{number}"))
                    break
                except AlreadyExists:
                    break
                except ApiError:
                    await asyncio.sleep(0.01)
            written[f"n{number}"] = clock.now()
            took = written[f"n{number}"] - began
            assert took < JUMP_S_MAX, f"write {number} took {took:.2f} s"
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while set(written) - set(seen):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        late = {name: seen[name] - at for name, at in written.items() if seen[name] - at > JUMP_S_MAX}
        assert not late, f"the watch was told late: {late}"
        listed = {one.metadata.name for one in (await client.list(configmaps.RESOURCE, "default")).items}
        assert set(written) <= listed
        following.cancel()
        await asyncio.wait([following])
        await client.close()
    finally:
        servers.close()
