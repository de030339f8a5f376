"""Three real members: leadership moved by etcdctl, hashes compared, a member that differs found, a backup of all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import lmdb
import msgspec
import pytest

from component.serve import grpc_channel
from deploy import snapshot
from deploy.plan import Cluster
from proto.etcd import rpc_pb2, rpc_pb2_grpc
from store.mvcc.revision import KeyValue
from store.records import decode_record, encode_record
from tests.integration.store_cluster import MemberProcess, StoreCluster

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="etcdctl is not installed"),
]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[StoreCluster]:
    cluster = StoreCluster(tmp_path, 3)
    yield cluster
    cluster.close()


def etcdctl(cluster: StoreCluster, *arguments: str, member: MemberProcess | None = None) -> str:
    members = [member] if member else cluster.members.values()
    endpoints = ",".join(f"https://{each.endpoint}" for each in members)
    who = cluster.client
    command = ["etcdctl", f"--endpoints={endpoints}", f"--cacert={who.ca}", f"--cert={who.cert}", f"--key={who.key}"]
    done = subprocess.run(
        [*command, "--command-timeout=20s", *arguments],
        env={**os.environ, "ETCDCTL_API": "3"},
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def statuses(cluster: StoreCluster) -> dict[str, dict]:
    found = json.loads(etcdctl(cluster, "endpoint", "status", "-w", "json"))
    return {each["Endpoint"].removeprefix("https://"): each["Status"] for each in found}


def hashes(cluster: StoreCluster) -> set[tuple[int, int]]:
    revision = min(status["header"]["revision"] for status in statuses(cluster).values())
    found = json.loads(etcdctl(cluster, "endpoint", "hashkv", "--rev", str(revision), "-w", "json"))
    assert len(found) == len(cluster.members)
    return {(each["HashKV"]["hash"], each["HashKV"].get("compact_revision", 0)) for each in found}


async def until(claim, within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.2)


async def test_etcdctl_moves_the_leader_and_every_member_answers_and_agrees(cluster: StoreCluster):
    cluster.start()
    leader = await cluster.leader()
    for number in range(10):
        etcdctl(cluster, "put", f"k{number}", "v" * 1000)
    before = statuses(cluster)
    assert len({status["leader"] for status in before.values()}) == 1
    target = next(status["header"]["member_id"] for endpoint, status in before.items() if endpoint != leader.endpoint)
    assert "Leadership transferred" in etcdctl(cluster, "move-leader", f"{target:x}")
    await until(lambda: {status["leader"] for status in statuses(cluster).values()} == {target})
    assert len(hashes(cluster)) == 1
    # Any member gives a snapshot, holds locks and ends leases.
    for member in cluster.members.values():
        file = cluster.directory / f"snapshot-{member.name}"
        assert "Snapshot saved" in etcdctl(cluster, "snapshot", "save", str(file), member=member)
        assert etcdctl(cluster, "lock", "door", "echo", member.name, member=member) == f"{member.name}\n"
        granted = json.loads(etcdctl(cluster, "lease", "grant", "60", "-w", "json", member=member))
        assert "keepalived" in etcdctl(cluster, "lease", "keep-alive", "--once", f"{granted['ID']:x}", member=member)
    channel = grpc_channel([leader.endpoint], cluster.client)
    move = rpc_pb2_grpc.MaintenanceStub(channel).MoveLeader(rpc_pb2.MoveLeaderRequest(targetID=target))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await move
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "etcdserver: not leader",
    )
    await channel.close()


def alter(directory: Path) -> None:
    """Change a value on one member's disk, checksum and all: what a checksum can't find."""
    env = lmdb.open(str(directory / "state" / "state.mdb"), subdir=False, map_size=1 << 30, max_dbs=8)
    table = env.open_db(b"kv")
    with env.begin(write=True) as txn:
        key, raw = next(iter(txn.cursor(db=table)))
        kv = decode_record(int.from_bytes(key[:8], "big"), bytes(raw))
        changed = KeyValue(kv.key, b"something else", kv.create_revision, kv.mod_revision, kv.version, kv.lease)
        txn.put(key, encode_record(changed), db=table)
    env.close()


async def test_a_member_that_holds_something_else_is_found_and_nothing_is_written_until_it_is_replaced(
    cluster: StoreCluster,
):
    flags = ["--initial-members", cluster.initial, "--hash-check-interval", "2"]
    for member in cluster.members.values():
        member.start(*flags)
    leader = await cluster.leader()
    etcdctl(cluster, "put", "k", "v")
    etcdctl(cluster, "put", "other", "v")
    victim = next(member for member in cluster.members.values() if member is not leader)
    await asyncio.sleep(0.5)
    victim.stop()
    alter(victim.directory)
    victim.start(*flags)
    await until(lambda: "CORRUPT" in etcdctl(cluster, "alarm", "list"))
    id = statuses(cluster)[victim.endpoint]["header"]["member_id"]
    assert etcdctl(cluster, "alarm", "list").strip() == f"memberID:{id} alarm:CORRUPT"
    with pytest.raises(AssertionError, match="corrupt cluster"):
        etcdctl(cluster, "put", "k", "w")
    assert etcdctl(cluster, "get", "k", "--print-value-only", member=leader) == "v\n"


async def test_a_backup_is_restored_on_all_members_at_once(cluster: StoreCluster):
    cluster.start()
    await cluster.leader()
    for number in range(5):
        etcdctl(cluster, "put", f"k{number}", "v")
    file = cluster.directory / "backup"
    endpoints = [member.endpoint for member in cluster.members.values()]
    description = await asyncio.to_thread(snapshot.save, file, endpoints, cluster.client)
    etcdctl(cluster, "put", "k0", "after the backup")
    cluster.close()
    # The directory as `steer up` lays it out.
    root = cluster.directory / "cluster"
    (root / "store").mkdir(parents=True)
    for name, member in cluster.members.items():
        member.directory.rename(root / "store" / name)
        member.directory = root / "store" / name
    laid_out = Cluster(data_dir=str(root), store_members=list(cluster.members), store_initial=["s1"])
    (root / "cluster.json").write_bytes(msgspec.json.encode(laid_out))
    restored, aside = snapshot.restore(file, root)
    assert len(aside) == 3 and restored.revision > description.revision
    cluster.start()
    await cluster.leader()
    assert etcdctl(cluster, "get", "", "--prefix", "--print-value-only").split() == ["v"] * 5
    etcdctl(cluster, "put", "k0", "anew")
    assert len(hashes(cluster)) == 1
    found = statuses(cluster)
    assert {status["header"]["cluster_id"] for status in found.values()} == {restored.cluster_id}
    assert {status["header"]["revision"] for status in found.values()} == {restored.revision + 1}


async def test_a_survivor_without_a_majority_still_gives_a_backup_that_a_new_cluster_begins_with(cluster: StoreCluster):
    cluster.start()
    leader = await cluster.leader()
    for number in range(5):
        etcdctl(cluster, "put", f"k{number}", "v")
    survivor = next(member for member in cluster.members.values() if member is not leader)
    lost = [member for member in cluster.members.values() if member is not survivor]
    await asyncio.sleep(0.5)
    for member in lost:
        member.kill()
    file = cluster.directory / "last-copy"
    await asyncio.to_thread(snapshot.save, file, [survivor.endpoint], cluster.client)
    assert json.loads(etcdctl(cluster, "endpoint", "status", "-w", "json", member=survivor))
    survivor.stop()
    snapshot.restore(file, survivor.directory)
    survivor.start()  # alone
    await until(lambda: survivor.log.read_text().count(": serving") == 2)
    assert etcdctl(cluster, "get", "", "--prefix", "--print-value-only", member=survivor).split() == ["v"] * 5
    etcdctl(cluster, "put", "k0", "anew", member=survivor)
    assert "without a leader" in survivor.log.read_text()
