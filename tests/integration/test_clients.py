"""Client libraries and plain gRPC against a real store: what etcdctl does not reach."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from component.serve import grpc_channel
from proto.etcd import election_pb2, election_pb2_grpc, lock_pb2, lock_pb2_grpc, rpc_pb2, rpc_pb2_grpc
from tests.integration.store_process import StoreProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("clients"), "--progress-interval", "0.3")
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def channel(store: StoreProcess) -> AsyncIterator[grpc.aio.Channel]:
    channel = grpc_channel([store.endpoint], store.client)
    yield channel
    await channel.close()


async def put(channel: grpc.aio.Channel, key: bytes, value: bytes, lease: int = 0) -> int:
    request = rpc_pb2.PutRequest(key=key, value=value, lease=lease)
    return (await rpc_pb2_grpc.KVStub(channel).Put(request)).header.revision


async def refused(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


@pytest.mark.skipif(importlib.util.find_spec("aetcd") is None, reason="aetcd is not installed")
def test_aetcd_gets_a_round_of_everything(store: StoreProcess):
    who = store.client
    arguments = ["127.0.0.1", str(store.port), *(str(path) for path in (who.cert, who.key, who.ca))]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("aetcd_round.py")), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "aetcd: all of it\n", done.stderr


# -- watch


class Watching:
    """A watch stream, one message at a time."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stream = rpc_pb2_grpc.WatchStub(channel).Watch()

    async def create(self, **fields) -> rpc_pb2.WatchResponse:
        await self.stream.write(rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(**fields)))
        return await self.read()

    async def read(self) -> rpc_pb2.WatchResponse:
        return await asyncio.wait_for(self.stream.read(), 10)


async def test_a_watch_filters_numbers_itself_and_refuses_a_number_twice(channel: grpc.aio.Channel):
    watching = Watching(channel)
    created = await watching.create(key=b"f/", range_end=b"f0", watch_id=7, filters=[rpc_pb2.WatchCreateRequest.NOPUT])
    assert (created.watch_id, created.created, created.canceled) == (7, True, False)
    again = await watching.create(key=b"f/", watch_id=7)
    assert (again.created, again.canceled, again.watch_id) == (True, True, -1)
    assert "duplicate watch ID" in again.cancel_reason
    await put(channel, b"f/a", b"1")
    await rpc_pb2_grpc.KVStub(channel).DeleteRange(rpc_pb2.DeleteRangeRequest(key=b"f/a"))
    heard = await watching.read()
    assert [(event.type, event.kv.key) for event in heard.events] == [(1, b"f/a")]
    await watching.stream.write(rpc_pb2.WatchRequest(cancel_request=rpc_pb2.WatchCancelRequest(watch_id=7)))
    assert (await watching.read()).canceled
    watching.stream.cancel()


async def test_a_large_revision_arrives_whole_or_in_fragments_that_say_so(channel: grpc.aio.Channel):
    txn = rpc_pb2.TxnRequest()
    for number in range(3):
        large = txn.success.add().request_put
        large.key, large.value = b"frag/%d" % number, b"x" * 450_000
    revision = (await rpc_pb2_grpc.KVStub(channel).Txn(txn)).header.revision
    watching = Watching(channel)
    await watching.create(key=b"frag/", range_end=b"frag0", start_revision=revision, fragment=True)
    parts = [await watching.read()]
    while parts[-1].fragment:
        parts.append(await watching.read())
    assert len(parts) > 1
    assert [event.kv.key for part in parts for event in part.events] == [b"frag/%d" % number for number in range(3)]
    whole = Watching(channel)
    await whole.create(key=b"frag/", range_end=b"frag0", start_revision=revision)
    assert len((await whole.read()).events) == 3
    for each in (watching, whole):
        each.stream.cancel()


async def test_progress_is_told_when_asked_and_from_time_to_time(channel: grpc.aio.Channel):
    watching = Watching(channel)
    await watching.create(key=b"quiet", progress_notify=True)
    revision = await put(channel, b"elsewhere", b"1")
    notice = await watching.read()
    assert not notice.events and notice.watch_id == 0 and notice.header.revision >= revision - 1
    await watching.stream.write(rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest()))
    while (notice := await watching.read()).watch_id != -1:
        pass
    assert notice.header.revision >= revision
    watching.stream.cancel()


# -- locks and elections by the server


async def lease(channel: grpc.aio.Channel, ttl_s: int = 60) -> int:
    return (await rpc_pb2_grpc.LeaseStub(channel).LeaseGrant(rpc_pb2.LeaseGrantRequest(TTL=ttl_s))).ID


async def test_the_lock_service_lets_one_in_at_a_time_and_a_lease_that_ends_lets_go(channel: grpc.aio.Channel):
    locks = lock_pb2_grpc.LockStub(channel)
    mine, yours = await lease(channel), await lease(channel)
    held = await locks.Lock(lock_pb2.LockRequest(name=b"gate", lease=mine))
    assert held.key == b"gate/%x" % mine
    waiting = asyncio.ensure_future(locks.Lock(lock_pb2.LockRequest(name=b"gate", lease=yours)))
    given_up = locks.Lock(lock_pb2.LockRequest(name=b"gate"))
    done, _ = await asyncio.wait({waiting}, timeout=0.4)
    assert not done
    given_up.cancel()
    await rpc_pb2_grpc.LeaseStub(channel).LeaseRevoke(rpc_pb2.LeaseRevokeRequest(ID=mine))
    taken = await asyncio.wait_for(waiting, 5)
    await locks.Unlock(lock_pb2.UnlockRequest(key=taken.key))
    left = await rpc_pb2_grpc.KVStub(channel).Range(rpc_pb2.RangeRequest(key=b"gate/", range_end=b"gate0"))
    assert left.count == 0, "who gave up has left the queue"


