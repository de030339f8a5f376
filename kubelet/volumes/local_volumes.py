"""This node's directories for volumes of the cluster's own provisioner: made when first mounted, gone with the volume.

Before anybody uses a directory, its volume gets a finalizer; when the volume is deleted and nothing else holds it, the
directory goes (unless the class said Retain) and then the finalizer. A directory whose volume the API server does not
know is left alone: the cluster may have been restored from a backup that is older than the volume. Decision 84.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from api.core import persistentvolume
from api.core.local_volumes import DIRECTORY, is_to_be_deleted, is_within, node_of
from api.core.persistentvolume import PersistentVolume
from api.errors import ApiError, Forbidden, NotFound
from api.resource import ObjectKey
from client.verbs import Client
from component.clock import Clock
from kubelet.volumes.claims import NotMounted
from kubelet.volumes.ownership import make_whole

log = logging.getLogger(__name__)

LOOK_S = 5.0
PER_VOLUME_S = 0.2
"""With many volumes looks are further apart, so that a node never asks for more than five a second."""


class LocalVolumes:
    """The directories of one node."""

    def __init__(self, client: Client, clock: Clock, directory: Path, node: str) -> None:
        """Make it; `directory` is what the class's parameter says, in which each node has a directory of its own."""
        self._client = client
        self._clock = clock
        self._directory = directory / node
        self._node = node
        self._names: set[str] = set()

    async def make(self, volume: PersistentVolume) -> None:
        """Make a volume's directory if it is not there; does nothing for volumes that others made.

        Raises:
            NotMounted: it is not this node's to make.
            ApiError, OSError: it cannot be made now.
        """
        if not node_of(volume):
            return
        if node_of(volume) != self._node or not is_within(volume, str(self._directory)):
            assert volume.spec.local is not None
            why = f"volumes of this node are below {self._directory}, this one is {volume.spec.local.path}"
            raise NotMounted("SetUp", f"{why}: its StorageClass and the kubelet's --volume-dir differ")
        is_held = DIRECTORY in volume.metadata.finalizers
        if not is_held and volume.metadata.deletion_timestamp:
            raise NotMounted("SetUp", "the volume is being deleted")
        # First the directory: ending half way leaves an empty one, and no volume that nobody lets go.
        await asyncio.to_thread(_make, _path(volume))
        self._names.add(volume.metadata.name)
        if not is_held:
            await self._write(volume, [*volume.metadata.finalizers, DIRECTORY])

    async def run(self) -> None:
        """Delete what is to be deleted, until cancelled."""
        self._names |= set(await asyncio.to_thread(_names_in, self._directory))
        while True:
            for name in sorted(self._names):
                try:
                    await self._look(name)
                except (NotFound, Forbidden):
                    # Gone, or another cluster's: nobody says that its data may go.
                    self._names.discard(name)
                except (ApiError, OSError) as error:
                    log.warning("volume not looked at", extra={"volume": name, "error": error})
            await self._clock.sleep(max(LOOK_S, PER_VOLUME_S * len(self._names)))

    async def _look(self, name: str) -> None:
        volume = await self._client.get(persistentvolume.RESOURCE, ObjectKey("", name))
        if node_of(volume) != self._node or not is_to_be_deleted(volume):
            return
        if volume.spec.persistent_volume_reclaim_policy == "Delete" and is_within(volume, str(self._directory)):
            await asyncio.to_thread(_delete, _path(volume))
            log.info("directory of a volume deleted", extra={"volume": name})
        await self._write(volume, [])
        self._names.discard(name)

    async def _write(self, volume: PersistentVolume, finalizers: list[str]) -> None:
        told = volume.metadata
        metadata = {"uid": told.uid, "resourceVersion": told.resource_version, "finalizers": finalizers}
        await self._client.patch(persistentvolume.RESOURCE, ObjectKey("", told.name), {"metadata": metadata})


def _path(volume: PersistentVolume) -> Path:
    assert volume.spec.local is not None
    return Path(volume.spec.local.path)


def _make(path: Path) -> None:
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    # Whatever user a container runs as; nobody else of this machine comes here.
    make_whole(path, 0o777)


def _delete(path: Path) -> None:
    if path.is_symlink():
        raise OSError(f"{path} is a link: its target is not this node's to delete")
    if path.exists():
        shutil.rmtree(path)


def _names_in(directory: Path) -> Iterable[str]:
    try:
        return [each.name.partition("_")[0] for each in directory.iterdir() if each.is_dir() and "_" in each.name]
    except FileNotFoundError:
        return []
