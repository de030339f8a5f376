"""What is refused before it is proposed."""

from __future__ import annotations

import pytest

from store.mvcc.check import InvalidRequest, check_range, check_txn
from store.mvcc.kv import DeleteRange, Put, Range, Txn

DUPLICATE = "duplicate key given in txn request"


@pytest.mark.parametrize(
    ("txn", "why"),
    [
        (Txn(success=(Put(b""),)), "key is not provided"),
        (Txn(success=(Put(b"a"), Put(b"a"))), DUPLICATE),
        (Txn(failure=(Put(b"a"), DeleteRange(b"a", b"b"))), DUPLICATE),
        (Txn(success=(DeleteRange(b"a", b"b"), Put(b"aa"))), DUPLICATE),
        (Txn(success=(Put(b"a"), Txn(success=(Put(b"a"),)))), DUPLICATE),
        (Txn(success=(Txn(failure=(DeleteRange(b"a", b"c"),)), Put(b"b"))), DUPLICATE),
        (Txn(success=(Txn(success=(Put(b"a"),)), Txn(success=(Put(b"a"),)))), DUPLICATE),
        (Txn(success=(Txn(success=(DeleteRange(b"a"),)), Txn(success=(Put(b"a"),)))), DUPLICATE),
        (Txn(success=(Put(b"a", b"v", ignore_value=True),)), "value is provided"),
        (Txn(success=(Put(b"a", lease=1, ignore_lease=True),)), "lease is provided"),
        (Txn(success=tuple(Put(b"%d" % n) for n in range(129))), "too many operations in txn request"),
        (Txn(success=(Range(b"a", sort_order=9),)), "invalid sort option"),
    ],
)
def test_what_makes_no_sense_is_refused_in_etcds_words(txn, why):
    with pytest.raises(InvalidRequest, match=why):
        check_txn(txn)


@pytest.mark.parametrize(
    "txn",
    [
        Txn(success=(Put(b"a"),), failure=(Put(b"a"),)),
        Txn(success=(Txn(success=(Put(b"a"),), failure=(Put(b"a"),)),)),
        Txn(success=(DeleteRange(b"a", b"c"), DeleteRange(b"b", b"d"))),
        Txn(success=(Put(b"b"), DeleteRange(b"c", b"d"), Range(b"b"))),
        Txn(success=(DeleteRange(b"a", b"\x00"), Put(b"b"))),  # as in etcd
    ],
)
def test_what_can_meet_only_on_different_paths_is_taken(txn):
    check_txn(txn)


def test_a_range_needs_a_key():
    with pytest.raises(InvalidRequest):
        check_range(Range(b""))
