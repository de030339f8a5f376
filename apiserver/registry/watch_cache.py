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

from api.errors import Expired, Timeout
from api.resource import Resource
from apiserver.registry.codec import Codec, Stored, storage_prefix
from apiserver.registry.failures import too_old
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
        self._store_watch: Watch | None = None
        self.revision = 0
        """Every change up to and including this revision is in the cache."""
        self.changed_at = 0
        """The revision of the latest change of this kind: while it stays, so do the objects."""
        self._ready = asyncio.Event()

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

    async def wait_ready(self) -> None:
        """Return once the cache has been filled."""
        await self._ready.wait()

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
        """Return once the cache holds everything written before this call; returns its revision."""
        await self.wait_ready()
        wanted = await self._revisions.read()
        await self.wait_until(wanted)
        return self.revision

    async def wait_until(self, revision: int) -> None:
        """Return once the cache has reached `revision`.

        Raises:
            Timeout: it hasn't after 3 s; upstream's answer to a resourceVersion from the future, too.
        """
        await self.wait_ready()
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, waiter))
        try:
            async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                watch = self._store_watch
                if watch is not None:
                    # A watch that is breaking can't be asked; the one after it starts beyond `revision`.
                    with contextlib.suppress(Unavailable):
                        await watch.request_progress()
                await waiter
        except TimeoutError:
            message = f"Too large resource version: {revision}, current: {self.revision}"
            raise Timeout(message, retry_after_s=1) from None
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
            initial: whether all that is there comes first, as ADDED: True also ends it with a bookmark that says so,
                None does it when the revision is None or 0.
            with_bookmarks: whether bookmarks are wanted.

        Raises:
            Expired: changes after `revision` are no longer remembered.
            Timeout: `revision` is from the future.
        """
        if revision is None:
            await self.catch_up()
        else:
            await self.wait_until(revision)
        backlog: list[Delivery] = []
        start = revision or self.revision
        if initial or (initial is None and not revision):
            backlog = [Delivery("ADDED", stored, stored.revision) for stored in self.select(selection)]
            start = self.revision
            if initial:
                backlog.append(Delivery("BOOKMARK", None, self.revision, ends_initial=True))
        elif revision:
            if revision < self._oldest:
                raise too_old(revision, self._oldest)
            told = (change.told_to(selection) for change in self._since(revision))
            backlog = [delivery for delivery in told if delivery is not None]
        return self._fanout.watch(selection, backlog, revision=start, with_bookmarks=with_bookmarks)

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
                            for event in batch.events:
                                self._apply(event.kv.key, None if event.is_delete else event.kv.value,
                                            event.kv.mod_revision)  # fmt: skip
                        self._advance(batch.revision)
                        self._fanout.flush()
            except Compacted:
                log.warning(
                    "the store has compacted what comes next: listing anew", extra={"kind": self._codec.resource}
                )
                is_stale = True
            except (Unavailable, Refused) as error:
                log.log(logging.WARNING if failures else logging.INFO, "the store's watch broke",
                        extra={"kind": self._codec.resource, "error": error})  # fmt: skip
            finally:
                self._store_watch = None
            await self._clock.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    async def _list(self) -> None:
        result = await self._store.range(self._prefix, prefix_end(self._prefix))
        objects = {}
        for kv in result.kvs:
            stored = self._stored(kv.key, kv.value, kv.mod_revision)
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
        self._ready.set()

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
            self._fanout.flush()
