"""The state on disk: read back, never torn, never believed when altered."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from component.clock import RealClock
from store.backend import Backend
from store.consensus.snapshot import SnapshotDamaged, Unframer
from store.mvcc.index import FROM_KEY
from store.mvcc.kv import Mvcc, Put, Range, Txn
from store.mvcc.revision import KeyValue
from store.records import BackendDamaged, Meta, decode_record, encode_record, items
from store.state_file import install


def opened(directory) -> Backend:
    def fail(error: BaseException) -> None:
        raise error

    return Backend(directory, RealClock(), fail)


def fill(backend: Backend, count: int = 10) -> Mvcc:
    mvcc = Mvcc(backend, revision=backend.meta.revision)
    for number in range(count):
        mvcc.txn(Txn(success=(Put(b"key %d" % (number % 5), b"value %d" % number),)))
    applied = backend.meta.applied + count
    backend.meta = dataclasses.replace(backend.meta, applied=applied, term=1, revision=mvcc.revision)
    return mvcc


def everything(mvcc: Mvcc) -> tuple[KeyValue, ...]:
    return mvcc.range(Range(b"\x00", FROM_KEY)).kvs


async def test_an_orderly_stop_loses_nothing(tmp_path):
    backend = opened(tmp_path)
    backend.begin_cluster(77)
    before = everything(fill(backend))
    await backend.close()
    again = opened(tmp_path)
    assert again.meta == Meta(applied=10, term=1, revision=11, compact_revision=0, cluster_id=77)
    assert again.persisted == 10
    assert everything(Mvcc(again, revision=11)) == before
    await again.close()


async def test_records_are_readable_before_during_and_after_a_flush(tmp_path):
    backend = opened(tmp_path)
    mvcc = fill(backend)
    before = everything(mvcc)
    history = list(mvcc.history(1))
    backend._flushed_at = 0
    backend.schedule_flush(10)
    assert backend._is_flushing
    mvcc.txn(Txn(success=(Put(b"later"),)))
    assert everything(mvcc)[:-1] == before
    for _ in range(500):
        await asyncio.sleep(0.01)
        if not backend._is_flushing:
            break
    assert everything(mvcc)[:-1] == before
    assert list(mvcc.history(1))[:-1] == history
    assert backend.persisted == 10
    await backend.close()


async def test_a_state_ahead_of_the_log_is_never_written(tmp_path):
    backend = opened(tmp_path)
    fill(backend)
    backend._flushed_at = 0
    backend.schedule_flush(9)
    assert not backend._is_flushing
    backend.schedule_flush(10)
    assert backend._is_flushing
    await backend.close()


async def test_compaction_reaches_the_disk(tmp_path):
    backend = opened(tmp_path)
    mvcc = fill(backend)
    await backend.close()
    backend = opened(tmp_path)
    mvcc = Mvcc(backend, revision=11)
    mvcc.compact(11)
    backend.meta = dataclasses.replace(backend.meta, compact_revision=11, applied=11)
    await backend.close()
    again = opened(tmp_path)
    assert len(list(again.scan(0))) == 5
    await again.close()


async def test_leases_and_requests_are_kept_and_forgotten(tmp_path):
    backend = opened(tmp_path)
    backend.put_lease(1, 60)
    backend.put_lease(2, 30)
    backend.put_request(0, b"zero")
    backend.put_request(1, b"one")
    await backend.close()
    backend = opened(tmp_path)
    backend.put_lease(2, None)
    backend.put_request(0, None)
    await backend.close()
    again = opened(tmp_path)
    assert (list(again.leases()), list(again.requests())) == ([(1, 60)], [(1, b"one")])
    await again.close()


async def test_a_snapshot_installs_as_the_same_state(tmp_path):
    backend = opened(tmp_path / "one")
    before = everything(fill(backend, 30))
    await backend.close()
    backend = opened(tmp_path / "one")
    chunks = list(backend.snapshot())
    await backend.close()
    install(tmp_path / "two", items(chunks, Unframer()))
    copy = opened(tmp_path / "two")
    assert everything(Mvcc(copy, revision=copy.meta.revision)) == before
    await copy.close()
    with pytest.raises(FileExistsError):
        install(tmp_path / "two", items(chunks, Unframer()))
    with pytest.raises(SnapshotDamaged):
        install(tmp_path / "three", items(chunks[:-1], Unframer()))
    assert not list((tmp_path / "three").glob("state.mdb"))


def test_a_record_that_was_altered_is_refused():
    raw = encode_record(KeyValue(b"key", b"value", 2, 5, 3, 9))
    assert decode_record(5, raw) == KeyValue(b"key", b"value", 2, 5, 3, 9)
    for position in range(len(raw)):
        spoiled = bytearray(raw)
        spoiled[position] ^= 0x10
        with pytest.raises(ValueError, match="checksum"):
            decode_record(5, bytes(spoiled))


async def test_a_file_that_is_no_state_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "state.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(BackendDamaged, match="restore its data directory"):
        opened(tmp_path)


async def test_settling_waits_until_what_is_applied_is_on_disk_and_what_is_forgotten_is_gone(tmp_path):
    backend = opened(tmp_path)
    mvcc = fill(backend, 30)
    backend.schedule_flush(30)
    await backend.settle()
    assert backend.persisted == 30
    mvcc.compact(25)
    backend.meta = dataclasses.replace(backend.meta, applied=31, compact_revision=25)
    backend.schedule_flush(31)
    assert list(backend.dropped())
    await backend.settle(drops=True)
    assert not list(backend.dropped())
    assert backend.in_use_bytes > 0
    await backend.close()


async def test_defragmentation_shrinks_the_file_and_loses_nothing_written_meanwhile(tmp_path):
    backend = opened(tmp_path)
    mvcc = Mvcc(backend)
    for number in range(60):
        mvcc.txn(Txn(success=(Put(b"k", b"x" * 20_000),)))
        backend.meta = dataclasses.replace(backend.meta, applied=number + 2, revision=mvcc.revision)
        backend.schedule_flush(number + 2)
        if number % 20 == 19:
            await backend.settle()
    mvcc.compact(mvcc.revision)
    backend.meta = dataclasses.replace(backend.meta, applied=62, compact_revision=mvcc.revision)
    backend.schedule_flush(62)
    await backend.settle(drops=True)
    before = backend.size_bytes
    reading = backend.read()
    defragmenting = asyncio.create_task(backend.defragment())
    await asyncio.sleep(0.05)
    assert not defragmenting.done(), "it waits for whoever reads the old file"
    mvcc.txn(Txn(success=(Put(b"meanwhile", b"v"),)))
    backend.meta = dataclasses.replace(backend.meta, applied=63, revision=mvcc.revision)
    reading.close()
    await defragmenting
    assert backend.size_bytes < before / 4
    backend.schedule_flush(63)
    await backend.settle()
    expected = everything(mvcc)
    await backend.close()
    again = opened(tmp_path)
    assert (
        everything(Mvcc(again, revision=again.meta.revision, compact_revision=again.meta.compact_revision)) == expected
    )
    await again.close()


async def test_a_snapshot_shows_one_moment_whatever_is_written_while_it_is_read(tmp_path):
    backend = opened(tmp_path / "a")
    mvcc = fill(backend, 10)
    backend.schedule_flush(10)
    await backend.settle()
    before = everything(mvcc)
    with backend.read() as reading:
        chunks = reading.chunks()
        mvcc.txn(Txn(success=(Put(b"later", b"v"),)))
        backend.meta = dataclasses.replace(backend.meta, applied=11, revision=mvcc.revision)
        backend.schedule_flush(11)
        await backend.settle()
        unframer = Unframer()
        install(tmp_path / "b", items(chunks, unframer))
        assert unframer.end == (10, 1)
    other = opened(tmp_path / "b")
    assert everything(Mvcc(other, revision=other.meta.revision)) == before
    await other.close()
    await backend.close()
