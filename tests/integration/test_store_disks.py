"""A member whose disk fills up or fails: it stops and says why, the others go on, and nothing acknowledged is lost.

The disks are real ones, small, in a mount namespace of their own that vanishes with the process that holds it. A full
one is a tmpfs with no room left (ENOSPC). A failing one is ext4 on a loop device whose backing file has no room left:
the file system takes the write, and the device refuses it when it is synced (EIO).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.store_cluster import MemberProcess, StoreCluster
from tests.integration.store_process import ROOT
from tests.integration.test_store_cluster import check, writing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts small file systems")


class SmallDisks:
    """Mounts that only this object's processes see."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "300"])
        until = time.monotonic() + 5
        while Path(f"/proc/{self._holder.pid}/comm").read_text().strip() != "sleep" and time.monotonic() < until:
            time.sleep(0.01)

    @property
    def inside(self) -> list[str]:
        """The beginning of a command line that runs there."""
        return ["nsenter", f"--target={self._holder.pid}", "--mount", f"--wd={ROOT}"]

    def run(self, *command: str | Path) -> None:
        subprocess.run([*self.inside, *map(str, command)], check=True, capture_output=True)

    def seen(self, path: Path) -> Path:
        """Return a path there as it is reached from here."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def mount_memory(self, path: Path, megabytes: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path)

    def mount_device(self, path: Path, backing: Path, megabytes: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        image = backing / "image"
        self.run("truncate", "-s", f"{megabytes}m", image)
        self.run("mkfs.ext4", "-q", "-m", "0", image)
        self.run("mount", "-o", "loop,discard,noatime", image, path)

    def fill(self, directory: Path) -> None:
        with self.seen(directory / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def make_room(self, directory: Path) -> None:
        self.seen(directory / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def disks() -> Iterator[SmallDisks]:
    disks = SmallDisks()
    yield disks
    disks.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[StoreCluster]:
    cluster = StoreCluster(tmp_path, 3)
    yield cluster
    cluster.close()


async def lead(cluster: StoreCluster, member: MemberProcess) -> None:
    """Make it the leader, the worst one to lose."""
    if await cluster.leader() is member:
        return
    ids = {line.split(", ")[2]: line.split(", ")[0] for line in cluster.etcdctl("member", "list").splitlines()}
    leader = await cluster.leader()
    cluster.etcdctl("move-leader", ids[member.name], endpoints=f"https://{leader.endpoint}")
    assert await cluster.leader() is member


async def stopped(member: MemberProcess) -> str:
    """Wait until it stops by itself; return what it said last."""
    until = time.monotonic() + 15
    while member.is_up:
        assert time.monotonic() < until, "it goes on as if nothing were wrong"
        await asyncio.sleep(0.05)
    assert member.process is not None
    assert member.process.returncode in (1, 2), "it crashed instead of stopping"
    return member.log.read_text().splitlines()[-1]


async def go_on(writers: list) -> None:
    """Wait until writes go on."""
    before = sum(len(writer.acknowledged) for writer in writers)
    until = time.monotonic() + 10
    while sum(len(writer.acknowledged) for writer in writers) < before + 100:
        assert time.monotonic() < until, "the others do not carry on"
        await asyncio.sleep(0.05)


async def test_a_leader_whose_disk_is_full_stops_and_comes_back_when_there_is_room(cluster, disks):
    member = cluster.members["s1"]
    disks.mount_memory(member.directory, 48)
    member.run_by = disks.inside
    cluster.start()
    await lead(cluster, member)
    async with writing(cluster) as writers:
        disks.fill(member.directory)
        last_words = await stopped(member)
        assert last_words.startswith("steer-store: ")
        assert "No space left on device" in last_words
        assert "Make room" in last_words
        await go_on(writers)

        member.start("--initial-members", cluster.initial)
        assert "No space left on device" in await stopped(member), "nor does it start on a disk that is full"
        disks.make_room(member.directory)
        cluster.start()
        await cluster.leader()
        await go_on(writers)
    await check(cluster, writers)


async def test_a_leader_whose_disk_fails_stops_and_the_others_have_everything(cluster, disks, tmp_path):
    member, backing = cluster.members["s1"], tmp_path / "backing"
    disks.mount_memory(backing, 48)
    disks.mount_device(member.directory, backing, 64)
    member.run_by = disks.inside
    cluster.start()
    await lead(cluster, member)
    async with writing(cluster) as writers:
        disks.fill(backing)
        last_words = await stopped(member)
        assert last_words.startswith("steer-store: ")
        # What ext4 answers depends on what was written first: its journal, or a page that the device has no room for.
        answers = ("Input/output error", "Read-only file system", "No space left on device")
        assert any(answer in last_words for answer in answers), last_words
        await go_on(writers)
    await check(cluster, writers)
