"""Objects of an aggregated server go with their namespace and with their owners, as any others."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from api.core import configmap, namespace
from api.errors import NotFound
from api.meta import OwnerReference
from api.resource import ObjectKey
from client.events import EventRecorder
from client.informer import Informers
from client.verbs import Client
from component.clock import RealClock
from controllers.garbage_collector.collector import GarbageCollector
from controllers.namespace import reconcile
from deploy.pki import Pki
from tests import builders
from tests.integration.test_aggregation import GROUP, Extension, eventually, pki, register, server, serving, wait_for
from tests.integration.test_apiserver import Running

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration

VERSION = f"{GROUP}/v1alpha1"
ROOT = f"/apis/{VERSION}"
VERBS = ["create", "delete", "get", "list", "patch", "watch"]


class Shelf:
    """A server that keeps flunders in memory, and tells of them as they come and go."""

    def __init__(self) -> None:
        self.flunders: dict[tuple[str, str], dict[str, Any]] = {}
        self._versions = itertools.count(10)
        self._events: list[dict[str, Any]] = []
        self._changed = asyncio.Event()

    def put(self, namespace: str, name: str, **metadata: Any) -> None:
        """Make a flunder."""
        told = {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", **metadata}
        flunder = {"apiVersion": VERSION, "kind": "Flunder", "metadata": told}
        self.flunders[namespace, name] = flunder
        self._tell("ADDED", flunder)

    def _tell(self, type: str, flunder: dict[str, Any]) -> None:
        version = str(next(self._versions))
        flunder["metadata"]["resourceVersion"] = version
        self._events.append({"type": type, "object": copy.deepcopy(flunder), "version": version})
        self._changed.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        match request.path.removeprefix(ROOT).split("/")[1:]:
            case []:
                kinds = [
                    {
                        "name": "flunders",
                        "singularName": "flunder",
                        "namespaced": True,
                        "kind": "Flunder",
                        "verbs": VERBS,
                    }
                ]
                return web.json_response({"kind": "APIResourceList", "groupVersion": VERSION, "resources": kinds})
            case ["flunders"] | ["namespaces", _, "flunders"] if "watch" in request.query:
                return await self._watch(request)
            case ["flunders"]:
                return self._listed(list(self.flunders.values()))
            case ["namespaces", namespace, "flunders"]:
                return self._listed([each for (where, _), each in self.flunders.items() if where == namespace])
            case ["namespaces", namespace, "flunders", name] if (namespace, name) in self.flunders:
                found = self.flunders[namespace, name]
                if request.method == "DELETE":
                    self._tell("DELETED", self.flunders.pop((namespace, name)))
                return web.json_response(found)
        missing = {"kind": "Status", "reason": "NotFound", "message": "not found", "code": 404}
        return web.json_response(missing, status=404)

    def _listed(self, items: list[dict[str, Any]]) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": str(next(self._versions))}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        stream, told = web.StreamResponse(), 0
        since = int(request.query.get("resourceVersion") or 0)
        await stream.prepare(request)
        while True:
            for event in self._events[told:]:
                if int(event["version"]) > since:
                    await stream.write(json.dumps({"type": event["type"], "object": event["object"]}).encode() + b"\n")
            told = len(self._events)
            self._changed.clear()
            await self._changed.wait()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def extension(pki: Pki, tmp_path: Path, shelf: Shelf) -> AsyncIterator[Extension]:
    async with serving(pki, tmp_path, shelf) as made:
        yield made


@pytest.fixture
async def client(server: Running, extension: Extension) -> AsyncIterator[Client]:
    await register(server, extension)
    await wait_for(server, "Passed")
    made = server.client()
    yield made
    await made.close()


async def condition_of(client: Client, type: str) -> tuple[str, str]:
    found = (await client.get(namespace.RESOURCE, ObjectKey("", "team"))).status.conditions
    return next((each.status, each.reason) for each in found if each.type == type)


async def look_at(client: Client) -> float | None:
    found = await client.get(namespace.RESOURCE, ObjectKey("", "team"))
    listers = {namespace.RESOURCE: SimpleNamespace(get=lambda _: found)}
    context: Any = SimpleNamespace(client=client, clock=RealClock(), listers=listers)
    return await reconcile(ObjectKey("", "team"), context)


async def gone(client: Client) -> bool:
    with contextlib.suppress(NotFound):
        await look_at(client)
        return False
    return True


async def test_a_namespace_takes_objects_of_another_server_along(client: Client, shelf: Shelf):
    await client.create(namespace.RESOURCE, builders.namespace("team"))
    shelf.put("team", "a")
    shelf.put("other", "b")
    await client.delete(namespace.RESOURCE, ObjectKey("", "team"))
    await eventually(lambda: gone(client))
    assert list(shelf.flunders) == [("other", "b")]


async def test_a_namespace_stays_while_another_server_does_not_say_what_it_has(
    server: Running, client: Client, extension: Extension
):
    await client.create(namespace.RESOURCE, builders.namespace("team"))
    await client.delete(namespace.RESOURCE, ObjectKey("", "team"))
    await extension.runner.cleanup()
    async with server.http.patch(
        f"/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.{GROUP}",
        data=b'{"metadata":{"labels":{"look":"again"}}}',
        headers={"Content-Type": "application/merge-patch+json"},
    ) as answer:
        assert answer.status == 200
    await wait_for(server, "FailedDiscoveryCheck")
    assert await look_at(client) is not None
    assert await condition_of(client, "NamespaceDeletionDiscoveryFailure") == ("True", "DiscoveryFailed")
    async with server.http.delete(f"/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.{GROUP}") as answer:
        assert answer.status == 200
    await eventually(lambda: gone(client))


async def test_objects_of_another_server_go_with_their_owners_and_take_their_own_along(client: Client, shelf: Shelf):
    made = await client.create(configmap.RESOURCE, builders.configmap("owner"))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made.metadata.uid}
    shelf.put("default", "owned", ownerReferences=[owner])
    shelf.put("default", "free")
    below = builders.configmap("below")
    below.metadata.owner_references = [
        OwnerReference(api_version=VERSION, kind="Flunder", name="owned", uid="uid-default-owned")
    ]
    await client.create(configmap.RESOURCE, below)
    clock, rng = RealClock(), random.Random(1)
    informers = Informers(client, clock=clock, rng=rng)
    collector = GarbageCollector(
        client, informers, EventRecorder(client, "test", clock=clock, rng=rng), clock=clock, rng=rng
    )
    running = [asyncio.create_task(informers.run()), asyncio.create_task(collector.run())]
    try:
        await client.delete(configmap.RESOURCE, ObjectKey("default", "owner"))

        async def settled() -> bool:
            names = {each.metadata.name for each in (await client.list(configmap.RESOURCE, "default")).items}
            return list(shelf.flunders) == [("default", "free")] and "below" not in names

        await eventually(settled, 30)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
