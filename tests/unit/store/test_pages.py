from __future__ import annotations

import os
import time
from pathlib import Path

from component.clock import RealClock
from store.backend import Backend
from store.mvcc.revision import KeyValue


def resident_file_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")


async def test_reading_the_whole_state_does_not_keep_it_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("store.pages.RELEASE_BYTES", 1 << 20)
    monkeypatch.setattr("store.reading.READ_BYTES_PER_S", 1 << 40)
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    for number in range(1000):
        backend.put(number + 2, 0, KeyValue(b"%d" % number, bytes(20_000), number + 2, number + 2, 1, 0))
    await backend.close()
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    before = resident_file_bytes()
    assert len(list(backend.stamps())) == 1000
    assert resident_file_bytes() < before + (5 << 20)
    with backend.read() as reading:
        assert sum(len(chunk) for chunk in reading.chunks()) > 20_000_000
        reading.hash_kv(5000)
    assert resident_file_bytes() < before + (5 << 20)
    assert backend.get(5, 0).value == bytes(20_000), "what was let go of is read again"
    await backend.close()


async def test_a_state_is_read_at_a_pace_unless_there_is_a_hurry(tmp_path, monkeypatch):
    monkeypatch.setattr("store.reading.READ_BYTES_PER_S", 4 << 20)
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    for number in range(100):
        backend.put(number + 2, 0, KeyValue(b"%d" % number, bytes(20_000), number + 2, number + 2, 1, 0))
    await backend.close()
    backend = Backend(tmp_path, RealClock(), lambda error: None)
    began = time.monotonic()
    with backend.read() as reading:
        paced = list(reading.chunks())
    paced_s, began = time.monotonic() - began, time.monotonic()
    with backend.read() as reading:
        reading.hurry()
        assert list(reading.chunks()) == paced
    assert paced_s > 0.3
    assert time.monotonic() - began < paced_s / 2
    await backend.close()
