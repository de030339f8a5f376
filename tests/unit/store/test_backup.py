"""A backup says itself whether it is whole, and what is restored fools no watcher."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from component.clock import RealClock
from proto.etcd import auth_pb2, kv_pb2, lease_pb2, rpc_pb2
from proto.steersman.v1 import store_pb2
from store import backup
from store.apply import State
from store.backend import Backend
from store.backup import BackupDamaged, Description, Outgoing, RestoreRefused
from store.bbolt import format
from store.bbolt.write import Bucket, File
from store.mvcc.index import FROM_KEY
from store.mvcc.kv import Put, Range, Txn
from store.mvcc.revision import Compacted
from tests.unit.store.test_upkeep import World, put

NOW_S = 1_790_000_000.0


async def made(tmp_path, writes: int = 40):
    """Write a backup of a small store; return its path and the store."""
    world = World(tmp_path / "from")
    for number in range(writes):
        world.apply(store_pb2.Command(txn=put(b"k%d" % (number % 7), b"%d" % number)))
    world.apply(store_pb2.Command(lease_grant=rpc_pb2.LeaseGrantRequest(ID=5, TTL=60)))
    world.apply(store_pb2.Command(alarm=rpc_pb2.AlarmRequest(action=1, memberID=1, alarm=rpc_pb2.NOSPACE)))
    world.apply(store_pb2.Command(compact=rpc_pb2.CompactionRequest(revision=20)))
    await world.backends[0].settle()
    path = tmp_path / "backup"
    with world.backends[0].read() as reading:
        meta = reading.meta
        description = Description(
            cluster_id=meta.cluster_id,
            member="s1",
            revision=meta.revision,
            compact_revision=meta.compact_revision,
            index=meta.applied,
            term=meta.term,
            created_s=NOW_S,
            version="3.4.34",
        )
        outgoing = Outgoing(description, reading)
        path.write_bytes(b"".join(outgoing.pieces()))
    assert path.stat().st_size == outgoing.size_bytes
    return path, world


def opened(directory) -> Backend:
    def fail(error: BaseException) -> None:
        raise error

    return Backend(directory / "state", RealClock(), fail)


async def test_the_file_ends_in_its_hash_as_etcds_clients_expect(tmp_path):
    path, world = await made(tmp_path)
    raw = path.read_bytes()
    assert len(raw) % 512 == 32
    assert hashlib.sha256(raw[:-32]).digest() == raw[-32:]
    found = backup.status(path)
    hash, revision, _ = await world.upkeeps[0].hash_kv(0)
    assert (found.keys, found.description.revision, found.hash) == (7, revision, hash)
    assert found.records == 21 + 7  # all since the compaction, and the newest of each key at it
    await world.close()


async def test_a_restored_store_has_the_pairs_and_a_revision_nobody_has_seen(tmp_path):
    path, world = await made(tmp_path)
    everything = world.states[0].mvcc.range(Range(b"\x00", FROM_KEY)).kvs
    restored = backup.restore(path, tmp_path / "to", cluster_id=99, now_s=NOW_S)
    assert restored.cluster_id == 99
    assert restored.revision == NOW_S * 1e6
    backend = opened(tmp_path / "to")
    state = State(backend)
    assert state.mvcc.range(Range(b"\x00", FROM_KEY)).kvs == everything
    assert state.mvcc.revision == restored.revision
    assert list(state.leases) == [5]
    assert not state.alarms
    for start in (2, 41, 42, restored.revision - 1):
        watcher = state.watchers.add(world_interest(), start, lambda: None)
        with pytest.raises(Compacted):
            state.watchers.next(watcher)
    result, _ = state.mvcc.txn(Txn(success=(Put(b"new"),)))
    assert result.revision == restored.revision + 1
    await backend.close()
    await world.close()


def world_interest():
    from store.mvcc.watch import Interest

    return Interest(b"\x00", FROM_KEY)


async def test_a_backup_restored_twice_gives_revisions_apart(tmp_path):
    path, world = await made(tmp_path)
    first = backup.restore(path, tmp_path / "a", cluster_id=1, now_s=NOW_S)
    second = backup.restore(path, tmp_path / "b", cluster_id=2, now_s=NOW_S + 1)
    assert second.revision - first.revision == 1_000_000
    slow_clock = backup.restore(path, tmp_path / "c", cluster_id=3, now_s=0)
    assert slow_clock.revision == 41 + backup.REVISION_BUMP
    with pytest.raises(RestoreRefused, match="has a state already"):
        backup.restore(path, tmp_path / "a", cluster_id=4, now_s=NOW_S)
    await world.close()


async def test_a_file_cut_anywhere_or_altered_anywhere_is_refused_and_nothing_is_made(tmp_path):
    path, world = await made(tmp_path)
    raw = path.read_bytes()
    bad = tmp_path / "bad"
    for length in (0, 10, 31, 512, len(raw) // 2, len(raw) - 512, len(raw) - 1):
        bad.write_bytes(raw[:length])
        with pytest.raises(BackupDamaged):
            backup.restore(bad, tmp_path / "to", cluster_id=1, now_s=NOW_S)
    for at in (0, 30, 100, len(raw) // 2, len(raw) - 600, len(raw) - 5):
        bad.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(BackupDamaged):
            backup.status(bad)
    bad.write_bytes(bytes(16) + b"\xed\xda\x0c\xed" + bytes(4096))
    with pytest.raises(BackupDamaged, match="cut short"):
        backup.verify(bad)
    # A copy of an etcd's own file: nobody can tell whether it is whole.
    bad.write_bytes(raw[:-32])
    with pytest.raises(BackupDamaged, match="etcdctl snapshot save"):
        backup.verify(bad)
    assert not (tmp_path / "to").exists()
    await world.close()


def sealed(raw: bytes) -> bytes:
    return raw + hashlib.sha256(raw).digest()


def etcds(pairs: dict[bytes, bytes], meta: dict[bytes, bytes], leases: dict[bytes, bytes], **more) -> bytes:
    """Return what an etcd with these records might give."""
    contents = {b"key": pairs, b"meta": meta, b"lease": leases, **{name.encode(): more[name] for name in more}}
    buckets = [Bucket(name, lambda content=content: sorted(content.items())) for name, content in contents.items()]
    return sealed(b"".join(File(buckets).pieces()))


def at(main: int, sub: int = 0, tombstone: bool = False) -> bytes:
    return struct.pack(">QcQ", main, b"_", sub) + (b"t" if tombstone else b"")


def pair(key: bytes, main: int, created: int, version: int = 1, **more) -> bytes:
    fields = {"key": key, "create_revision": created, "mod_revision": main, "version": version, **more}
    return kv_pb2.KeyValue(**fields).SerializeToString()


INDEX = struct.pack(">Q", 44)


async def test_a_snapshot_of_an_etcd_is_restored(tmp_path):
    path = tmp_path / "etcd.db"
    pairs = {
        at(5): pair(b"a", 5, 3, 2, value=b"old"),
        at(7): pair(b"a", 7, 3, 3, value=b"new", lease=9),
        at(7, 1): pair(b"gone", 7, 7),
        at(8, 0, tombstone=True): kv_pb2.KeyValue(key=b"gone").SerializeToString(),
    }
    meta = {b"consistent_index": INDEX, b"finishedCompactRev": at(5), b"scheduledCompactRev": at(6)}
    lease = lease_pb2.Lease(ID=9, TTL=60, RemainingTTL=4).SerializeToString()
    path.write_bytes(etcds(pairs, meta, {struct.pack(">q", 9): lease}))
    found = backup.status(path)
    assert (found.keys, found.description.revision, found.description.compact_revision) == (1, 8, 6)
    assert found.description.is_of_etcd and found.description.index == 44
    restored = backup.restore(path, tmp_path / "to", cluster_id=5, now_s=NOW_S)
    assert restored.revision == NOW_S * 1e6
    state = State(opened(tmp_path / "to"))
    (kv,) = state.mvcc.range(Range(b"\x00", FROM_KEY)).kvs
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (b"a", b"new", 3, 7, 3, 9)
    assert state.leases.ttl_s(9) == 60 and state.leases.keys(9) == [b"a"]


@pytest.mark.parametrize(
    ("pairs", "meta", "said"),
    [
        ({}, {}, "no state of etcd's"),
        ({at(5)[:-1]: pair(b"a", 5, 5)}, {b"consistent_index": INDEX}, "not a revision"),
        ({at(0): pair(b"a", 0, 0)}, {b"consistent_index": INDEX}, "not a revision"),
        ({at(5): pair(b"a", 6, 5)}, {b"consistent_index": INDEX}, "of another"),
        ({at(5): b"\xff\xff"}, {b"consistent_index": INDEX}, "Error parsing"),
        ({}, {b"consistent_index": b"short"}, "consistent_index"),
        ({}, {b"consistent_index": INDEX, b"finishedCompactRev": b"short"}, "finishedCompactRev"),
    ],
)
def test_a_snapshot_of_nonsense_is_refused_and_nothing_is_made(tmp_path, pairs, meta, said: str):
    path = tmp_path / "etcd.db"
    path.write_bytes(etcds(pairs, meta, {}))
    with pytest.raises(BackupDamaged, match=said):
        backup.restore(path, tmp_path / "to", cluster_id=5, now_s=NOW_S)
    assert not (tmp_path / "to" / "state" / "state.mdb").exists()


async def test_users_and_roles_come_along_and_names_must_be_text(tmp_path):
    path, meta = tmp_path / "etcd.db", {b"consistent_index": INDEX}
    flags = {b"authEnabled": b"\x01", b"authRevision": struct.pack(">Q", 9)}
    for name, is_good in ((b"anna", True), (b"\xff", False)):
        users = {name: auth_pb2.User(name=name, password=b"$2a$10$", roles=["root"]).SerializeToString()}
        path.write_bytes(etcds({}, meta, {}, auth=flags, authUsers=users))
        if not is_good:
            with pytest.raises(BackupDamaged, match="not text"):
                backup.restore(path, tmp_path / "bad", cluster_id=5, now_s=NOW_S)
            continue
        backup.restore(path, tmp_path / "to", cluster_id=5, now_s=NOW_S)
        auth = State(opened(tmp_path / "to")).auth
        assert (auth.is_enabled, auth.revision, auth.users) == (True, 9, ["anna"])


async def test_what_an_etcd_made_of_our_backup_is_no_longer_described_by_us(tmp_path):
    path, world = await made(tmp_path)
    raw = bytearray(path.read_bytes()[:-32])
    for start in (16, 4096 + 16):  # as after the first transaction of an etcd
        description = list(format.DESCRIPTION.unpack_from(raw, start))
        description[-1] += 1
        packed = format.DESCRIPTION.pack(*description)
        raw[start : start + len(packed) + 8] = packed + format.CHECKSUM.pack(format.checksum(packed))
    path.write_bytes(sealed(bytes(raw)))
    found = backup.verify(path)
    assert found.is_of_etcd and found.revision == 41
    await world.close()


def test_a_backup_of_the_earlier_form_is_still_read(tmp_path):
    older = Path(__file__).parents[2] / "golden" / "older.snapshot"
    found = backup.status(older)
    assert (found.keys, found.records, found.description.revision, found.description.member) == (7, 28, 41, "s1")
    backup.restore(older, tmp_path / "to", cluster_id=5, now_s=NOW_S)
    state = State(opened(tmp_path / "to"))
    assert {kv.key: kv.value for kv in state.mvcc.range(Range(b"\x00", FROM_KEY)).kvs}[b"k4"] == b"39"
    raw = older.read_bytes()
    for bad in (raw[:-1], raw[:100], raw[:60] + b"?" + raw[61:]):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(BackupDamaged):
            backup.verify(tmp_path / "bad")


async def test_what_was_there_is_moved_aside(tmp_path):
    for name in ("state", "log"):
        (tmp_path / name).mkdir()
    aside = backup.set_aside(tmp_path, "now")
    assert aside is not None and sorted(path.name for path in aside.iterdir()) == ["log", "state"]
    assert backup.set_aside(tmp_path, "later") is None
