"""Reads wait for a heartbeat sent after them, and fail with their leader."""

from __future__ import annotations

from store.consensus.read_index import ReadQueue


def test_a_read_needs_a_heartbeat_sent_after_it():
    reads: ReadQueue[str] = ReadQueue()
    reads.next_heartbeat()
    reads.add("r", term=1, commit=5)
    assert reads.needs_heartbeat
    assert reads.take_ready(1, 5, lambda number: number <= 1) == ([], [])
    sent = reads.next_heartbeat()
    assert not reads.needs_heartbeat
    assert reads.take_ready(1, 5, lambda number: number <= sent) == ([("r", 5)], [])


def test_a_read_waits_until_its_index_is_applied():
    reads: ReadQueue[str] = ReadQueue()
    reads.add("r", term=1, commit=5)
    assert reads.take_ready(1, 4, lambda _: True) == ([], [])
    assert reads.take_ready(1, 6, lambda _: True) == ([("r", 5)], [])


def test_reads_fail_when_the_leader_they_asked_is_deposed():
    reads: ReadQueue[str] = ReadQueue()
    reads.add("old", term=1, commit=5)
    reads.add("new", term=2, commit=6)
    assert reads.take_ready(2, 9, lambda _: True) == ([("new", 6)], ["old"])
    reads.add("left", term=2, commit=6)
    assert reads.take_ready(-1, 9, lambda _: True) == ([], ["left"])
