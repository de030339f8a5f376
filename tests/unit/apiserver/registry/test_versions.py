"""One object, served in two versions: written in either, read in both, stored once."""

import asyncio
import contextlib
from random import Random

from api.core import event as core
from api.core.references import ObjectReference
from api.events import event as events
from api.meta import ObjectMeta
from apiserver.registry.codec import Codec, storage_prefix
from apiserver.registry.deletion import Keep, Put
from apiserver.registry.registries import Registries
from apiserver.registry.selection import select
from component.clock import RealClock
from store.local import LocalStore


def an_event() -> events.Event:
    return events.Event(
        metadata=ObjectMeta(name="e", namespace="d"), regarding=ObjectReference(kind="Pod", name="p"), note="hello"
    )


def test_the_codec_of_a_version_stores_the_other() -> None:
    codec = Codec(events.RESOURCE)
    value = codec.encode(an_event())
    assert value.startswith(b'{"apiVersion":"v1","kind":"Event","metadata":{')
    served = codec.splice(value, 7)
    assert served.startswith(b'{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"resourceVersion":"7",')
    assert codec.decode(served).note == "hello"
    assert codec.unsplice(served) == value
    assert Codec(core.RESOURCE).decode(value).message == "hello"
    assert storage_prefix(events.RESOURCE) == storage_prefix(core.RESOURCE) == "/registry/core/events/"


async def test_what_is_written_in_one_version_is_read_and_watched_in_both() -> None:
    registries = Registries(LocalStore(), RealClock(), Random(1), (core.RESOURCE, events.RESOURCE))
    task = asyncio.ensure_future(registries.run())
    try:
        await registries.wait_ready()
        newer, older = registries.of(events.RESOURCE), registries.of(core.RESOURCE)
        tried = await newer.create(an_event(), dry_run=True)
        assert tried.object.note == "hello"
        made = await newer.create(an_event())
        await older.cache.catch_up()
        [seen] = older.cache.select(select(core.RESOURCE, "d", "", "involvedObject.name=p"))
        assert (seen.object.message, seen.revision) == ("hello", made.revision)

        async def count(current):
            obj = current.codec.decode(current.json)
            obj.count = 2
            return Put(obj)

        written, _ = await older.write("d", "e", count)
        await newer.cache.catch_up()
        [seen] = newer.cache.select(select(events.RESOURCE, "d", "", "regarding.name=p"))
        assert (seen.object.deprecated_count, seen.revision) == (2, written.revision)

        async def keep(current):
            return Keep()

        kept, _ = await newer.write("d", "e", keep)
        assert kept.revision == written.revision
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