async def test_the_election_service_elects_proclaims_and_resigns(channel: grpc.aio.Channel):
    elections = election_pb2_grpc.ElectionStub(channel)
    assert await refused(elections.Leader(election_pb2.LeaderRequest(name=b"chair"))) == (
        grpc.StatusCode.UNKNOWN,
        "election: no leader",
    )
    anna, ben = await lease(channel), await lease(channel)
    seen = elections.Observe(election_pb2.LeaderRequest(name=b"chair"))
    won = await elections.Campaign(election_pb2.CampaignRequest(name=b"chair", lease=anna, value=b"anna"))
    assert (await asyncio.wait_for(seen.read(), 5)).kv.value == b"anna"
    next_up = asyncio.ensure_future(
        elections.Campaign(election_pb2.CampaignRequest(name=b"chair", lease=ben, value=b"ben"))
    )
    await elections.Proclaim(election_pb2.ProclaimRequest(leader=won.leader, value=b"anna again"))
    assert (await asyncio.wait_for(seen.read(), 5)).kv.value == b"anna again"
    leader = await elections.Leader(election_pb2.LeaderRequest(name=b"chair"))
    assert (leader.kv.value, leader.kv.lease) == (b"anna again", anna)
    await elections.Resign(election_pb2.ResignRequest(leader=won.leader))
    assert (await asyncio.wait_for(next_up, 5)).leader.lease == ben
    assert (await asyncio.wait_for(seen.read(), 5)).kv.value == b"ben"
    over = elections.Proclaim(election_pb2.ProclaimRequest(leader=won.leader, value=b"too late"))
    assert await refused(over) == (grpc.StatusCode.UNKNOWN, "election: not leader")
    seen.cancel()


# -- maintenance


async def test_maintenance_answers_in_full(channel: grpc.aio.Channel):
    maintenance = rpc_pb2_grpc.MaintenanceStub(channel)
    revision = await put(channel, b"hashed", b"1")
    hashed = await maintenance.HashKV(rpc_pb2.HashKVRequest())
    assert hashed.hash_revision == revision
    assert (await maintenance.Hash(rpc_pb2.HashRequest())).hash
    future = maintenance.HashKV(rpc_pb2.HashKVRequest(revision=revision + 1000))
    assert (await refused(future))[0] == grpc.StatusCode.OUT_OF_RANGE
    assert await refused(maintenance.Downgrade(rpc_pb2.DowngradeRequest(version="3.3.0"))) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "etcdserver: there is no older version of this store to downgrade to (Maintenance.Downgrade)",
    )
    login = rpc_pb2_grpc.AuthStub(channel).Authenticate(rpc_pb2.AuthenticateRequest(name="root", password="x"))
    assert await refused(login) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "etcdserver: authentication is not enabled",
    )
    status = await maintenance.Status(rpc_pb2.StatusRequest())
    assert status.dbSizeQuota == 8 << 30 and status.leader == status.header.member_id


async def test_puts_go_on_while_a_snapshot_is_read_slowly_and_it_shows_one_moment(channel: grpc.aio.Channel):
    for number in range(40):
        await put(channel, b"snap/%d" % number, b"x" * 100_000)
    stream = rpc_pb2_grpc.MaintenanceStub(channel).Snapshot(rpc_pb2.SnapshotRequest())
    first = await stream.read()
    revision = first.header.revision
    for number in range(20):
        assert await put(channel, b"snap/%d" % number, b"y") > revision
        await asyncio.sleep(0.01)
    await rpc_pb2_grpc.MaintenanceStub(channel).HashKV(rpc_pb2.HashKVRequest())
    blobs, remaining = [first.blob], first.remaining_bytes
    while (piece := await stream.read()) is not grpc.aio.EOF:
        assert piece.header.revision == revision
        blobs.append(piece.blob)
        remaining = piece.remaining_bytes
    assert remaining == 0
    assert sum(map(len, blobs)) > 4_000_000, "what was overwritten meanwhile is in it"


async def test_metrics_have_etcds_names(store: StoreProcess, channel: grpc.aio.Channel):
    await put(channel, b"counted", b"1")
    text = store.http("/metrics")
    for name in (
        "etcd_server_has_leader 1",
        "etcd_disk_wal_fsync_duration_seconds_count ",
        "etcd_network_client_grpc_received_bytes_total ",
        'grpc_server_started_total{grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary"}',
        "etcd_mvcc_db_total_size_in_use_in_bytes ",
        "etcd_mvcc_put_total ",
        'grpc_server_handled_total{grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary",grpc_code="OK"}',
        'etcd_disk_backend_commit_duration_seconds_bucket{le="0.001"}',
        'etcd_server_version{server_version="3.4',
    ):
        assert name in text, text
