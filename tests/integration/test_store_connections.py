"""Who may talk to a real member and how long: greetings that are wrong, certificates renewed, leaders gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time

import grpc
import msgpack
import pytest

from component.serve import Identity, grpc_channel
from proto.etcd import rpc_pb2, rpc_pb2_grpc
from store.client import StoreClient, Unavailable
from tests.integration.store_cluster import MemberProcess, StoreCluster
from tests.integration.store_process import Authority, StoreProcess
from tests.integration.test_store_cluster import context_of


@pytest.fixture
async def cluster(tmp_path):
    cluster = StoreCluster(tmp_path, 3)
    try:
        cluster.start()
        await cluster.leader()
        yield cluster
    finally:
        cluster.close()


def greet(member: MemberProcess, identity: Identity, **greeting: object) -> str:
    """Dial a member as another would, and return what it says to the greeting."""
    with (
        socket.create_connection(("127.0.0.1", member.peer_port), timeout=5) as raw,
        context_of(identity).wrap_socket(raw) as connection,
    ):
        body = msgpack.packb({"v": 1, **greeting})
        connection.sendall(struct.pack(">I", len(body)) + body)
        connection.settimeout(5)
        answer = connection.recv(4096)
    return str(msgpack.unpackb(answer[4:]).get("error", "")) if answer else "(closed)"


async def test_a_peer_with_a_wrong_id_cluster_or_name_is_refused(cluster):
    s1, s2 = cluster.members["s1"], cluster.members["s2"]
    ids = {line.split(", ")[2]: int(line.split(", ")[0], 16) for line in cluster.etcdctl("member", "list").splitlines()}
    cluster_id = json.loads(cluster.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["cluster_id"]
    right = {"cluster": cluster_id, "from": ids["s2"], "to": ids["s1"], "name": "s2", "incarnation": "0"}
    assert "looking for member" in greet(s1, s2.identity, **right | {"to": ids["s3"]})
    assert "you are of cluster" in greet(s1, s2.identity, **right | {"cluster": cluster_id ^ 1})
    assert "your certificate says s2" in greet(s1, s2.identity, **right | {"from": ids["s3"]})
    assert "is a member already" in greet(s1, s2.identity, **right | {"from": 12345})
    assert "another data directory" in greet(s1, s2.identity, **right)
    assert "removed" in greet(s1, s2.identity, **right | {"from": ids["s1"]})
    assert "version" in greet(s1, s2.identity, **right | {"from": "2"})
    assert s1.is_up
    await cluster.leader()


async def test_renewed_certificates_are_shown_without_a_restart(cluster):
    member, other = cluster.members["s1"], cluster.members["s2"]
    client = cluster.store_client("s1")
    await client.put_if(b"/before", b"", 0)  # Others may have elected a leader before s1 listens: this waits for s1.
    before = {port: serial_of(member, port, cluster.client) for port in (member.client_port, member.peer_port)}
    member.identity.cert.write_bytes(b"-----BEGIN CERT")  # somebody is in the middle of writing it
    await asyncio.sleep(2.5)
    assert serial_of(member, member.client_port, cluster.client) == before[member.client_port]
    cluster.authority.issue("steer-store-s1")
    until = time.monotonic() + 60
    while any(serial_of(member, port, cluster.client) == serial for port, serial in before.items()):
        assert time.monotonic() < until, cluster.logs()
        await asyncio.sleep(0.2)
    await client.put_if(b"/after", b"", 0)
    await client.close()
    other.kill()
    cluster.start()
    await cluster.leader()
    assert "certificates have changed and can't be used yet" in member.log.read_text()
    assert "certificates renewed" in member.log.read_text()


def serial_of(member: MemberProcess, port: int, identity: Identity) -> str:
    context = context_of(identity)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw, context.wrap_socket(raw) as connection:
        found = connection.getpeercert()
    assert found
    return str(found["serialNumber"])


async def test_a_ca_that_is_added_is_trusted_without_a_restart(tmp_path):
    store = StoreProcess(tmp_path)
    store.start()
    try:
        second = Authority(tmp_path / "second", "second-ca").issue("steer-apiserver")
        caller = Identity(second.cert, second.key, store.client.ca)
        with pytest.raises(Exception, match="exit status"):
            store.etcdctl("--dial-timeout=1s", "--command-timeout=1s", "get", "/", identity=caller)
        store.server.ca.write_bytes(store.server.ca.read_bytes() + second.ca.read_bytes())
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(Exception):
                store.etcdctl("--dial-timeout=1s", "--command-timeout=1s", "get", "/", identity=caller)
                break
            assert time.monotonic() < until
    finally:
        store.kill()


async def test_streams_that_need_a_leader_end_when_it_is_lost_and_others_go_on(cluster):
    leader = await cluster.leader()
    channel = grpc_channel([leader.endpoint], cluster.client)
    stub = rpc_pb2_grpc.WatchStub(channel)
    create = rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=b"/watched"))
    needing, patient = stub.Watch(metadata=(("hasleader", "true"),)), stub.Watch()
    for stream in (needing, patient):
        await stream.write(create)
        assert (await stream.read()).created
    for member in cluster.members.values():
        if member is not leader:
            member.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(needing.read(), 15)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert caught.value.details() == "etcdserver: no leader"
    with pytest.raises(grpc.aio.AioRpcError, match="no leader"):
        await stub.Watch(metadata=(("hasleader", "true"),)).read()
    with pytest.raises(grpc.aio.AioRpcError, match="no leader"):
        await rpc_pb2_grpc.KVStub(channel).Range(
            rpc_pb2.RangeRequest(key=b"/", serializable=True), metadata=(("hasleader", "true"),), timeout=5
        )
    cluster.start()
    await cluster.leader()
    client = cluster.store_client()
    await client.put_if(b"/watched", b"", 0)
    await client.close()
    assert (await asyncio.wait_for(patient.read(), 10)).events[0].kv.key == b"/watched"
    await channel.close()


async def test_a_ca_that_is_taken_out_is_trusted_no_more_and_a_client_follows_its_own_certificate(tmp_path):
    """The store and its client move from one CA to another while both run."""
    process = StoreProcess(tmp_path)
    other = Authority(tmp_path / "other", "another-ca")
    old, new = process.client.ca.read_bytes(), other.ca.read_bytes()
    trusted, believed = tmp_path / "trusted.crt", tmp_path / "believed.crt"
    mine = Identity(tmp_path / "mine.crt", tmp_path / "mine.key", believed)

    def give(identity: Identity, target: Identity) -> None:
        target.key.write_bytes(identity.key.read_bytes())
        target.cert.write_bytes(identity.cert.read_bytes())

    trusted.write_bytes(old)
    believed.write_bytes(old)
    give(process.client, mine)
    process.server = Identity(process.server.cert, process.server.key, trusted)
    process.start()
    client = StoreClient([process.endpoint], mine)
    following = asyncio.create_task(client.follow_certificate())
    try:
        written = await client.put_if(b"/a", b"1", 0)
        trusted.write_bytes(old + new)
        believed.write_bytes(old + new)
        give(other.issue("steer-apiserver"), mine)
        give(other.issue("store"), process.server)

        async def is_taken(identity: Identity) -> bool:
            async with grpc_channel([process.endpoint], identity) as channel:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await rpc_pb2_grpc.MaintenanceStub(channel).Status(rpc_pb2.StatusRequest(), timeout=2)
                    return True
            return False

        moved = Identity(mine.cert, mine.key, other.ca)
        async with asyncio.timeout(20):
            while not await is_taken(moved):  # noqa: ASYNC110  # asks another process
                await asyncio.sleep(0.2)
        trusted.write_bytes(new)
        believed.write_bytes(new)
        stayed = Identity(process.client.cert, process.client.key, other.ca)
        assert not await is_taken(stayed)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(Unavailable):
                    await client.put_if(b"/a", b"2", written)
                    break
    finally:
        following.cancel()
        await client.close()
        process.kill()
