"""The objects of priority and fairness are kept, and where they are as they should be nobody is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from api.flowcontrol import flowschema
from api.resource import ObjectKey
from apiserver.app import Api
from apiserver.flowcontrol.levels import FlowControl
from apiserver.flowcontrol.upkeep import Upkeep
from client.verbs import Client
from component.clock import RealClock
from store.local import LocalStore


@contextmanager
def requests_at(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note what the store is asked meanwhile."""
    asked: list[str] = []
    for name in ("range", "put_if", "delete_if", "txn"):
        whole = getattr(store, name)

        async def noting(*args: Any, _name: str = name, _whole: Any = whole, **options: Any) -> Any:
            asked.append(_name)
            return await _whole(*args, **options)

        monkeypatch.setattr(store, name, noting)
    yield asked
    monkeypatch.undo()


def upkeep_of(api: Api) -> Upkeep:
    return Upkeep(FlowControl(600, 0.0), api.registries, RealClock(), lambda tickets: None)


async def test_a_round_over_what_is_as_it_should_be_asks_nothing_of_the_store(
    api: Api, store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    with requests_at(store, monkeypatch) as asked:
        await upkeep_of(api).reconcile()
    assert asked == []


async def test_what_was_taken_away_or_changed_is_brought_back(api: Api, client: Client):
    before = await client.get(flowschema.RESOURCE, ObjectKey("", "probes"))
    await client.delete(flowschema.RESOURCE, ObjectKey("", "system-nodes"))
    await client.patch(flowschema.RESOURCE, ObjectKey("", "probes"), {"spec": {"matchingPrecedence": 77}})
    cached = api.registries.lister(flowschema.RESOURCE)
    async with asyncio.timeout(5):
        while cached.get(ObjectKey("", "system-nodes")) or cached.get(ObjectKey("", "probes")) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await upkeep_of(api).reconcile()
    assert await client.get(flowschema.RESOURCE, ObjectKey("", "system-nodes"))
    assert (await client.get(flowschema.RESOURCE, ObjectKey("", "probes"))).spec == before.spec
