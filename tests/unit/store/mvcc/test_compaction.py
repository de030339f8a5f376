"""What compaction frees, and that an index loaded at once is the one made step by step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store.mvcc.index import FROM_KEY, KeyIndex
from store.mvcc.kv import DeleteRange, MemoryRecords, Mvcc, Put, Txn


def test_compacting_at_a_delete_of_many_keys_frees_the_values_of_all_and_keeps_their_tombstones():
    mvcc = Mvcc()
    for key in (b"a", b"b", b"c"):
        mvcc.txn(Txn(success=(Put(key, b"v"),)))
    mvcc.txn(Txn(success=(DeleteRange(b"a", FROM_KEY),)))
    mvcc.compact(5)
    assert [(main, kv.version) for main, _, kv in mvcc.records.scan(0)] == [(5, 0)] * 3
    mvcc.txn(Txn(success=(Put(b"a", b"again"),)))
    mvcc.compact(6)
    assert [(main, kv.key) for main, _, kv in mvcc.records.scan(0)] == [(6, b"a")]


def test_a_key_that_came_and_went_often_is_freed_in_order():
    mvcc = Mvcc()
    for _ in range(4):
        mvcc.txn(Txn(success=(Put(b"k", b"v"),)))
        mvcc.txn(Txn(success=(DeleteRange(b"k"),)))
    mvcc.compact(mvcc.revision)
    assert [(main, kv.version) for main, _, kv in mvcc.records.scan(0)] == [(9, 0)]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([b"a", b"b", b"c"])),
        st.tuples(st.just("delete"), st.sampled_from([b"a", b"b", b"c", b""])),
        st.tuples(st.just("replace"), st.sampled_from([b"a", b"b"])),
        st.tuples(st.just("compact"), st.integers(1, 40)),
    ),
    max_size=40,
)


@given(operations)
def test_an_index_that_is_loaded_goes_on_as_the_one_it_was_before(steps):
    records = MemoryRecords()
    mvcc = Mvcc(records)

    def step(on: Mvcc, kind: str, what) -> None:
        if kind == "put":
            on.txn(Txn(success=(Put(what, b"v"),)))
        elif kind == "replace":
            on.txn(Txn(success=(DeleteRange(what, FROM_KEY), Put(what, b"w"))))
        elif kind == "delete":
            on.txn(Txn(success=(DeleteRange(what or b"a", b"" if what else FROM_KEY),)))
        elif on.compact_revision < what <= on.revision:
            on.compact(what)

    for kind, what in steps:
        step(mvcc, kind, what)
    copied = MemoryRecords()
    for main, sub, kv in records.scan(0):
        copied.put(main, sub, kv)
    again = Mvcc(copied, revision=mvcc.revision, compact_revision=mvcc.compact_revision)
    assert histories(again._index) == histories(mvcc._index)
    for kind, what in steps:
        step(mvcc, kind, what)
        step(again, kind, what)
    assert list(copied.scan(0)) == list(records.scan(0))
    assert histories(again._index) == histories(mvcc._index)


def histories(index: KeyIndex) -> dict:
    return dict(index._histories)
