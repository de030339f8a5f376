"""The Lease of a node goes when the node does, whoever made it and when."""

from __future__ import annotations

import asyncio

import pytest

from api.coordination import lease as leases
from api.resource import ObjectKey
from kubelet.node_lease import NAMESPACE
from tests.unit.kubelet.test_kubelet import is_running, world

pytestmark = pytest.mark.looptime
KEY = ObjectKey(NAMESPACE, "n1")


async def test_a_lease_made_before_the_node_was_known_belongs_to_it_afterwards() -> None:
    async with world() as w:
        await w.create()
        await w.until(is_running)
        lease = await w.admin.get(leases.RESOURCE, KEY)
        node_uid = lease.metadata.owner_references[0].uid
        lease.metadata.owner_references = []
        await w.admin.update(leases.RESOURCE, lease)
        await asyncio.sleep(20)
        owners = (await w.admin.get(leases.RESOURCE, KEY)).metadata.owner_references
        assert [(owner.kind, owner.name, owner.uid) for owner in owners] == [("Node", "n1", node_uid)]


async def test_a_lease_of_somebody_elses_keeps_its_owner() -> None:
    async with world() as w:
        await w.create()
        await w.until(is_running)
        lease = await w.admin.get(leases.RESOURCE, KEY)
        lease.metadata.owner_references[0].uid = "another"
        await w.admin.update(leases.RESOURCE, lease)
        await asyncio.sleep(20)
        assert (await w.admin.get(leases.RESOURCE, KEY)).metadata.owner_references[0].uid == "another"
