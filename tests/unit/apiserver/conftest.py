from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from apiserver.app import Api, build
from client.verbs import Client
from component.clock import RealClock
from store.local import LocalStore
from tests.builders import service_account
from tests.first_start import started_store
from tests.local_transport import LocalTransport


@pytest.fixture
async def store() -> AsyncIterator[LocalStore]:
    store = started_store()
    yield store
    await store.close()


@pytest.fixture
async def api(store: LocalStore) -> AsyncIterator[Api]:
    api = build(store, RealClock(), random.Random(1))
    task = asyncio.create_task(api.run())
    await api.wait_ready()
    yield api
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def client(api: Api) -> Client:
    from api.core import serviceaccount

    client = Client(LocalTransport(api))
    await client.create(serviceaccount.RESOURCE, service_account())
    return client
