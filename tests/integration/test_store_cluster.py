"""Three real members on loopback: kill -9, SIGSTOP and replacement, under clients that go on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from deploy.store_members import carry_out, plan_steps
from store.client import Conflict, StoreClient, Unavailable
from store.consensus.peers import FRAME_BYTES_MAX
from tests.integration.store_cluster import StoreCluster
from tests.integration.store_process import Authority
from tests.integration.unstarved_clock import UnstarvedClock


@pytest.fixture
async def cluster(tmp_path):
    cluster = StoreCluster(tmp_path, 3)
    try:
        cluster.start()
        await cluster.leader()
        yield cluster
    finally:
        cluster.close()


class Writer:
    """Writes numbered keys one after the other, and remembers which were acknowledged and when."""

    def __init__(self, client: StoreClient, number: int, clock: UnstarvedClock) -> None:
        self.client, self.number, self.clock = client, number, clock
        self.acknowledged: dict[bytes, int] = {}
        self.unknown: set[bytes] = set()
        self.gap_s_max = 0.0
        self.is_done = False

    async def run(self) -> None:
        count, last = 0, self.clock.now()
        while not self.is_done:
            count += 1
            key = b"/w/%d/%06d" % (self.number, count)
            try:
                self.acknowledged[key] = await self.client.put_if(key, b"x" * 100, 0)
            except Unavailable:
                self.unknown.add(key)
            # A Conflict here would say that the write had happened before: twice, that is.
            now = self.clock.now()
            self.gap_s_max, last = max(self.gap_s_max, now - last), now


@contextlib.asynccontextmanager
async def writing(cluster: StoreCluster, number: int = 4):
    clients = [cluster.store_client() for _ in range(number)]
    clock = UnstarvedClock(cluster.pids)
    writers = [Writer(client, position, clock) for position, client in enumerate(clients)]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    await asyncio.sleep(0.3)
    try:
        yield writers
    finally:
        for writer in writers:
            writer.is_done = True
        await asyncio.gather(*tasks)
        for client in clients:
            await client.close()


async def check(cluster: StoreCluster, writers: list[Writer]) -> None:
    """Every member has everything acknowledged, at the revision that was acknowledged."""
    for name in cluster.members:
        if not cluster.members[name].is_up:
            continue
        client = cluster.store_client(name)
        found = {kv.key: kv for kv in (await client.range(b"/w/", b"/w0", keys_only=True)).kvs}
        await client.close()
        for writer in writers:
            for key, revision in writer.acknowledged.items():
                assert found[key].mod_revision == found[key].create_revision == revision, key


async def test_a_killed_leader_costs_no_write_and_at_most_a_moment(cluster):
    async with writing(cluster) as writers:
        for _ in range(3):
            leader = await cluster.leader()
            leader.kill()
            await asyncio.sleep(1.5)
            cluster.start()
            await asyncio.sleep(0.7)
    await cluster.leader()
    await check(cluster, writers)
    assert not any(writer.unknown for writer in writers), "a retry by id settles it"
    assert max(writer.gap_s_max for writer in writers) < 3.0  # 0.3 s to elect on a calm machine
    assert min(len(writer.acknowledged) for writer in writers) > 50


async def test_a_killed_follower_is_hardly_noticed_and_catches_up(cluster):
    leader = await cluster.leader()
    follower = next(member for member in cluster.members.values() if member is not leader)
    async with writing(cluster) as writers:
        follower.kill()
        await asyncio.sleep(1.0)
        cluster.start()
        await asyncio.sleep(1.0)
    assert (await cluster.leader()) is leader
    await check(cluster, writers)


async def test_all_killed_at_once_lose_nothing_acknowledged(cluster):
    async with writing(cluster) as writers:
        await asyncio.sleep(0.5)
        for member in cluster.members.values():
            member.kill()
        await asyncio.sleep(0.2)
        cluster.start()
        await cluster.leader()
        await asyncio.sleep(1.0)
    await check(cluster, writers)


async def test_a_stopped_leader_is_replaced_and_follows_when_it_wakes(cluster):
    leader = await cluster.leader()
    async with writing(cluster) as writers:
        leader.pause()
        await asyncio.sleep(2.5)
        leader.resume()
        await asyncio.sleep(1.5)
    assert (await cluster.leader()) is not leader
    await check(cluster, writers)
    assert max(writer.gap_s_max for writer in writers) < 4.0


async def test_a_stopped_leader_serves_no_stale_read_when_it_wakes(cluster):
    leader = await cluster.leader()
    others = [name for name, member in cluster.members.items() if member is not leader]
    own, other = cluster.store_client(leader.name, timeout_s=5), cluster.store_client(*others)
    first = await own.put_if(b"/k", b"old", 0)
    leader.pause()
    await other.put_if(b"/k", b"new", first)
    leader.resume()
    assert (await own.range(b"/k")).kvs[0].value == b"new"
    with pytest.raises(Conflict):
        await own.put_if(b"/k", b"late", first)
    await own.close()
    await other.close()


async def test_a_write_at_a_follower_is_read_back_at_once_there_and_everywhere(cluster):
    clients = [cluster.store_client(name) for name in cluster.members]
    for n in range(30):
        revision = await clients[n % 3].put_if(b"/f/%d" % n, b"v", 0)
        for client in clients:
            assert (await client.range(b"/f/%d" % n)).kvs[0].mod_revision == revision
    for client in clients:
        await client.close()


async def test_a_member_is_replaced_while_writes_go_on(cluster):
    leader = await cluster.leader()
    lost = next(member for member in cluster.members.values() if member is not leader)
    ids = {line.split(", ")[2]: line.split(", ")[0] for line in cluster.etcdctl("member", "list").splitlines()}
    async with writing(cluster) as writers:
        lost.kill()
        cluster.etcdctl("member", "remove", ids[lost.name])
        new = cluster.add("s4")
        cluster.etcdctl("member", "add", "s4", f"--peer-urls=https://{new.peer}")
        new.start("--join")
        for _ in range(100):
            listed = cluster.etcdctl("member", "list")
            if f", {new.endpoint}, false" in listed.replace("https://", ""):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError(listed + cluster.logs())
        await asyncio.sleep(0.5)
    await check(cluster, writers)
    lost.start("--initial-members", cluster.initial)
    until = time.monotonic() + 60
    while "you were removed from this cluster" not in lost.log.read_text():
        assert time.monotonic() < until, cluster.logs()
        await asyncio.sleep(0.1)


async def test_a_member_joins_the_cluster_it_is_for_though_its_former_companions_call_first(cluster):
    await cluster.leader()
    first, second, third = cluster.members.values()
    for member in (first, second):
        member.kill()
        shutil.rmtree(member.directory)
        member.log.unlink()
    first.start("--initial-members", f"{first.name}={first.peer}")
    second.start("--join", "--initial-members", f"{first.name}={first.peer}")
    refused = f"this member waits to be called by {first.name}, not by {third.name}"
    until = time.monotonic() + 60
    while refused not in second.log.read_text():
        assert third.is_up and time.monotonic() < until, cluster.logs()
        await asyncio.sleep(0.05)
    client = cluster.store_client(first.name)
    while "serving" not in first.log.read_text():
        assert first.is_up and time.monotonic() < until, cluster.logs()
        await asyncio.sleep(0.05)
    await client.add_member(f"https://{second.peer}")
    while {(each.name, each.is_learner) for each in await client.members()} != {("s1", False), ("s2", False)}:
        assert time.monotonic() < until, cluster.logs()
        await asyncio.sleep(0.05)
    await client.put_if(b"/w/of-two", b"v", 0)
    await client.close()


async def test_a_member_far_behind_takes_a_snapshot_over_and_goes_on(cluster):
    leader = await cluster.leader()
    behind = next(member for member in cluster.members.values() if member is not leader)
    behind.kill()
    client = cluster.store_client(*(name for name in cluster.members if name != behind.name))
    revisions = {}
    for n in range(250):
        key = b"/w/big/%d" % n
        revisions[key] = await client.put_if(key, bytes([n % 256]) * 100_000, 0)
    cluster.start()
    async with writing(cluster, 2) as writers:
        until = time.monotonic() + 60
        while "took over another member's state" not in behind.log.read_text():
            assert time.monotonic() < until, cluster.logs()
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
    await client.close()
    own = cluster.store_client(behind.name)
    found = {kv.key: kv for kv in (await own.range(b"/w/big/", b"/w/big0")).kvs}
    await own.close()
    assert {key: kv.mod_revision for key, kv in found.items()} == revisions
    assert all(kv.value == bytes([int(key.rpartition(b"/")[2]) % 256]) * 100_000 for key, kv in found.items())
    await check(cluster, writers)
    behind.kill()
    cluster.start()
    await cluster.leader()
    await check(cluster, writers)


async def test_a_member_that_lost_its_disk_is_refused_under_its_old_id(cluster):
    leader = await cluster.leader()
    lost = next(member for member in cluster.members.values() if member is not leader)
    lost.kill()
    shutil.rmtree(lost.directory)
    cluster.start()
    until = time.monotonic() + 60
    while "has another data directory" not in leader.log.read_text():
        assert time.monotonic() < until, cluster.logs()
        await asyncio.sleep(0.1)
    cluster.etcdctl("put", "/on", "two", endpoints=f"https://{leader.endpoint}")
    assert "following" not in lost.log.read_text().rpartition("has another data directory")[2]


async def test_a_store_grows_and_shrinks_while_writes_go_on(tmp_path):
    cluster = StoreCluster(tmp_path, 1)
    cluster.start()
    await cluster.leader()
    for name in ("s2", "s3"):
        cluster.add(name)
    client = cluster.store_client()
    wanted = [(member.name, member.peer) for member in cluster.members.values()]
    stopped: list[str] = []

    async def start(name: str) -> None:
        if not cluster.members[name].is_up:
            cluster.members[name].start("--join")

    async def stop(name: str) -> None:
        stopped.append(name)
        cluster.members[name].process.wait(10)

    try:
        async with writing(cluster, 2) as writers:
            steps = plan_steps(await client.members(), wanted)
            await carry_out(steps, client, print, start=start, stop=stop)
            assert [member.is_learner for member in await client.members()] == [False] * 3
            steps = plan_steps(await client.members(), wanted[2:])
            await carry_out(steps, client, print, start=start, stop=stop)
            assert [member.name for member in await client.members()] == ["s3"]
            assert stopped == ["s2", "s1"]
        await check(cluster, writers)
    finally:
        await client.close()
        cluster.close()


async def test_leadership_moves_when_asked_to_and_when_the_leader_stops(cluster):
    leader = await cluster.leader()
    ids = {line.split(", ")[2]: line.split(", ")[0] for line in cluster.etcdctl("member", "list").splitlines()}
    to = next(name for name in ids if name != leader.name)
    cluster.etcdctl("move-leader", ids[to], endpoints=f"https://{leader.endpoint}")
    assert (await cluster.leader()).name == to
    async with writing(cluster) as writers:
        assert cluster.members[to].stop() == 0
        await asyncio.sleep(1.0)
    assert max(writer.gap_s_max for writer in writers) < 2.0
    await check(cluster, writers)


async def test_leases_outlive_the_leader_and_end_under_the_next(cluster):
    leader = await cluster.leader()
    lease = cluster.etcdctl("lease", "grant", "4").split()[1]
    cluster.etcdctl("put", "/leased", "x", f"--lease={lease}")
    await asyncio.sleep(2.0)
    leader.kill()
    began, clock = time.monotonic(), UnstarvedClock(cluster.pids)
    until = clock.now() + 12
    await cluster.leader()
    while cluster.etcdctl("get", "/leased"):
        assert clock.now() < until
        await asyncio.sleep(0.2)
    assert time.monotonic() - began > 3.0, "a new leader gives a lease all of its time again"


async def test_watches_go_on_at_another_member(cluster):
    client = cluster.store_client()
    seen: list[bytes] = []
    broken = 0

    async def watch() -> None:
        nonlocal broken
        revision = 0
        while True:
            try:
                async for batch in client.watch(b"/watched/", revision + 1 if revision else 0):
                    seen.extend(event.kv.key for event in batch.events)
                    revision = batch.revision
            except Unavailable:
                broken += 1
                await asyncio.sleep(0.05)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0.3)
    await client.put_if(b"/watched/0", b"", 0)
    for n in range(1, 40):
        if n == 10:
            cluster.members["s1"].pause()  # the one that the client talks to
        await client.put_if(b"/watched/%d" % n, b"", 0)
    await asyncio.sleep(1.0)
    task.cancel()
    cluster.members["s1"].resume()
    await client.close()
    assert seen == [b"/watched/%d" % n for n in range(40)]
    assert broken


def knock(member, context: ssl.SSLContext | None, content: bytes) -> bytes:
    """Connect to a peer port, send something, and return what comes back until it is closed."""
    host, port = member.peer.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        try:
            wrapped = raw if context is None else context.wrap_socket(raw)
            wrapped.sendall(content)
            answer = b""
            while piece := wrapped.recv(4096):
                answer += piece
            return answer
        except (ssl.SSLError, ConnectionError):
            return b""


def context_of(identity) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(identity.ca))
    context.check_hostname = False
    context.load_cert_chain(identity.cert, identity.key)
    return context


async def test_who_is_not_a_member_is_refused_and_the_member_lives(cluster, tmp_path):
    member = cluster.members["s1"]
    anybody = ssl.create_default_context(cafile=str(member.identity.ca))
    anybody.check_hostname = False
    stranger = Authority(tmp_path / "other-pki", "other-ca").issue("steer-store-s2")
    untrusted = context_of(stranger)
    untrusted.verify_mode = ssl.CERT_NONE
    assert knock(member, None, b"hello" * 1000) == b""
    assert knock(member, None, bytes(1000)) == b""
    assert knock(member, anybody, b"\0\0\0\1\x80") == b""
    assert knock(member, untrusted, b"\0\0\0\1\x80") == b""
    assert b"is not that of a member" in knock(member, context_of(cluster.client), b"")
    known = context_of(cluster.members["s2"].identity)
    assert b"version" in knock(member, known, b"\0\0\0\1\x80")
    assert knock(member, known, (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 100) == b""
    assert knock(member, known, b"\0\0\0\4\xc1\xc1\xc1\xc1") == b""
    cluster.etcdctl("put", "/still", "here", endpoints=f"https://{member.endpoint}")
    assert member.is_up


async def test_a_member_that_lost_its_quorum_says_so(cluster):
    leader = await cluster.leader()
    for member in cluster.members.values():
        if member is not leader:
            member.kill()
    client = cluster.store_client(leader.name, timeout_s=6)
    with pytest.raises(Unavailable):
        await client.put_if(b"/k", b"v", 0)
    await client.range(b"/k", serializable=True)
    await client.close()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        cluster.etcdctl("member", "remove", "1234", endpoints=f"https://{leader.endpoint}")
    assert "no leader" in caught.value.stderr or "timed out" in caught.value.stderr
