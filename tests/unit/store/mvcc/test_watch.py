"""Watchers: in step, behind, filtered, shared."""

from __future__ import annotations

import pytest

from store.mvcc import watch
from store.mvcc.kv import DeleteRange, Mvcc, Put, Txn
from store.mvcc.revision import Compacted
from store.mvcc.watch import Interest, Watcher, Watchers

ALL = Interest(b"a", b"z", prev_kv=True)


class World:
    def __init__(self) -> None:
        self.mvcc = Mvcc()
        self.watchers = Watchers(self.mvcc)
        self.wakes = 0

    def do(self, *ops) -> None:
        result, changes = self.mvcc.txn(Txn(success=ops))
        self.watchers.publish(result.revision, result.revision, changes)

    def watch(self, interest: Interest = ALL, start: int = 0) -> Watcher:
        return self.watchers.add(interest, start, self.wake)

    def wake(self) -> None:
        self.wakes += 1

    def read(self, watcher: Watcher) -> list[tuple[bytes, int]]:
        heard = []
        while (batch := self.watchers.next(watcher)) is not None:
            heard += [(event.kv.key, event.kv.mod_revision) for event in batch.events]
        return heard


def test_a_watcher_hears_only_what_comes_after_it_and_is_woken():
    world = World()
    world.do(Put(b"a"))
    watcher = world.watch()
    world.do(Put(b"b"))
    assert (world.read(watcher), world.wakes) == ([(b"b", 3)], 1)


def test_events_carry_the_pair_before_when_asked():
    world = World()
    world.do(Put(b"a", b"old"))
    watcher = world.watch()
    world.do(Put(b"a", b"new"))
    world.do(DeleteRange(b"a"))
    events = [e for _ in range(2) for e in world.watchers.next(watcher).events]
    assert [event.prev_kv.value for event in events] == [b"old", b"new"]
    assert events[1].is_delete


def test_filters_leave_out_puts_or_deletes():
    world = World()
    deletes = world.watch(Interest(b"a", b"z", no_put=True))
    puts = world.watch(Interest(b"a", b"z", no_delete=True))
    world.do(Put(b"a"))
    world.do(DeleteRange(b"a"))
    assert (world.read(deletes), world.read(puts)) == ([(b"a", 3)], [(b"a", 2)])


def test_equal_interests_share_one_batch():
    world = World()
    one, two = world.watch(), world.watch()
    world.do(Put(b"a"))
    assert world.watchers.next(one) is world.watchers.next(two)


def test_a_watch_from_the_future_hears_nothing_until_then():
    world = World()
    watcher = world.watch(start=4)
    assert world.watchers.progress(watcher) is None
    for key in (b"a", b"b", b"c"):
        world.do(Put(key))
    assert world.read(watcher) == [(b"c", 4)]


def test_catching_up_gives_whole_revisions_and_ends_in_step(monkeypatch):
    monkeypatch.setattr(watch, "CHUNK_EVENTS", 2)
    world = World()
    for _ in range(4):
        world.do(Put(b"a"), Put(b"b"), Put(b"c"))
    watcher = world.watch(start=2)
    sizes = []
    while (batch := world.watchers.next(watcher)) is not None:
        sizes.append((batch.first, batch.last, len(batch.events)))
    assert sizes == [(2, 2, 3), (3, 3, 3), (4, 4, 3), (5, 5, 3)]
    assert world.watchers.progress(watcher) == 5


def test_a_reader_too_slow_reads_back_what_was_dropped(monkeypatch):
    monkeypatch.setattr(watch, "BACKLOG_EVENTS_MAX", 3)
    world = World()
    watcher = world.watch()
    for number in range(10):
        world.do(Put(b"a", b"%d" % number))
    assert watcher.is_behind
    assert world.watchers.progress(watcher) is None
    assert world.read(watcher) == [(b"a", revision) for revision in range(2, 12)]
    assert not watcher.is_behind


def test_a_slow_reader_of_rare_events_is_not_thrown_back_into_compacted_history(monkeypatch):
    monkeypatch.setattr(watch, "BACKLOG_EVENTS_MAX", 1)
    world = World()
    watcher = world.watch(Interest(b"rare"))
    for _ in range(20):
        world.do(Put(b"common"))
    world.mvcc.compact(20)
    world.do(Put(b"rare"))
    world.do(Put(b"rare"))
    assert watcher.is_behind
    assert world.read(watcher) == [(b"rare", 22), (b"rare", 23)]


def test_a_watch_of_forgotten_history_is_told_what_is_left():
    world = World()
    for _ in range(5):
        world.do(Put(b"a"))
    world.mvcc.compact(4)
    watcher = world.watch(start=3)
    with pytest.raises(Compacted) as caught:
        world.read(watcher)
    assert caught.value.revision == 4


def test_progress_is_claimed_only_by_who_has_read_everything():
    world = World()
    watcher = world.watch()
    world.do(Put(b"a"))
    assert world.watchers.progress(watcher) is None
    world.read(watcher)
    assert world.watchers.progress(watcher) == 2


def test_a_removed_watcher_hears_nothing():
    world = World()
    watcher = world.watch()
    world.watchers.remove(watcher)
    world.watchers.remove(watcher)
    world.do(Put(b"a"))
    assert (world.read(watcher), len(world.watchers)) == ([], 0)


def test_who_asks_for_no_key_of_those_that_changed_is_passed_over_and_nobody_else():
    keys = [b"a", b"b", b"c", b"d"]
    ends = [b"", b"\x00", *keys, b"e"]
    for interest in (Interest(key, end) for key in keys for end in ends):
        for low, high in ((low, high) for low in keys for high in keys if low <= high):
            asked = [
                key
                for key in keys
                if low <= key <= high
                and (key == interest.key if not interest.range_end else key >= interest.key)
                and (interest.range_end in (b"", b"\x00") or key < interest.range_end)
            ]
            if interest.range_end in (b"", b"\x00") or interest.key < interest.range_end:
                assert interest.misses(low, high) == (not asked), (interest, low, high)
            else:
                assert not asked


def test_a_publication_of_several_keys_reaches_those_who_ask_for_any_of_them():
    world = World()
    watchers = [world.watch(Interest(*asked)) for asked in ((b"a",), (b"b", b"d"), (b"c", b"\x00"), (b"x",))]
    world.do(Put(b"a"), Put(b"c"))
    assert [[key for key, _ in world.read(watcher)] for watcher in watchers] == [[b"a"], [b"c"], [b"c"], []]
