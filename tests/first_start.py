"""A store as an API server's first start leaves it, for tests that begin after that: namespaces, roles, flow schemas.

What a first start writes is found out once for all tests of a process, by starting a server; each test then has a
store of its own with the same in it. To start one on an empty store takes ten times as long. Tests of the start itself
begin with an empty `LocalStore`.
"""

from __future__ import annotations

import asyncio
import functools
import random
from concurrent.futures import ThreadPoolExecutor

from api.flowcontrol import flowschema
from apiserver.app import build
from apiserver.bootstrap import bootstrap
from component.clock import RealClock
from store.face import put_if_txn
from store.local import LocalStore
from store.mvcc.kv import Mvcc


def started_store() -> LocalStore:
    """Return a new store with what a first start has written, each key once, in the order in which keys were made."""
    mvcc = Mvcc()
    for key, value in _written():
        mvcc.txn(put_if_txn(key, value, 0, 0))
    return LocalStore(mvcc)


@functools.cache
def _written() -> tuple[tuple[bytes, bytes], ...]:
    with ThreadPoolExecutor(1) as beside_the_tests_loop:
        return beside_the_tests_loop.submit(asyncio.run, _start()).result()


async def _start() -> tuple[tuple[bytes, bytes], ...]:
    store = LocalStore()
    api = build(store, RealClock(), random.Random(1))
    running = asyncio.create_task(api.run())
    await api.wait_ready()
    await bootstrap(api.registries)
    schemas = api.registries.lister(flowschema.RESOURCE)
    async with asyncio.timeout(30):
        while not schemas.list() or not all(schema.status.conditions for schema in schemas.list()):  # noqa: ASYNC110  # a cache tells nobody
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    kept = await store.range(b"\0", b"\0")
    await store.close()
    return tuple((kv.key, kv.value) for kv in sorted(kept.kvs, key=lambda kv: kv.create_revision))
