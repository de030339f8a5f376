"""A node's directories for volumes, over the real API server with a node's rights."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.core import persistentvolume as volumes
from api.core.local_volumes import DIRECTORY, NODE, PROVISIONED_BY, PROVISIONER
from api.core.persistentvolume import PersistentVolume
from api.errors import Forbidden, NotFound
from api.resource import ObjectKey
from client.verbs import Client
from kubelet.volumes.claims import NotMounted
from kubelet.volumes.local_volumes import LOOK_S, LocalVolumes
from tests.local_transport import LocalTransport
from tests.unit.kubelet.test_kubelet import NODE_USER, World, world

pytestmark = pytest.mark.looptime

NAME = "pvc-1"


class Place:
    """A directory of volumes, and its node."""

    def __init__(self, w: World, path: Path) -> None:
        self.w = w
        self.path = path
        self.node = Client(LocalTransport(w.api, NODE_USER))
        self.local = LocalVolumes(self.node, w.clock, path, "n1")
        self.directory = path / "n1" / f"{NAME}_default_c"

    async def create(self, policy: str = "Delete", node: str = "n1", path: Path | None = None) -> PersistentVolume:
        made = await self.w.admin.create(volumes.RESOURCE, self.volume(policy, node, path or self.directory))
        await asyncio.sleep(0.5)  # until the API server's authorizer has seen it, too
        return made

    def volume(self, policy: str, node: str, path: Path, **metadata: Any) -> PersistentVolume:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": policy,
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        }
        annotations = {PROVISIONED_BY: PROVISIONER, NODE: node}
        body = {"metadata": {"name": NAME, "annotations": annotations, **metadata}, "spec": spec}
        return msgspec.convert(body, PersistentVolume)

    async def get(self) -> PersistentVolume | None:
        try:
            return await self.w.admin.get(volumes.RESOURCE, ObjectKey("", NAME))
        except NotFound:
            return None

    async def delete(self) -> None:
        """Delete the volume as if nothing else held it."""
        await self.w.admin.delete(volumes.RESOURCE, ObjectKey("", NAME))
        found = await self.get()
        if found is not None:
            kept = [each for each in found.metadata.finalizers if each == DIRECTORY]
            await self.w.admin.patch(volumes.RESOURCE, ObjectKey("", NAME), {"metadata": {"finalizers": kept}})


@contextlib.asynccontextmanager
async def place(path: Path) -> AsyncIterator[Place]:
    async with world() as w:
        made = Place(w, path)
        task = asyncio.ensure_future(made.local.run())
        yield made
        task.cancel()


async def test_a_directory_is_made_once_for_everybody_and_goes_with_its_volume(tmp_path: Path):
    async with place(tmp_path) as at:
        await at.local.make(await at.create())
        found = await at.get()
        assert found is not None and DIRECTORY in found.metadata.finalizers
        assert at.directory.stat().st_mode & 0o7777 == 0o777
        (at.directory / "data").write_text("x")
        await at.local.make(found)
        assert (at.directory / "data").exists()
        await asyncio.sleep(3 * LOOK_S)
        assert at.directory.exists(), "nobody deleted the volume"
        await at.delete()
        await asyncio.sleep(3 * LOOK_S)
        assert not at.directory.exists() and await at.get() is None


async def test_a_restarted_kubelet_deletes_what_it_finds(tmp_path: Path):
    async with place(tmp_path) as at:
        await at.local.make(await at.create())
        again = LocalVolumes(at.node, at.w.clock, tmp_path, "n1")
        await at.delete()
        task = asyncio.ensure_future(again.run())
        await asyncio.sleep(3 * LOOK_S)
        task.cancel()
        assert not at.directory.exists() and await at.get() is None


async def test_what_is_to_be_retained_stays_when_the_volume_goes(tmp_path: Path):
    async with place(tmp_path) as at:
        await at.local.make(await at.create("Retain"))
        await at.delete()
        await asyncio.sleep(3 * LOOK_S)
        assert at.directory.exists() and await at.get() is None


async def test_a_directory_of_no_known_volume_is_left_alone(tmp_path: Path):
    kept = tmp_path / "n1" / "pvc-9_default_old"
    kept.mkdir(parents=True)
    async with place(tmp_path):
        await asyncio.sleep(3 * LOOK_S)
    assert kept.exists()


async def test_nothing_is_made_or_deleted_elsewhere(tmp_path: Path):
    async with place(tmp_path) as at:
        other = tmp_path / "precious"
        other.mkdir()
        for volume in (
            at.volume("Delete", "n1", other),
            at.volume("Delete", "n1", tmp_path / "n1" / "other_name"),
            at.volume("Delete", "n1", tmp_path / "n1" / ".." / f"{NAME}_x"),
            at.volume("Delete", "n2", tmp_path / "n2" / f"{NAME}_x"),
        ):
            with pytest.raises(NotMounted, match="--volume-dir differ"):
                await at.local.make(volume)
    assert [each.name for each in os.scandir(tmp_path)] == ["precious"]


async def test_a_link_in_a_directorys_place_is_not_followed(tmp_path: Path):
    async with place(tmp_path) as at:
        await at.local.make(await at.create())
        precious = tmp_path / "precious"
        precious.mkdir()
        (precious / "file").touch()
        at.directory.rmdir()
        at.directory.symlink_to(precious)
        await at.delete()
        await asyncio.sleep(3 * LOOK_S)
        assert (precious / "file").exists() and await at.get() is not None


async def test_a_node_changes_nothing_of_a_volume_but_its_own_finalizer(tmp_path: Path):
    async with place(tmp_path) as at:
        await at.create()
        key = ObjectKey("", NAME)
        for change in (
            {"metadata": {"labels": {"a": "b"}}},
            {"metadata": {"finalizers": ["example.com/mine"]}},
            {"spec": {"capacity": {"storage": "2Gi"}}},
        ):
            with pytest.raises(Forbidden):
                await at.node.patch(volumes.RESOURCE, key, change)
        with pytest.raises(Forbidden):
            await at.node.delete(volumes.RESOURCE, key)


async def test_a_node_sees_no_volume_of_another(tmp_path: Path):
    async with place(tmp_path) as at:
        await at.create(node="n2")
        with pytest.raises(Forbidden):
            await at.node.get(volumes.RESOURCE, ObjectKey("", NAME))
        with pytest.raises(Forbidden):
            await at.node.patch(volumes.RESOURCE, ObjectKey("", NAME), {"metadata": {"finalizers": [DIRECTORY]}})
