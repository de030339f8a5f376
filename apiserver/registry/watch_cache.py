"""A kind's objects, as the store has them a moment ago, and its latest changes.

One store watch feeds it. Lists are answered from it once it has reached the store's present revision (that makes
them linearizable), watches begin in its ring of recent changes and go on through `fanout`. It never goes backwards.
When the store has compacted what comes next, it lists anew and every watcher must do the same (410 Expired).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
from sortedcontainers import SortedDict

from api.errors import ApiError, Expired, ServiceUnavailable, Timeout
from api.resource import Resource
from apiserver.registry.codec import Codec, Stored, storage_prefix
from apiserver.registry.failures import Redefined, too_large, too_old
from apiserver.registry.fanout import Change, Delivery, Fanout, Watcher
from apiserver.registry.revision_reader import RevisionReader
from apiserver.registry.selection import Selection
from component.clock import Clock
from store.client import Compacted, Refused, Store, Unavailable, Watch, prefix_end

log = logging.getLogger(__name__)

RING_CHANGES_MAX = 10_000
RING_BYTES_MAX = 16 * 1024 * 1024
CATCH_UP_TIMEOUT_S = 3.0
"""How long a list or watch waits for the cache to reach a revision before giving up (upstream: 3 s)."""
BOOKMARK_INTERVAL_S = 30.0
"""Watchers that want bookmarks hear of the revision this often (the API promises about once a minute)."""
_HISTORY_TIMEOUT_S = 10.0
_REST_SHARE = 2
_REST_MAX_S = 0.1
_WORTH_RESTING_S = 0.001
_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class WatchCache:
    """The cache of one kind. `run` must be running; `is_ready` says whether it has listed yet."""

    def __init__(self, codec: Codec, store: Store, clock: Clock, revisions: RevisionReader) -> None:
        self._codec = codec
        self._store = store
        self._clock = clock
        self._revisions = revisions
        self._prefix = storage_prefix(codec.resource).encode()
        self._objects: SortedDict[str, Stored] = SortedDict()
        self._ring: deque[Change] = deque()
        self._ring_bytes = 0
        self._oldest = 0
        """Every change after this revision is in the ring."""
        self._fanout = Fanout()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._rest_until = 0.0
        self._remembering = asyncio.Lock()
        self._store_watch: Watch | None = None
        self.revision = 0
        """Every change up to and including this revision is in the cache."""
        self.changed_at = 0
        """The revision of the latest change of this kind: while it stays, so do the objects."""
        self.received_count = 0
        """How many changes came from the store."""
        self.filled_count = 0
        """How often it was filled from a list."""
        self.failure: ApiError | None = None
        """Why the objects cannot be had in this version at present."""
        self._ready = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def resource(self) -> Resource[Any]:
        """The kind it holds."""
        return self._codec.resource

    @property
    def is_ready(self) -> bool:
        """Whether the cache has been filled."""
        return self._ready.is_set()

    @property
    def watcher_count(self) -> int:
        """How many watches run on it."""
        return self._fanout.watcher_count

    @property
    def capacity(self) -> int:
        """How many changes it may remember."""
        return RING_CHANGES_MAX

    @property
    def told_count(self) -> int:
        """How many events watchers were given."""
        return self._fanout.told_count

    @property
    def object_count(self) -> int:
        """How many objects it holds."""
        return len(self._objects)

    def count_interested(self, namespace: str, name: str) -> int:
        """Return how many watches would be told of a change of one object, leaving aside what it says."""
        return self._fanout.count_interested(namespace, name)

    async def wait_ready(self) -> None:
        """Return once the cache has been filled; raises what keeps it from that, or from following."""
        if self.failure is not None:
            raise self.failure
        await self._ready.wait()
        if isinstance(self.failure, Redefined):
            raise self.failure

    async def wait_settled(self) -> None:
        """Return once the cache has been filled, or it is known why it cannot be (`failure`)."""
        await self._settled.wait()

    # Reading

    def get(self, key: str) -> Stored | None:
        """Return the object at `namespace/name`, which may be behind the store, or None."""
        found: Stored | None = self._objects.get(key)
        return found

    def select(self, selection: Selection) -> list[Stored]:
        """Return the objects that match, in key order."""
        name = selection.exact.get("metadata.name")
        objects: Sequence[Stored]
        if name is not None and (selection.namespace or not self._codec.resource.namespaced):
            found = self.get(f"{selection.namespace}/{name}" if selection.namespace else name)
            objects = [found] if found else []
        elif selection.namespace:
            low, high = selection.namespace + "/", selection.namespace + "0"  # "0" follows "/" in ASCII
            objects = [self._objects[key] for key in self._objects.irange(low, high, inclusive=(True, False))]
        else:
            objects = self._objects.values()
        if not selection.is_filtering:
            return list(objects)
        return [stored for stored in objects if selection.matches(stored)]

    async def catch_up(self) -> int:
        """Return once the cache holds everything written before this call; returns its revision.

        Over a store whose progress can't be trusted, it returns at once: a list then reads the store itself.
        """
        await self.wait_ready()
        if not await self.trusts_progress():
            return self.revision
        wanted = await self._revisions.read()
        await self.wait_until(wanted)
        return self.revision

    async def trusts_progress(self) -> bool:
        """Whether the cache can tell that it has reached the store's present revision."""
        return await self._revisions.trusts_progress()

    async def wait_until(self, revision: int) -> None:
        """Return once the cache has reached `revision`.

        Raises:
            TooLargeVersion: it hasn't after 3 s; upstream's answer to a resourceVersion from the future, too.
            Redefined: the cache has been given up.
        """
        await self.wait_ready()
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                watch = self._store_watch
                if watch is not None and await self.trusts_progress():
                    # A watch that is breaking can't be asked; the one after it starts beyond `revision`.
                    with contextlib.suppress(Unavailable):
                        await watch.request_progress()
                await waiter
        except TimeoutError:
            raise too_large(revision, self.revision) from None
        finally:
            self._waiters = [entry for entry in self._waiters if entry[1] is not waiter]

    async def watch(
        self,
        selection: Selection,
        *,
        revision: int | None,
        initial: bool | None = None,
        with_bookmarks: bool = False,
    ) -> Watcher:
        """Start a watch.

        Args:
            selection: what is asked for.
            revision: only changes after it; None for the store's present revision, 0 for the cache's, whatever it is.
            initial: whether all that is there comes first, as ADDED; None does it when the revision is None or 0.
            with_bookmarks: whether bookmarks are wanted; one says then where what was there ends, if `initial` is True.

        A revision yet to come is waited for: by the watch itself, which begins in silence, or before it begins where
        what is there then comes first.

        Raises:
            Expired: changes after `revision` are no longer remembered.
            TooLargeVersion: `revision` has not come in time for what is there to be told.
        """
        if revision is None:
            await self.catch_up()
        elif initial:
            await self.wait_until(revision)
        else:
            await self.wait_ready()
            if revision > self.revision:
                return self._fanout.watch_ahead(selection, revision=revision, with_bookmarks=with_bookmarks)
        backlog: list[Delivery] = []
        start = revision or self.revision
        if initial or (initial is None and not revision):
            backlog = [Delivery("ADDED", stored, stored.revision) for stored in self.select(selection)]
            start = self.revision
            if initial and with_bookmarks:
                backlog.append(Delivery("BOOKMARK", None, self.revision, ends_initial=True))
        elif revision:
            if revision < self._oldest:
                await self._remember(revision)
            told = (change.told_to(selection) for change in self._since(revision))
            backlog = [delivery for delivery in told if delivery is not None]
        return self._fanout.watch(selection, backlog, revision=start, with_bookmarks=with_bookmarks)

    async def _remember(self, revision: int) -> None:
        """Put the changes after `revision` back in front of the ring, from the store's history.

        Many watchers come back at once after a restart, from about the same place: the first reads for all.

        Raises:
            Expired: they are compacted, or too many to be held.
        """
        async with self._remembering:
            oldest = self._oldest
            if revision >= oldest:
                return
            try:
                async with asyncio.timeout(_HISTORY_TIMEOUT_S):
                    changes = await self._read_history(revision, oldest)
            except (Compacted, TimeoutError):
                raise too_old(revision, oldest) from None
            except (Unavailable, Refused) as error:
                raise ServiceUnavailable(f"the store does not tell its history: {error}", retry_after_s=1) from None
            if oldest != self._oldest:  # The ring has moved on, or begun anew, while the store was read.
                raise too_old(revision, self._oldest)
            self._ring.extendleft(reversed(changes))
            self._ring_bytes += sum(change.size_bytes for change in changes)
            self._oldest = revision

    async def _read_history(self, after: int, until: int) -> list[Change]:
        """Return the changes after one revision up to another; raises TimeoutError where that is not to be had."""
        if not await self.trusts_progress():
            raise TimeoutError
        found: list[Change] = []
        size_bytes = 0
        async with self._store.watch(self._prefix, after + 1, prev_kv=True) as watch:
            await watch.request_progress()
            async for batch in watch:
                events = [event for event in batch.events if event.kv.mod_revision <= until]
                values = await self._converted([None if event.is_delete else event.kv.value for event in events])
                before = await self._converted([event.prev_kv.value if event.prev_kv else None for event in events])
                for event, value, was_value in zip(events, values, before, strict=True):
                    kv, prev = event.kv, event.prev_kv
                    if prev is None and (event.is_delete or kv.create_revision != kv.mod_revision):
                        # What was there before is compacted: whether it was asked for can't be told any more.
                        raise Compacted(kv.mod_revision)
                    was = self._stored(kv.key, was_value, prev.mod_revision) if prev and was_value else None
                    now = self._stored(kv.key, value, kv.mod_revision) if value is not None else None
                    if was is not None or now is not None:
                        found.append(Change(kv.key[len(self._prefix) :].decode(), kv.mod_revision, was, now))
                        size_bytes += found[-1].size_bytes
                if batch.revision >= until:
                    return found
                if len(found) > RING_CHANGES_MAX or size_bytes > RING_BYTES_MAX:
                    raise TimeoutError
                if not batch.events:
                    await watch.request_progress()
        raise Unavailable("the store ended the watch")

    def end(self, error: ApiError) -> None:
        """End every watch."""
        self._fanout.fail_all(error)

    def retire(self, error: Redefined) -> None:
        """End every watch, and fail whoever waits for what this cache will not learn any more: it is given up."""
        self.failure = error
        self._settled.set()
        self._ready.set()
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self.end(error)

    def _since(self, revision: int) -> list[Change]:
        found: list[Change] = []
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    # Following the store

    async def run(self) -> None:
        """Follow the store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_bookmarks())
            await self._follow()

    async def _follow(self) -> None:
        failures = 0
        is_stale = True
        while True:
            try:
                if is_stale:
                    await self._list()
                    is_stale = False
                async with self._store.watch(self._prefix, self.revision + 1, prev_kv=False) as watch:
                    self._store_watch = watch
                    async for batch in watch:
                        failures = 0
                        if batch.events:
                            values = await self._converted(
                                [None if event.is_delete else event.kv.value for event in batch.events]
                            )
                            for event, value in zip(batch.events, values, strict=True):
                                self._apply(event.kv.key, value, event.kv.mod_revision)
                        self._advance(batch.revision)
                        self._flush()
            except Compacted:
                log.warning(
                    "the store has compacted what comes next: listing anew", extra={"kind": self._codec.resource}
                )
                is_stale = True
            except ApiError as error:
                # The objects are there, but cannot be had in this version: whoever asks is told why.
                if self.failure is None:
                    log.error("the objects cannot be read", extra={"kind": self._codec.resource, "error": error})
                self.failure, is_stale = error, True
                self._settled.set()
            except (Unavailable, Refused) as error:
                log.log(logging.WARNING if failures else logging.INFO, "the store's watch broke",
                        extra={"kind": self._codec.resource, "error": error})  # fmt: skip
            finally:
                self._store_watch = None
            await self._clock.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    def _flush(self) -> None:
        """Tell the watchers, unless they were told just now: then soon.

        Telling a thousand takes a while, most of it in the kernel and the same for one event as for ten. So between
        two rounds there is twice as much rest as the last one took: events that come faster coalesce, and whatever else
        the server has to do gets its turn.
        """
        if self._flush_timer is not None:
            return
        rest_s = self._rest_until - self._clock.monotonic()
        if rest_s > 0:
            self._flush_timer = asyncio.get_running_loop().call_later(rest_s, self._flush_now)
        else:
            self._flush_now()

    def _flush_now(self) -> None:
        self._flush_timer = None
        began = self._clock.monotonic()
        self._fanout.flush()
        self._rest_after(began)
        if self._rest_until - began > _WORTH_RESTING_S:
            # Connections of HTTP/2 encrypt and send what they were given when this turn of the loop ends.
            asyncio.get_running_loop().call_soon(self._rest_after, began)

    def _rest_after(self, began: float) -> None:
        ended = self._clock.monotonic()
        self._rest_until = ended + min((ended - began) * _REST_SHARE, _REST_MAX_S)

    async def _list(self) -> None:
        result = await self._store.range(self._prefix, prefix_end(self._prefix))
        objects = {}
        values = await self._converted([kv.value for kv in result.kvs])
        for kv, value in zip(result.kvs, values, strict=True):
            assert value is not None
            stored = self._stored(kv.key, value, kv.mod_revision)
            if stored is not None:
                objects[stored.key] = stored
        assert result.revision >= self.revision, "the store went backwards"
        self._objects = SortedDict(objects)
        self.changed_at = result.revision
        self._ring.clear()
        self._ring_bytes = 0
        self._oldest = result.revision
        self._fanout.fail_all(Expired("The resourceVersion for the provided watch is too old."))
        self._advance(result.revision)
        self.filled_count += 1
        self.failure = None
        self._ready.set()
        self._settled.set()

    async def _converted(self, values: list[bytes | None]) -> list[bytes | None]:
        if not self._codec.is_asynchronous:
            return values
        converted = iter(await self._codec.from_store([value for value in values if value is not None]))
        found: list[bytes | None] = []
        for value in values:
            made = None if value is None else next(converted)
            if isinstance(made, ApiError):
                raise made
            found.append(made)
        self.failure = None
        return found

    def _apply(self, store_key: bytes, value: bytes | None, revision: int) -> None:
        key = store_key[len(self._prefix) :].decode()
        before: Stored | None = self._objects.get(key)
        after = None if value is None else self._stored(store_key, value, revision)
        if after is not None:
            self._objects[key] = after
        elif before is not None:
            del self._objects[key]
        else:
            return
        self.changed_at = revision
        self.received_count += 1
        change = Change(key, revision, before, after)
        self._ring.append(change)
        self._ring_bytes += change.size_bytes
        while len(self._ring) > RING_CHANGES_MAX or self._ring_bytes > RING_BYTES_MAX:
            dropped = self._ring.popleft()
            self._ring_bytes -= dropped.size_bytes
            self._oldest = dropped.revision
        self._fanout.publish(change)

    def _stored(self, store_key: bytes, value: bytes, revision: int) -> Stored | None:
        key = store_key[len(self._prefix) :].decode()
        try:
            return Stored(self._codec, key, self._codec.splice(value, revision), revision)
        except msgspec.MsgspecError as error:
            # Written by another program. One bad value must not hide all the others, nor stop the server.
            log.error(
                "not an object, left out", extra={"key": store_key.decode(), "revision": revision, "error": error}
            )
            return None

    def _advance(self, revision: int) -> None:
        if revision <= self.revision:
            return
        self.revision = revision
        if self._waiters:
            for wanted, waiter in self._waiters:
                if wanted <= revision and not waiter.done():
                    waiter.set_result(None)

    async def _send_bookmarks(self) -> None:
        while True:
            await self._clock.sleep(BOOKMARK_INTERVAL_S)
            if not self._fanout.watcher_count:
                continue
            with contextlib.suppress(Timeout, Unavailable, Refused):
                await self.catch_up()
            self._fanout.publish_bookmark(self.revision)
            self._flush()
