"""The real store process: etcdctl and Pipeline against it, kill -9 in the middle of writes, start and stop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from component.serve import grpc_channel
from proto.etcd import rpc_pb2, rpc_pb2_grpc
from store.client import (
    Compacted,
    Conflict,
    DeleteRange,
    FutureRevision,
    Put,
    Refused,
    StoreClient,
    Unavailable,
    prefix_end,
)
from tests.integration.store_process import Authority, StoreProcess

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("store"), "--progress-interval", "0.3")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path)
    yield process
    process.kill()


@pytest.fixture
async def client(store: StoreProcess) -> AsyncIterator[StoreClient]:
    client = StoreClient([store.endpoint], store.client)
    yield client
    await client.close()


# -- through the client


async def test_writes_are_conditional_and_a_conflict_carries_what_is_there(client: StoreClient):
    first = await client.put_if(b"/cas/a", b"1", 0)
    second = await client.put_if(b"/cas/a", b"2", first)
    with pytest.raises(Conflict) as caught:
        await client.put_if(b"/cas/a", b"3", first)
    assert (caught.value.current.value, caught.value.current.mod_revision) == (b"2", second)
    await client.delete_if(b"/cas/a", second)
    with pytest.raises(Conflict) as caught:
        await client.delete_if(b"/cas/a", second)
    assert caught.value.current is None


async def test_a_range_larger_than_a_message_arrives_whole(client: StoreClient):
    await asyncio.gather(*(client.put_if(b"/large/%03d" % n, b"x" * 500_000, 0) for n in range(40)))
    result = await client.range(b"/large/", prefix_end(b"/large/"))
    assert [kv.key for kv in result.kvs] == [b"/large/%03d" % n for n in range(40)]
    assert (result.count, result.more) == (40, False)
    some = await client.range(b"/large/", prefix_end(b"/large/"), limit=3, keys_only=True)
    assert (len(some.kvs), some.count, some.more) == (3, 40, True)


async def test_a_watch_resumes_and_tells_how_far_it_is(client: StoreClient):
    first = await client.put_if(b"/w/a", b"1", 0)
    second = await client.put_if(b"/w/a", b"2", first)
    third = await client.delete_if(b"/w/a", second)
    async with client.watch(b"/w/", second) as watch, asyncio.timeout(5):
        seen = []
        async for batch in watch:
            seen += [(event.is_delete, event.kv.mod_revision, event.prev_kv.value) for event in batch.events]
            if not batch.events:
                assert batch.revision >= third
                break
    assert seen == [(False, second, b"1"), (True, third, b"2")]


async def test_progress_asked_before_anything_is_read_comes_after_the_events(client: StoreClient):
    written = await client.put_if(b"/early/a", b"1", 0)
    async with client.watch(b"/early/", written) as watch, asyncio.timeout(5):
        await watch.request_progress()
        async for batch in watch:
            assert [event.kv.mod_revision for event in batch.events] == [written]
            break


async def test_progress_comes_on_request(client: StoreClient):
    async with client.watch(b"/quiet/", progress=False) as watch, asyncio.timeout(5):
        batches = aiter(watch)
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0.1)
        revision = await client.put_if(b"/elsewhere", b"", 0)
        await watch.request_progress()
        batch = await waiting
    assert (batch.events, batch.revision) == ((), revision)


async def test_errors_have_names(client: StoreClient):
    revision = await client.put_if(b"/e", b"", 0)
    with pytest.raises(FutureRevision):
        await client.range(b"/e", revision=revision + 1000)
    with pytest.raises(Refused, match="duplicate key given"):
        await client.txn([], [Put(b"/e"), DeleteRange(b"/e")])
    with pytest.raises(Refused, match="etcdserver: request is too large"):
        await client.put_if(b"/e", b"x" * 1_600_000, revision)
    with pytest.raises(Refused, match="requested lease not found"):
        await client.put_if(b"/e", b"", revision, lease=4711)


async def test_compaction_is_told_to_readers_and_watchers(own_store: StoreProcess):
    own_store.start()
    client = StoreClient([own_store.endpoint], own_store.client)
    revision = 0
    for _ in range(5):
        revision = await client.put_if(b"/c", b"", revision)
    await client.compact(revision)
    with pytest.raises(Compacted) as caught:
        await client.range(b"/c", revision=revision - 1)
    assert caught.value.revision == revision
    with pytest.raises(Compacted):
        async for _ in client.watch(b"/c", 2):
            pass
    with pytest.raises(Compacted):
        await client.compact(revision)
    await client.close()


# -- who may come in


async def test_only_clients_it_was_told_of_are_admitted(store: StoreProcess, tmp_path: Path):
    stranger = StoreClient([store.endpoint], store.stranger)
    with pytest.raises(Refused, match=r"certificate of stranger is not admitted.*steer-apiserver"):
        await stranger.put_if(b"/a", b"", 0)
    with pytest.raises(Refused, match="not admitted"):
        async for _ in stranger.watch(b"/a"):
            pass
    await stranger.close()
    other_ca = Authority(tmp_path / "other").issue("steer-apiserver")
    foreign = StoreClient([store.endpoint], type(other_ca)(other_ca.cert, other_ca.key, store.client.ca), timeout_s=2)
    with pytest.raises(Unavailable):
        await foreign.put_if(b"/a", b"", 0)
    await foreign.close()


# -- etcd's own tool


def test_etcdctl_reads_writes_and_transacts(store: StoreProcess):
    assert store.etcdctl("put", "/ctl/a", "1") == "OK\n"
    assert store.etcdctl("put", "/ctl/b", "2", "--prev-kv") == "OK\n"
    assert store.etcdctl("get", "/ctl/", "--prefix", "--order=DESCEND", "--sort-by=key") == "/ctl/b\n2\n/ctl/a\n1\n"
    assert store.etcdctl("get", "/ctl/a", "--print-value-only") == "1\n"
    assert json.loads(store.etcdctl("get", "/ctl/", "--prefix", "--limit=1", "--keys-only", "-w", "json"))["count"] == 2
    txn = 'value("/ctl/a") = "1"\n\nput /ctl/a "one"\nget /ctl/a\n\nget /ctl/b\n\n'
    assert store.etcdctl("txn", stdin=txn) == "SUCCESS\n\nOK\n\n/ctl/a\none\n"
    assert store.etcdctl("del", "/ctl/", "--prefix", "--prev-kv") == "2\n/ctl/a\none\n/ctl/b\n2\n"


def test_etcdctl_sees_health_status_and_members(store: StoreProcess):
    (status,) = json.loads(store.etcdctl("endpoint", "status", "-w", "json"))
    assert status["Status"]["leader"] == status["Status"]["header"]["member_id"]
    assert "store-1" in store.etcdctl("member", "list")
    assert store.etcdctl("alarm", "list") == ""
    store.etcdctl("endpoint", "health")


def test_etcdctl_leases_end_with_their_keys(store: StoreProcess):
    lease = store.etcdctl("lease", "grant", "2").split()[1]
    store.etcdctl("put", "/leased", "x", f"--lease={lease}")
    assert "/leased" in store.etcdctl("lease", "timetolive", lease, "--keys")
    store.etcdctl("lease", "keep-alive", "--once", lease)
    assert lease in store.etcdctl("lease", "list")
    deadline = time.monotonic() + 30
    while store.etcdctl("get", "/leased"):
        assert time.monotonic() < deadline, "the lease never ended"
        time.sleep(0.1)
    assert "already expired" in store.etcdctl("lease", "timetolive", lease)
    lasting = store.etcdctl("lease", "grant", "600").split()[1]
    store.etcdctl("put", "/leased", "x", f"--lease={lasting}")
    store.etcdctl("lease", "revoke", lasting)
    assert store.etcdctl("get", "/leased") == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "x", "--rev", "999999999"], "etcdserver: mvcc: required revision is a future revision"),
        (["put", "", "x"], "etcdserver: key is not provided"),
        (["lease", "revoke", "1234"], "etcdserver: requested lease not found"),
        (["put", "x", "--ignore-value"], "etcdserver: key not found"),
        (["compaction", "999999999"], "etcdserver: mvcc: required revision is a future revision"),
        (["member", "remove", "1234"], "member not found"),
        (["user", "get", "nobody"], "etcdserver: user name not found"),
    ],
)
def test_etcdctl_gets_clear_errors(store: StoreProcess, arguments, message):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        store.etcdctl(*arguments)
    assert message in caught.value.stderr + caught.value.stdout


def test_etcdctl_watches_from_a_revision(store: StoreProcess):
    revision = json.loads(store.etcdctl("put", "/watched", "1", "-w", "json"))["header"]["revision"]
    store.etcdctl("put", "/watched", "2")
    store.etcdctl("del", "/watched")
    command = ["timeout", "1.5", "etcdctl", f"--endpoints=https://{store.endpoint}", f"--cacert={store.client.ca}"]
    command += [f"--cert={store.client.cert}", f"--key={store.client.key}"]
    command += ["watch", "/watched", f"--rev={revision}", "--prev-kv"]
    out = subprocess.run(command, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    heard = "PUT\n/watched\n1\nPUT\n/watched\n1\n/watched\n2\nDELETE\n/watched\n2\n/watched\n\n"
    assert out.stdout == heard, out.stderr


async def test_fragments_add_up_for_a_watch_that_allows_them(store: StoreProcess):
    channel = grpc_channel([store.endpoint], store.client)
    kv, watch = rpc_pb2_grpc.KVStub(channel), rpc_pb2_grpc.WatchStub(channel)
    ops = [
        rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"/frag/%d" % n, value=b"x" * 300_000)) for n in range(5)
    ]
    answer = await kv.Txn(rpc_pb2.TxnRequest(success=ops))
    call = watch.Watch()
    create = rpc_pb2.WatchCreateRequest(
        key=b"/frag/", range_end=b"/frag0", start_revision=answer.header.revision, fragment=True
    )
    await call.write(rpc_pb2.WatchRequest(create_request=create))
    assert (await call.read()).created
    pieces = [await call.read()]
    while pieces[-1].fragment:
        pieces.append(await call.read())
    assert len(pieces) > 1
    assert [event.kv.key for piece in pieces for event in piece.events] == [b"/frag/%d" % n for n in range(5)]
    call.cancel()
    await channel.close()


async def test_the_grpc_health_service_answers(store: StoreProcess):
    channel = grpc_channel([store.endpoint], store.client)
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert await check(b"") == b"\x08\x01"
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
    assert await watch.read() == b"\x08\x01"
    watch.cancel()
    await channel.close()


# -- dying and coming back


async def test_every_acknowledged_write_survives_kill_9(own_store: StoreProcess):
    """Writers through Pipeline and through plain etcd put, killed in the middle, ten times over."""
    acknowledged: dict[bytes, tuple[bytes, int]] = {}
    revision_seen = 0
    unknown = 0
    for life in range(10):
        own_store.start()
        client = StoreClient([own_store.endpoint], own_store.client, timeout_s=1.5)
        reader = StoreClient([own_store.endpoint], own_store.client, timeout_s=20)
        for key, (value, revision) in acknowledged.items():
            (kv,) = (await reader.range(key)).kvs
            assert kv.mod_revision >= revision, f"{key} went back"
            assert kv.mod_revision > revision or kv.value == value, f"{key} changed without a revision"
        status = await reader.status()
        assert status.revision >= revision_seen, "the revision went back"
        await reader.close()
        channel = grpc_channel([own_store.endpoint], own_store.client)
        plain = rpc_pb2_grpc.KVStub(channel)

        async def write_pipelined(writer: int, client=client, life=life) -> None:
            nonlocal revision_seen
            key = b"/pipe/%d" % writer
            kvs = (await client.range(key)).kvs
            at = kvs[0].mod_revision if kvs else 0
            for number in range(100_000):
                value = b"%d.%d" % (life, number)
                at = await client.put_if(key, value, at)
                acknowledged[key] = (value, at)
                revision_seen = max(revision_seen, at)

        async def write_plain(writer: int, plain=plain, life=life) -> None:
            nonlocal revision_seen
            key = b"/plain/%d" % writer
            for number in range(100_000):
                value = b"%d.%d" % (life, number)
                answer = await plain.Put(rpc_pb2.PutRequest(key=key, value=value))
                acknowledged[key] = (value, answer.header.revision)
                revision_seen = max(revision_seen, answer.header.revision)

        writers = [write_pipelined(n) for n in range(16)] + [write_plain(n) for n in range(4)]
        tasks = [asyncio.create_task(writer) for writer in writers]
        await asyncio.sleep(0.15 + 0.07 * life)
        own_store.kill()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, Unavailable | grpc.aio.AioRpcError) for outcome in outcomes), outcomes
        unknown += len(outcomes)
        await client.close()
        await channel.close()
    assert len(acknowledged) == 20
    assert revision_seen > 200, "hardly anything was written"
    own_store.start()
    assert own_store.http("/readyz") == "ok"


async def test_a_watch_resumes_across_kill_9_without_a_gap(own_store: StoreProcess):
    own_store.start()
    client = StoreClient([own_store.endpoint], own_store.client, timeout_s=5)
    written = [await client.put_if(b"/g/%d" % n, b"", 0) for n in range(20)]
    heard: list[int] = []
    with pytest.raises(Unavailable):
        async for batch in client.watch(b"/g/", 1):
            heard += [event.kv.mod_revision for event in batch.events]
            if len(heard) == 20:
                own_store.kill()
    own_store.start()
    while True:
        try:
            written.append(await client.put_if(b"/g/after", b"", 0))
            break
        except Unavailable:
            await asyncio.sleep(0.05)
    async for batch in client.watch(b"/g/", heard[-1] + 1):
        heard += [event.kv.mod_revision for event in batch.events]
        break
    assert heard == written
    await client.close()


def test_it_starts_and_stops_in_well_under_a_second(own_store: StoreProcess):
    assert own_store.start() < 2.0  # 0.3 s on a calm machine
    code, seconds = own_store.stop()
    assert (code, seconds < 1.0) == (0, True)


def test_a_damaged_log_refuses_to_start_and_says_what_to_do(own_store: StoreProcess):
    own_store.start()
    for number in range(5):
        own_store.etcdctl("put", "/d", f"value {number}")
    own_store.stop()
    (log,) = (own_store.directory / "data" / "log").glob("*.log")
    content = bytearray(log.read_bytes())
    content[content.find(b"value 1")] ^= 1
    log.write_bytes(content)
    with pytest.raises(AssertionError, match=r"checksum mismatch[^\n]*will not start[^\n]*restore"):
        own_store.start()
    assert own_store.process.poll() == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--listen-client", "nowhere"], "expected host:port"),
        (["--cert", "/nowhere.crt"], "/nowhere.crt is not there"),
        (["--data-dir", "/proc/nowhere"], "can't be used"),
        (["--health", "127.0.0.1:x"], "expected host:port"),
    ],
)
def test_bad_settings_end_in_one_line_and_code_2(own_store: StoreProcess, flags, message):
    own_store.flags = tuple(flags)
    with pytest.raises(AssertionError, match=message):
        own_store.start()
    assert own_store.process.poll() == 2
    assert "Traceback" not in own_store.log.read_text()


def test_a_data_directory_serves_one_process_only(own_store: StoreProcess):
    own_store.start()
    second = StoreProcess(own_store.directory / "second")
    second.flags = ("--data-dir", str(own_store.directory / "data"))
    with pytest.raises(AssertionError, match="in use by another steer-store"):
        second.start()


def test_a_port_already_taken_is_named(own_store: StoreProcess, store: StoreProcess):
    own_store.flags = ("--listen-client", store.endpoint)
    with pytest.raises(AssertionError, match=f"can't listen on {store.endpoint}"):
        own_store.start()
    assert own_store.process.poll() == 2


def test_an_altered_record_stops_the_member_rather_than_being_served(own_store: StoreProcess):
    own_store.start()
    own_store.etcdctl("put", "/altered", "marker-of-this-record")
    own_store.stop()
    state = own_store.directory / "data" / "state" / "state.mdb"
    content = state.read_bytes()
    assert b"marker-of-this-record" in content
    state.write_bytes(content.replace(b"marker-of-this-record", b"Marker-of-this-record"))
    with pytest.raises(AssertionError, match=r"state file [^\n]*checksum mismatch[^\n]*restore"):
        own_store.start()
    assert own_store.process.poll() == 1
