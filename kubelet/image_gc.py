"""Deletes images that no container uses when the disk they are on fills up: the least recently used first.

The limits are upstream's defaults: above 85 % of the disk, delete until 80 %; nothing younger than two minutes. An
image that came from no registry (loaded by hand) is kept, as a pinned one is: nobody could pull it again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from component.clock import Clock
from kubelet.runtime.cri import Cri, CriError
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

PERIOD_S = 300.0
HIGH_PERCENT = 85
LOW_PERCENT = 80
AGE_S_MIN = 120.0

Usage = Callable[[str], tuple[int, int]]
"""From a path to the size of its file system and what of it is available, in bytes."""


@dataclass(frozen=True, slots=True)
class Held:
    """An image on this node."""

    id: str
    size_bytes: int
    first_seen_s: float
    last_used_s: float
    """When a container with it was last seen; 0 for never."""


def bytes_to_free(capacity: int, available: int) -> int:
    """Return how much must go for the disk to be at the low mark; 0 below the high mark."""
    if not capacity or 100 - available * 100 // capacity < HIGH_PERCENT:
        return 0
    return max(0, capacity * (100 - LOW_PERCENT) // 100 - available)


def select(unused: Iterable[Held], wanted_bytes: int, now: float) -> list[Held]:
    """Return the images to delete, in order: those used longest ago, then those seen first, until it is enough."""
    chosen: list[Held] = []
    freed = 0
    for image in sorted(unused, key=lambda each: (each.last_used_s, each.first_seen_s, each.id)):
        if freed >= wanted_bytes:
            break
        if now - max(image.first_seen_s, image.last_used_s) >= AGE_S_MIN:
            chosen.append(image)
            freed += image.size_bytes
    return chosen


class ImageGc:
    """Keeps one node's images within its disk."""

    def __init__(self, cri: Cri, clock: Clock, tell: Callable[[str, str], None], usage: Usage | None = None) -> None:
        """Make it; `tell` is given the reason and message of a warning about the node."""
        self._cri = cri
        self._clock = clock
        self._tell = tell
        self._usage = usage or disk_usage
        self._first_seen: dict[str, float] = {}
        self._last_used: dict[str, float] = {}

    async def run(self) -> None:
        """Look at the disk again and again, until cancelled."""
        while True:
            try:
                await self.collect()
            except (CriError, OSError) as error:
                log.warning("images not collected", extra={"error": error})
            await self._clock.sleep(PERIOD_S)

    async def collect(self) -> int:
        """Free what the disk's usage asks for; return how many bytes were freed. Raises CriError, OSError."""
        unused = await self._look()
        capacity, available = await self._disk()
        wanted = bytes_to_free(capacity, available)
        if not wanted:
            return 0
        freed = await self._delete(select(unused, wanted, self._clock.monotonic()))
        if freed < wanted:
            why = f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            self._tell("FreeDiskSpaceFailed", f"Failed to garbage collect required amount of images. {why}")
        return freed

    async def delete_unused(self) -> int:
        """Delete every image that no container uses, whatever its age; return how many bytes were freed."""
        return await self._delete(await self._look())

    async def _look(self) -> list[Held]:
        """Note which images are used, and return those that are not and may go."""
        now = self._clock.monotonic()
        images = await self._cri.list_images()
        used = {name for each in await self._cri.list_containers() for name in (each.image_ref, each.image.image)}
        unused = []
        for image in images:
            # What was here before this kubelet is as old as can be.
            first = self._first_seen.setdefault(image.id, now if self._first_seen else now - AGE_S_MIN)
            if used & {image.id, *image.repo_tags, *image.repo_digests}:
                self._last_used[image.id] = now
            elif not image.pinned and image.repo_digests:
                unused.append(Held(image.id, image.size, first, self._last_used.get(image.id, 0.0)))
        present = {image.id for image in images}
        for known in (self._first_seen, self._last_used):
            for gone in known.keys() - present:
                del known[gone]
        return unused

    async def _disk(self) -> tuple[int, int]:
        filesystems: Sequence[pb.FilesystemUsage] = await self._cri.image_filesystems()
        mount = filesystems[0].fs_id.mountpoint if filesystems else ""
        return self._usage(mount) if mount else (0, 0)

    async def _delete(self, images: Iterable[Held]) -> int:
        freed = 0
        for image in images:
            await self._cri.remove_image(image.id)
            log.info("image deleted", extra={"image": image.id, "bytes": image.size_bytes})
            freed += image.size_bytes
        return freed


def disk_usage(path: str) -> tuple[int, int]:
    """Return the size of a path's file system and what of it is available to all. Raises OSError."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
