"""Waiting one's turn: what locks and elections are both made of, with keys as etcd's client library makes them.

Whoever wants a turn puts `<name>/<lease in hex>` and waits until every key under `<name>/` that was created before its
own is gone. So turns come in order of creation, a lease that ends gives its turn up, and clients that do this
themselves (etcdctl lock, elect) and clients of these services queue together.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from proto.etcd import rpc_pb2
from store.mvcc.index import FROM_KEY
from store.mvcc.kv import Range, SortOrder, SortTarget, prefix_end
from store.mvcc.revision import Compacted, KeyValue
from store.mvcc.watch import Interest
from store.replica import Replica

LEASE_S = 60
"""Granted to callers without one, as etcd does; it is renewed only while they wait."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in a queue: the key that holds it, and what says that it still does."""

    key: bytes
    create_revision: int
    lease: int


class TurnLost(Exception):
    """The key that held the place is gone: its lease ended, or somebody deleted it."""


class NoLeaderElected(Exception):
    """Nobody has campaigned."""


class NotElected(Exception):
    """The leadership that the request names is over."""


def prefix_of(name: bytes) -> bytes:
    """Return what keys of the queue `name` begin with."""
    return name + b"/"


async def take_turn(replica: Replica, name: bytes, lease: int, value: bytes = b"") -> Turn:
    """Queue, and return when it is one's turn; a caller that gives up leaves the queue.

    Queueing twice with one lease is one place; its value becomes the newer.

    Raises:
        LeaseNotFound: the lease is gone, perhaps while waiting.
    """
    own_lease = 0
    if not lease:
        lease, _ = await replica.lease_grant(LEASE_S, 0)
        own_lease = lease
    key = prefix_of(name) + b"%x" % lease
    turn = Turn(key, await _enter(replica, key, lease, value), lease)
    try:
        while (ahead := await _next_ahead(replica, prefix_of(name), turn)) is not None:
            await _wait_gone(replica, ahead, own_lease)
        if await holds(replica, turn):
            return turn
        raise TurnLost
    except BaseException:
        with contextlib.suppress(Exception):
            await asyncio.shield(leave(replica, turn))
        raise


async def holds(replica: Replica, turn: Turn) -> bool:
    """Whether the key still holds its place."""
    found = (await replica.range(Range(turn.key))).kvs
    return bool(found) and found[0].create_revision == turn.create_revision


async def leave(replica: Replica, turn: Turn) -> None:
    """Give the place up; safe when it is lost already."""
    request = _if_held(turn)
    request.success.add().request_delete_range.key = turn.key
    await replica.txn(request)


async def change_value(replica: Replica, turn: Turn, value: bytes) -> bool:
    """Put a new value where the place is still held; whether it was."""
    request = _if_held(turn)
    put = request.success.add().request_put
    put.key, put.value, put.lease = turn.key, value, turn.lease
    return rpc_pb2.TxnResponse.FromString(await replica.txn(request)).succeeded


async def first(replica: Replica, name: bytes) -> tuple[KeyValue | None, int]:
    """Return the key whose turn it is, or None, and the revision of which that is so."""
    prefix = prefix_of(name)
    query = Range(prefix, prefix_end(prefix), limit=1, sort_order=SortOrder.ASCEND, sort_target=SortTarget.CREATE)
    result = await replica.range(query)
    return (result.kvs[0] if result.kvs else None), result.revision


async def wait_change(
    replica: Replica, key: bytes, range_end: bytes, after: int, *, deletes_only: bool = False
) -> None:
    """Return once something of the range changed after the revision `after` (at once where that is forgotten)."""
    changed = asyncio.Event()
    watchers = replica.state.watchers
    watcher = watchers.add(Interest(key, range_end, no_put=deletes_only), after + 1, changed.set)
    try:
        while True:
            try:
                if watchers.next(watcher) is not None:
                    return
            except Compacted:
                return
            await changed.wait()
            changed.clear()
    finally:
        watchers.remove(watcher)


async def _enter(replica: Replica, key: bytes, lease: int, value: bytes) -> int:
    request = rpc_pb2.TxnRequest()
    compare = request.compare.add(key=key, create_revision=0)
    compare.target, compare.result = rpc_pb2.Compare.CREATE, rpc_pb2.Compare.EQUAL
    put = request.success.add().request_put
    put.key, put.value, put.lease = key, value, lease
    request.failure.add().request_range.key = key
    answer = rpc_pb2.TxnResponse.FromString(await replica.txn(request))
    if answer.succeeded:
        return answer.header.revision
    there = answer.responses[0].response_range.kvs[0]
    if there.value != value:
        await change_value(replica, Turn(key, there.create_revision, lease), value)
    return there.create_revision


async def _next_ahead(replica: Replica, prefix: bytes, turn: Turn) -> tuple[bytes, int] | None:
    """Return the key right before ours in the queue, and the revision of which that is so."""
    if turn.create_revision <= 1:
        return None
    result = await replica.range(
        Range(
            prefix,
            prefix_end(prefix) or FROM_KEY,
            limit=1,
            keys_only=True,
            sort_order=SortOrder.DESCEND,
            sort_target=SortTarget.CREATE,
            max_create_revision=turn.create_revision - 1,
        )
    )
    return (result.kvs[0].key, result.revision) if result.kvs else None


async def _wait_gone(replica: Replica, ahead: tuple[bytes, int], own_lease: int) -> None:
    waiting = asyncio.ensure_future(wait_change(replica, ahead[0], b"", ahead[1], deletes_only=True))
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=LEASE_S / 3)
            if done:
                return waiting.result()
            if own_lease:
                await replica.lease_keep_alive(own_lease)
    finally:
        waiting.cancel()


def _if_held(turn: Turn) -> rpc_pb2.TxnRequest:
    request = rpc_pb2.TxnRequest()
    compare = request.compare.add(key=turn.key, create_revision=turn.create_revision)
    compare.target, compare.result = rpc_pb2.Compare.CREATE, rpc_pb2.Compare.EQUAL
    return request
