from __future__ import annotations

import asyncio
import random

import pytest

from api.core.pod import Pod
from api.errors import ServiceUnavailable
from api.meta import ObjectMeta
from client.events import NORMAL, WARNING, EventRecorder
from client.verbs import Client
from component.clock import LoopClock
from tests.unit.client.memory_api import MemoryApi

pytestmark = [pytest.mark.looptime]


def pod(name: str = "a") -> Pod:
    return Pod(metadata=ObjectMeta(namespace="default", name=name, uid=f"uid-of-{name}"))


@pytest.fixture
async def world():
    api = MemoryApi()
    recorder = EventRecorder(Client(api), "kubelet", clock=LoopClock(), rng=random.Random(1), host="n1")
    task = asyncio.ensure_future(recorder.run())
    yield api, recorder
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_event_says_who_what_and_about_which_object(world):
    api, recorder = world
    recorder.event(pod(), NORMAL, "Pulled", "Image is here", field_path="spec.containers{c}")
    await asyncio.sleep(1)
    (event,) = api.of("events")
    assert event["involvedObject"]["uid"] == "uid-of-a"
    assert event["involvedObject"]["fieldPath"] == "spec.containers{c}"
    assert event["source"] == {"component": "kubelet", "host": "n1"}
    assert (event["reason"], event["type"], event["count"]) == ("Pulled", "Normal", 1)


async def test_an_event_that_cannot_be_sent_keeps_no_other_from_being_written(world):
    api, recorder = world
    recorder.event(pod(), WARNING, "Failed", "half of a pair: \ud83d")
    recorder.event(pod(), NORMAL, "Pulled", "Image is here")
    await asyncio.sleep(1)
    assert [event["reason"] for event in api.of("events")] == ["Pulled"]


async def test_the_same_event_again_raises_the_count(world):
    api, recorder = world
    for _ in range(3):
        recorder.event(pod(), WARNING, "BackOff", "Back-off restarting")
        await asyncio.sleep(10)
    (event,) = api.of("events")
    assert event["count"] == 3
    assert event["lastTimestamp"] > event["firstTimestamp"]


async def test_many_similar_events_become_one(world):
    api, recorder = world
    for number in range(15):
        recorder.event(pod(), WARNING, "Failed", f"failed with {number}")
    await asyncio.sleep(1)
    combined = [event for event in api.of("events") if event["message"].startswith("(combined")]
    assert [event["message"] for event in combined] == ["(combined from similar events): failed with 14"]
    assert combined[0]["count"] == 6
    assert len(api.of("events")) == 10


async def test_events_about_parts_of_one_object_are_similar(world):
    api, recorder = world
    for number in range(12):
        recorder.event(pod(), WARNING, "Failed", f"{number}", field_path=f"spec.containers{{c{number % 2}}}")
    await asyncio.sleep(1)
    combined = [event for event in api.of("events") if event["message"].startswith("(combined")]
    assert [(event["message"], event["count"]) for event in combined] == [("(combined from similar events): 11", 3)]


async def test_each_component_has_its_own_right_to_events(world):
    api, recorder = world
    for number in range(50):
        recorder.event_from(f"component-{number % 2}", pod(), WARNING, f"Reason{number}", "x")
    await asyncio.sleep(1)
    assert len(api.of("events")) == 50


async def test_one_object_cannot_flood_the_server(world):
    api, recorder = world
    for number in range(200):
        recorder.event(pod(), WARNING, f"Reason{number}", "x")
    recorder.event(pod("b"), NORMAL, "Fine", "x")
    await asyncio.sleep(1)
    assert len(api.of("events")) == 26


async def test_an_event_the_server_could_not_take_is_tried_again(world):
    api, recorder = world
    api.fail = lambda verb, address: ServiceUnavailable("down")
    recorder.event(pod(), NORMAL, "Fine", "x")
    await asyncio.sleep(1)
    api.fail = lambda verb, address: None
    await asyncio.sleep(10)
    assert len(api.of("events")) == 1
