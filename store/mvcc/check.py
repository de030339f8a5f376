"""What can be refused about a request before anything is done: etcd's rules and etcd's words. Pure.

Requests are checked here before they are proposed, so that no request can be agreed on that applying would choke on.
"""

from __future__ import annotations

from collections.abc import Iterable

from store.mvcc.kv import Compare, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Txn

OPS_MAX = 128
"""Most compares, and most operations in one branch, of a transaction (etcd's --max-txn-ops)."""
REQUEST_BYTES_MAX = 1_572_864
"""Largest write taken, 1.5 MiB (etcd's --max-request-bytes)."""


class InvalidRequest(Exception):
    """The request makes no sense; the message says why, in etcd's words where it has some."""


def check_range(query: Range) -> None:
    """Raise InvalidRequest unless `query` is well formed."""
    if not query.key:
        raise InvalidRequest("key is not provided")
    if query.sort_order not in tuple(SortOrder) or query.sort_target not in tuple(SortTarget):
        raise InvalidRequest("invalid sort option")


def check_put(put: Put) -> None:
    """Raise InvalidRequest unless `put` is well formed."""
    if not put.key:
        raise InvalidRequest("key is not provided")
    if put.ignore_value and put.value:
        raise InvalidRequest("value is provided")
    if put.ignore_lease and put.lease:
        raise InvalidRequest("lease is provided")


def check_delete(delete: DeleteRange) -> None:
    """Raise InvalidRequest unless `delete` is well formed."""
    if not delete.key:
        raise InvalidRequest("key is not provided")


def check_txn(txn: Txn) -> None:
    """Raise InvalidRequest unless `txn` is well formed and changes each key at most once on any path through it."""
    _check_shape(txn)
    _check_branch(txn.success)
    _check_branch(txn.failure)


def _check_shape(txn: Txn) -> None:
    if max(len(txn.compares), len(txn.success), len(txn.failure)) > OPS_MAX:
        raise InvalidRequest("too many operations in txn request")
    for compare in txn.compares:
        _check_compare(compare)
    for op in (*txn.success, *txn.failure):
        match op:
            case Range():
                check_range(op)
            case Put():
                check_put(op)
            case DeleteRange():
                check_delete(op)
            case Txn():
                _check_shape(op)


def _check_compare(compare: Compare) -> None:
    if not compare.key:
        raise InvalidRequest("key is not provided")


def _check_branch(ops: Iterable[Op]) -> tuple[set[bytes], list[DeleteRange]]:
    """Return the keys put and the ranges deleted by a branch, or raise when two of them could meet."""
    puts: set[bytes] = set()
    deletes: list[DeleteRange] = [op for op in ops if isinstance(op, DeleteRange)]
    for op in ops:
        if not isinstance(op, Txn):
            continue
        nested_puts: set[bytes] = set()
        nested_deletes: list[DeleteRange] = []
        # Only one of its branches runs, so the two may touch the same keys; each against ours may not.
        for branch in (op.success, op.failure):
            branch_puts, branch_deletes = _check_branch(branch)
            nested_puts |= branch_puts
            nested_deletes += branch_deletes
        _check_apart(puts, nested_puts, deletes)
        _check_apart(set(), puts, nested_deletes)
        puts |= nested_puts
        deletes = deletes + nested_deletes
    for op in ops:
        if isinstance(op, Put):
            _check_apart(puts, {op.key}, deletes)
            puts.add(op.key)
    return puts, deletes


def _check_apart(puts: set[bytes], more: set[bytes], deletes: list[DeleteRange]) -> None:
    if not puts.isdisjoint(more) or any(_covers(delete, key) for delete in deletes for key in more):
        raise InvalidRequest("duplicate key given in txn request")


def _covers(delete: DeleteRange, key: bytes) -> bool:
    if not delete.range_end:
        return key == delete.key
    # As in etcd, a delete of everything from a key on is not looked at: it may go before a put of one of these keys.
    return delete.key <= key < delete.range_end
