"""Writers of one object let each other finish, and nobody holds the others up for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.core import configmap
from apiserver.app import Api
from apiserver.registry.deletion import Put
from apiserver.registry.turns import Turns
from tests.unit.apiserver.admission.plugins import made


def write_note(registry: Any, note: str, decisions: list[int]) -> Any:
    async def decide(current: Any) -> Put:
        decisions.append(current.revision)
        obj = current.codec.decode(current.json)
        obj.data = {**obj.data, note: "written"}
        await asyncio.sleep(0)  # others get a chance to come between
        return Put(obj)

    return registry.write("default", "c", decide)


async def test_of_many_who_write_an_object_at_once_each_decides_once_and_on_what_the_last_one_wrote(api: Api) -> None:
    registry = api.registries.of(configmap.RESOURCE)
    await registry.create(made(configmap.RESOURCE, {"metadata": {"name": "c"}}, "default"))
    decisions: list[int] = []
    answers = await asyncio.gather(*(write_note(registry, f"n{i}", decisions) for i in range(20)))
    assert len(decisions) == 20 and sorted(decisions) == decisions
    assert len({stored.revision for stored, _ in answers}) == 20
    now = await registry.get("default", "c")
    assert len(now.codec.decode(now.json).data) == 20
    assert not registry._turns


async def test_who_writes_the_object_from_within_its_own_write_is_let_in_and_not_waited_for_for_ever(api: Api) -> None:
    registry = api.registries.of(configmap.RESOURCE)
    await registry.create(made(configmap.RESOURCE, {"metadata": {"name": "c"}}, "default"))
    decisions: list[int] = []

    async def decide(current: Any) -> Put:
        obj = current.codec.decode(current.json)
        if "inner" not in obj.data:
            await write_note(registry, "inner", decisions)
        obj.data["outer"] = "written"
        return Put(obj)

    stored, _ = await asyncio.wait_for(registry.write("default", "c", decide), 5)
    assert stored.codec.decode(stored.json).data == {"inner": "written", "outer": "written"}
    assert len(decisions) == 1 and not registry._turns


async def test_who_waits_and_goes_away_leaves_its_turn_to_the_next() -> None:
    turns = Turns()
    first = await turns.take("a")
    gone, second = asyncio.ensure_future(turns.take("a")), asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    gone.cancel()
    first.end()
    turn = await second
    assert turn is first and gone.cancelled()
    turn.end()
    assert not turns


async def test_who_goes_away_just_as_its_turn_comes_passes_it_on() -> None:
    turns = Turns()
    first = await turns.take("a")
    gone, second = asyncio.ensure_future(turns.take("a")), asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    first.end()
    gone.cancel()
    (await second).end()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not turns


async def test_when_all_who_waited_have_gone_the_object_is_forgotten() -> None:
    turns = Turns()
    first = await turns.take("a")
    gone = asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    gone.cancel()
    first.end()
    await asyncio.sleep(0)
    assert not turns and gone.cancelled()


async def test_writers_of_other_objects_wait_for_nobody() -> None:
    turns = Turns()
    await turns.take("a")
    (await asyncio.wait_for(turns.take("b"), 1)).end()
    assert len(turns) == 1
