"""Leases: granted once, followed through changes, ended by the leader's clock and not before."""

from __future__ import annotations

import pytest

from store.lease import Expiry, LeaseExists, Leases, LeaseTooLong
from store.mvcc.kv import DeleteRange, Mvcc, Put, Txn


def test_a_lease_is_granted_once_and_short_ones_are_lengthened():
    leases = Leases()
    assert (leases.grant(1, 60), leases.grant(2, 0)) == (60, 2)
    with pytest.raises(LeaseExists):
        leases.grant(1, 60)
    with pytest.raises(LeaseTooLong):
        leases.grant(3, 9_000_000_001)


def test_keys_follow_puts_deletes_and_changes_of_lease():
    leases = Leases([(1, 60), (2, 60)])
    mvcc = Mvcc(has_lease=leases.__contains__)
    for op in (Put(b"b", lease=1), Put(b"a", lease=1), Put(b"c", lease=1), Put(b"a", lease=2), DeleteRange(b"c")):
        leases.follow(mvcc.txn(Txn(success=(op,)))[1])
    assert (leases.keys(1), leases.keys(2)) == ([b"b"], [b"a"])


def test_a_lease_runs_out_at_its_deadline_and_is_returned_once():
    expiry = Expiry()
    expiry.renew(1, 10, now=0)
    assert expiry.take_expired(9.9) == []
    assert expiry.take_expired(10) == [1]
    assert expiry.take_expired(11) == []


def test_a_keep_alive_moves_the_deadline():
    expiry = Expiry()
    expiry.renew(1, 10, now=0)
    expiry.renew(1, 10, now=8)
    assert expiry.take_expired(12) == []
    assert expiry.remaining_s(1, 12) == 6
    assert expiry.take_expired(18) == [1]


def test_a_lease_whose_end_is_being_agreed_on_is_not_renewed():
    expiry = Expiry()
    expiry.renew(1, 10, now=0)
    expiry.take_expired(10)
    assert expiry.renew(1, 10, now=10) is False
    expiry.retry([1], now=10)
    assert expiry.take_expired(11) == [1]
