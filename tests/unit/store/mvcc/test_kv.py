"""MVCC against a dict that remembers everything, and etcd's finer points one by one."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from store.mvcc.index import FROM_KEY
from store.mvcc.kv import (
    Compare,
    CompareResult,
    CompareTarget,
    DeleteRange,
    DeleteResult,
    KeyNotFound,
    LeaseNotFound,
    Mvcc,
    Put,
    PutResult,
    Range,
    RangeResult,
    SortOrder,
    SortTarget,
    Txn,
    prefix_end,
)
from store.mvcc.revision import Compacted, FutureRevision, KeyValue
from store.mvcc.watch import Interest, Watchers

KEYS = st.sampled_from([b"a", b"a/1", b"a/2", b"b", b"b/1", b"c", b"\xff"])
VALUES = st.binary(max_size=3)
EVERYTHING = Range(b"\x00", FROM_KEY)


class Remembering(RuleBasedStateMachine):
    """Every revision of a plain dict is kept; MVCC must agree with all that is not compacted."""

    def __init__(self) -> None:
        super().__init__()
        self.mvcc = Mvcc()
        self.watchers = Watchers(self.mvcc)
        self.past: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.events: list[tuple[int, bytes, bytes | None, bytes | None]] = []
        self.compacted = 0
        self.heard: list[tuple[list, object]] = []

    @property
    def now(self) -> dict[bytes, KeyValue]:
        return self.past[self.mvcc.revision]

    def _do(self, txn: Txn):
        before = self.mvcc.revision
        result, changes = self.mvcc.txn(txn)
        if changes:
            self.watchers.publish(result.revision, result.revision, changes)
        assert self.mvcc.revision == before + bool(changes)
        return result

    def _expect(self, puts: dict[bytes, bytes], deletes: set[bytes]) -> None:
        before = self.past[max(self.past)]
        revision = max(self.past) + 1
        after = dict(before)
        for key in sorted(deletes & before.keys()):
            old = after.pop(key)
            self.events.append((revision, key, None, old.value))
        for key, value in puts.items():
            old = after.get(key)
            created, version = (old.create_revision, old.version + 1) if old else (revision, 1)
            after[key] = KeyValue(key, value, created, revision, version)
            self.events.append((revision, key, value, old.value if old else None))
        if puts or deletes & before.keys():
            self.past[revision] = after

    @rule(puts=st.dictionaries(KEYS, VALUES, max_size=3))
    def put(self, puts):
        result = self._do(Txn(success=tuple(Put(key, value, prev_kv=True) for key, value in puts.items())))
        assert [each.prev_kv for each in result.results] == [self.past[max(self.past)].get(key) for key in puts]
        self._expect(puts, set())

    @rule(key=KEYS, end=st.one_of(st.just(b""), st.just(FROM_KEY), KEYS))
    def delete(self, key, end):
        doomed = {k for k in self.now if in_range(k, key, end)}
        result = self._do(Txn(success=(DeleteRange(key, end, prev_kv=True),)))
        assert result.results == (
            DeleteResult(
                len(doomed), tuple(self.past[max(self.past)][k] for k in sorted(doomed)), revision=result.revision
            ),
        )
        self._expect({}, doomed)

    @rule(key=KEYS, value=VALUES, guess=st.integers(0, 12))
    def put_if(self, key, value, guess):
        current = self.now.get(key)
        compare = Compare(key, CompareTarget.MOD, CompareResult.EQUAL, guess)
        result = self._do(Txn((compare,), (Put(key, value),), (Range(key),)))
        assert result.succeeded == ((current.mod_revision if current else 0) == guess)
        if result.succeeded:
            assert result.results == (PutResult(),)
            self._expect({key: value}, set())
        else:
            assert result.results[0].kvs == ((current,) if current else ())

    @precondition(lambda self: self.mvcc.revision > self.compacted + 1)
    @rule(data=st.data())
    def compact(self, data):
        self.compacted = data.draw(st.integers(self.compacted + 1, self.mvcc.revision))
        for reader in self.heard:
            drain(self.watchers, reader)
        self.mvcc.compact(self.compacted)

    @precondition(lambda self: len(self.heard) < 4)
    @rule(data=st.data())
    def watch(self, data):
        start = data.draw(st.integers(max(1, self.compacted), self.mvcc.revision + 2))
        watcher = self.watchers.add(Interest(b"a", b"b", prev_kv=False), start, lambda: None)
        self.heard.append(([start], watcher))

    @rule()
    def restart(self):
        for reader in self.heard:
            drain(self.watchers, reader)
            self._check_heard(reader)
        self.heard = []
        self.mvcc = Mvcc(self.mvcc.records, revision=self.mvcc.revision, compact_revision=self.compacted)
        self.watchers = Watchers(self.mvcc)

    @invariant()
    def every_readable_revision_is_as_it_was(self):
        assert self.mvcc.revision == max(self.past)
        for revision in range(max(1, self.compacted), self.mvcc.revision + 1):
            kvs = self.mvcc.range(Range(b"\x00", FROM_KEY, revision=revision)).kvs
            assert kvs == tuple(self.past[revision][key] for key in sorted(self.past[revision]))
        if self.compacted > 1:
            with pytest.raises(Compacted):
                self.mvcc.range(Range(b"a", revision=self.compacted - 1))
        with pytest.raises(FutureRevision):
            self.mvcc.range(Range(b"a", revision=self.mvcc.revision + 1))

    @invariant()
    def watchers_heard_every_event_once_and_in_order(self):
        for reader in self.heard:
            drain(self.watchers, reader)
            self._check_heard(reader)

    def _check_heard(self, reader) -> None:
        (start, *events), _ = reader
        expected = [(r, k, v) for r, k, v, _ in self.events if r >= start and in_range(k, b"a", b"b")]
        assert events == expected


def drain(watchers: Watchers, reader) -> None:
    while (batch := watchers.next(reader[1])) is not None:
        reader[0].extend(
            (event.kv.mod_revision, event.kv.key, None if event.is_delete else event.kv.value) for event in batch.events
        )


def in_range(candidate: bytes, key: bytes, end: bytes) -> bool:
    if not end:
        return candidate == key
    return key <= candidate and (end == FROM_KEY or candidate < end)


Remembering.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestMvccAgainstADictThatRemembersEverything = Remembering.TestCase


def filled() -> Mvcc:
    mvcc = Mvcc()
    for key, value in ((b"a", b"3"), (b"b", b"1"), (b"c", b"2"), (b"b", b"9")):
        mvcc.txn(Txn(success=(Put(key, value),)))
    return mvcc


def keys(result: RangeResult) -> list[bytes]:
    return [kv.key for kv in result.kvs]


def test_a_limit_cuts_and_says_that_there_is_more_while_count_is_of_all():
    result = filled().range(Range(b"a", b"z", limit=2))
    assert (keys(result), result.more, result.count) == ([b"a", b"b"], True, 3)


def test_a_limit_that_is_just_enough_leaves_no_more():
    assert filled().range(Range(b"a", b"z", limit=3)).more is False


@pytest.mark.parametrize(
    ("target", "ascending"),
    [
        (SortTarget.KEY, [b"a", b"b", b"c"]),
        (SortTarget.VERSION, [b"a", b"c", b"b"]),
        (SortTarget.CREATE, [b"a", b"b", b"c"]),
        (SortTarget.MOD, [b"a", b"c", b"b"]),
        (SortTarget.VALUE, [b"c", b"a", b"b"]),
    ],
)
def test_results_are_sorted_by_any_target(target, ascending):
    mvcc = filled()
    assert keys(mvcc.range(Range(b"a", b"z", sort_target=target, sort_order=SortOrder.ASCEND))) == ascending
    top = mvcc.range(Range(b"a", b"z", sort_target=target, sort_order=SortOrder.DESCEND, limit=1, keys_only=True))
    assert keys(top) in ([ascending[-1]], [b"b"])
    assert top.more
    assert top.kvs[0].value == b""


def test_filters_bound_the_revisions_found_and_leave_count_alone():
    result = filled().range(Range(b"a", b"z", min_mod_revision=4, max_create_revision=3))
    assert (keys(result), result.count) == ([b"b"], 3)


def test_keys_only_and_count_only():
    mvcc = filled()
    assert [kv.value for kv in mvcc.range(Range(b"a", b"z", keys_only=True)).kvs] == [b"", b"", b""]
    counted = mvcc.range(Range(b"a", b"z", count_only=True))
    assert (counted.kvs, counted.count) == ((), 3)


def test_an_empty_range_when_the_end_is_not_after_the_key():
    assert filled().range(Range(b"c", b"a")).count == 0


def test_a_transaction_that_changes_nothing_keeps_the_revision():
    mvcc = filled()
    result, changes = mvcc.txn(Txn(success=(DeleteRange(b"nothing"), Range(b"a"))))
    assert (mvcc.revision, changes, result.results[0]) == (5, [], DeleteResult(0, revision=5))


def test_operations_of_one_transaction_share_a_revision_and_see_each_other():
    mvcc = Mvcc()
    result, changes = mvcc.txn(Txn(success=(Put(b"a", b"1"), Range(b"a"), Put(b"b", b"2"))))
    assert result.results[1].kvs == (KeyValue(b"a", b"1", 2, 2, 1),)
    assert [change.kv.mod_revision for change in changes] == [2, 2]


def test_nested_transactions_compare_the_state_before_the_first_change():
    mvcc = filled()
    unchanged = Compare(b"a", CompareTarget.VALUE, CompareResult.EQUAL, b"3")
    nested = Txn((unchanged,), (Put(b"x", b"yes"),), (Put(b"x", b"no"),))
    mvcc.txn(Txn(success=(Put(b"a", b"new"), nested)))
    assert mvcc.range(Range(b"x")).kvs[0].value == b"yes"


def test_a_transaction_that_fails_halfway_changes_nothing():
    mvcc = filled()
    with pytest.raises(LeaseNotFound):
        mvcc.txn(Txn(success=(Put(b"a", b"new"), Put(b"b", b"new", lease=7))))
    with pytest.raises(KeyNotFound):
        mvcc.txn(Txn(success=(Put(b"a", b"new"), Put(b"zz", ignore_value=True))))
    with pytest.raises(FutureRevision):
        mvcc.txn(Txn(success=(Put(b"a", b"new"), Range(b"a", revision=99))))
    assert (mvcc.revision, mvcc.range(Range(b"a")).kvs[0].value) == (5, b"3")


def test_ignore_value_keeps_the_value_and_counts_a_version():
    mvcc = filled()
    mvcc.txn(Txn(success=(Put(b"a", ignore_value=True),)))
    assert mvcc.range(Range(b"a")).kvs == (KeyValue(b"a", b"3", 2, 6, 2),)


def test_comparing_the_value_of_a_missing_key_never_holds():
    mvcc = filled()
    for result in CompareResult:
        compare = Compare(b"missing", CompareTarget.VALUE, result, b"")
        assert mvcc.txn(Txn((compare,)))[0].succeeded is False


def test_a_compare_over_a_range_holds_only_if_it_does_for_every_key():
    mvcc = filled()
    once = Compare(b"a", CompareTarget.VERSION, CompareResult.EQUAL, 1, b"z")
    assert mvcc.txn(Txn((once,)))[0].succeeded is False
    absent = Compare(b"x", CompareTarget.CREATE, CompareResult.EQUAL, 0, b"z")
    assert mvcc.txn(Txn((absent,)))[0].succeeded is True


def test_a_key_made_again_after_a_delete_starts_a_new_life():
    mvcc = filled()
    mvcc.txn(Txn(success=(DeleteRange(b"a"),)))
    mvcc.txn(Txn(success=(Put(b"a", b"again"),)))
    assert mvcc.range(Range(b"a")).kvs == (KeyValue(b"a", b"again", 7, 7, 1),)


def test_compaction_twice_at_one_revision_is_refused():
    mvcc = filled()
    mvcc.compact(3)
    with pytest.raises(Compacted):
        mvcc.compact(3)
    with pytest.raises(FutureRevision):
        mvcc.compact(6)


def test_a_delete_at_the_compacted_revision_is_still_heard_of():
    mvcc = filled()
    mvcc.txn(Txn(success=(DeleteRange(b"a"),)))
    mvcc.txn(Txn(success=(Put(b"z", b""),)))
    mvcc.compact(6)
    assert [change.kv.key for change in mvcc.history(6)] == [b"a", b"z"]


@pytest.mark.parametrize(("prefix", "end"), [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff", FROM_KEY), (b"", FROM_KEY)])
def test_prefix_end(prefix, end):
    assert prefix_end(prefix) == end
