"""A backup says itself whether it is whole, and what is restored fools no watcher."""

from __future__ import annotations

import hashlib

import pytest

from component.clock import RealClock
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store import backup
from store.apply import State
from store.backend import Backend
from store.backup import BackupDamaged, Description, RestoreRefused
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
        path.write_bytes(b"".join(backup.pack(description, reading.chunks())))
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
    with pytest.raises(BackupDamaged, match="a snapshot of etcd itself"):
        backup.verify(bad)
    assert not (tmp_path / "to").exists()
    await world.close()


async def test_what_was_there_is_moved_aside(tmp_path):
    for name in ("state", "log"):
        (tmp_path / name).mkdir()
    aside = backup.set_aside(tmp_path, "now")
    assert aside is not None and sorted(path.name for path in aside.iterdir()) == ["log", "state"]
    assert backup.set_aside(tmp_path, "later") is None
