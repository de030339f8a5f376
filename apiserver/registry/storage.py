"""Reads and writes the objects of one kind: every write is one transaction guarded by the object's revision.

A write begins from the cached object, which may be behind. If the store says that the object has moved on, it also
says to what, and the decision is made again on that; a refusal that was made on a cached object is made again on a
fresh one, so nobody hears of a conflict or a rule broken that is not so. Writers of one object let each other finish
(`registry.turns`). What a write should be, the caller decides
(`Decide`): update and patch compute a new object, delete asks `deletion.decide_delete`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from api import names, timestamps
from api.errors import ApiError, RequestEntityTooLarge, ServiceUnavailable
from api.resource import Resource
from apiserver.encryption.store import Stale
from apiserver.registry.codec import Codec, Stored, relative_key, storage_prefix
from apiserver.registry.deletion import Keep, Put, Remove, Write, is_releasable
from apiserver.registry.failures import already_exists, not_found, too_large
from apiserver.registry.prompt import NotAsked
from apiserver.registry.revision_reader import RevisionReader
from apiserver.registry.selection import Selection
from apiserver.registry.turns import Turns
from apiserver.registry.watch_cache import WatchCache
from component.clock import Clock
from store.client import Conflict, FutureRevision, Refused, Store, Unavailable, prefix_end

OBJECT_BYTES_MAX: Final = 1536 * 1024
"""Largest object stored, as etcd's default request limit has it."""
_GENERATED_NAME_ATTEMPTS: Final = 8
_PAGE: Final = 1000

Decide = Callable[[Stored], Awaitable[Write]]
"""From the object as stored to what is to be written; may be asked again with a newer one. Raises to refuse."""


class Page(NamedTuple):
    """Some of the objects that match, as they were at one revision."""

    items: list[Stored]
    revision: int
    has_more: bool
    """Whether there may be more behind the last."""
    remaining: int | None
    """How many keys follow, where nothing but the namespace was selected by."""


class Registry:
    """The objects of one kind."""

    def __init__(
        self,
        resource: Resource[Any],
        store: Store,
        clock: Clock,
        random: Random,
        revisions: RevisionReader,
        codec: Codec | None = None,
    ) -> None:
        self.resource = resource
        self.codec = codec or Codec(resource)
        self.cache = WatchCache(self.codec, store, clock, revisions)
        self._store = store
        self._clock = clock
        self._random = random
        self._prefix = storage_prefix(resource).encode()
        self._turns = Turns()

    async def get(self, namespace: str, name: str, *, oldest: int | None = None) -> Stored:
        """Return the object: the present one, or with `oldest` any that is not older than that revision.

        Raises:
            NotFound: there is none.
        """
        key = relative_key(namespace, name)
        if oldest is not None:
            await self.cache.wait_until(oldest)
            found = self.cache.get(key)
        else:
            found = await self._read(key)
        if found is None:
            raise not_found(self.resource, name)
        return found

    async def create(self, obj: Any, *, has_generated_name: bool = False, dry_run: bool = False) -> Stored:
        """Store a new object, as it is but for creationTimestamp and, where it has none yet, a uid.

        A generated name that is taken is replaced.

        Raises:
            AlreadyExists: the name is taken.
        """
        metadata = obj.metadata
        metadata.uid = metadata.uid or self.generate_uid()
        metadata.creation_timestamp = timestamps.render(self._clock.now())
        metadata.deletion_timestamp = ""
        metadata.deletion_grace_period_seconds = None
        metadata.self_link = ""
        attempts = _GENERATED_NAME_ATTEMPTS if has_generated_name else 1
        while True:
            key = relative_key(metadata.namespace, metadata.name)
            value = self._encode(obj)
            try:
                if dry_run:
                    if await self._read(key) is not None:
                        raise already_exists(self.resource, metadata.name)
                    value = await self._read_back(await self._converted(value))
                    return Stored(self.codec, key, self.codec.served(value), 0)
                converted = await self._converted(value)
                revision = await self._store.put_if(self._prefix + key.encode(), converted, 0)
            except Conflict:
                attempts -= 1
                if not attempts:
                    raise already_exists(self.resource, metadata.name) from None
                metadata.name = names.generate(metadata.generate_name, self._random)
                self.resource.default(obj)  # What is made of the name (a namespace's label) is made of the new one.
                continue
            except (Unavailable, Refused) as error:
                raise _store_failed(error) from error
            return Stored(self.codec, key, self.codec.splice(await self._read_back(converted), revision), revision)

    def generate_uid(self) -> str:
        """Return a uid for a new object."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def generate_name(self, base: str) -> str:
        """Return a name for `metadata.generateName`."""
        return names.generate(base, self._random)

    async def write(self, namespace: str, name: str, decide: Decide, *, dry_run: bool = False) -> tuple[Stored, bool]:
        """Write what `decide` says about the object as it is, as often as it changes meanwhile.

        Returns:
            The object after it, and whether it is gone.

        Raises:
            NotFound: there is none.
        """
        key = relative_key(namespace, name)
        if dry_run:
            return await self._write(key, name, self.cache.get(key), decide, dry_run=True)
        turn = await self._turns.take(key)
        written: Stored | None = None
        try:
            current = self.cache.get(key)
            if turn.latest is not None and (current is None or current.revision < turn.latest.revision):
                current = turn.latest
            stored, is_gone = await self._write(key, name, current, decide, dry_run=False)
            written = None if is_gone else stored
        finally:
            turn.end(written)
        return stored, is_gone

    async def _write(
        self, key: str, name: str, current: Stored | None, decide: Decide, *, dry_run: bool
    ) -> tuple[Stored, bool]:
        """Write, beginning from what the object may be; `current` None: look."""
        store_key = self._prefix + key.encode()
        is_fresh = current is None
        if current is None:
            current = await self._read(key)
        while True:
            if current is None:
                raise not_found(self.resource, name)
            try:
                write = await decide(current)
            except ApiError:
                newer = None if is_fresh else await self._read(key)
                if is_fresh or (newer is not None and newer.revision == current.revision):
                    raise
                current, is_fresh = newer, True
                continue
            if isinstance(write, Put) and is_releasable(write.object):
                write = Remove(write.object)
            value = current.value if isinstance(write, Keep) else self._encode(write.object)
            if isinstance(write, (Keep, Put)) and _says_the_same(value, current.value):
                if not is_fresh:
                    newer = await self._read(key)
                    if newer is None or newer.revision != current.revision or newer.is_stale:
                        current, is_fresh = newer, True
                        continue
                if isinstance(write, Keep) or not current.is_stale:
                    return current, False
            if dry_run:
                if not isinstance(write, Remove):
                    value = await self._read_back(await self._converted(value))
                shown = Stored(self.codec, key, self.codec.splice(value, current.revision), current.revision)
                return shown, isinstance(write, Remove)
            try:
                if isinstance(write, Remove):
                    revision = await self._store.delete_if(store_key, current.revision)
                else:
                    converted = await self._converted(value)
                    revision = await self._store.put_if(store_key, converted, current.revision)
                    value = await self._read_back(converted)
            except Conflict as conflict:
                current, is_fresh = await self._stored(key, conflict.current), True
                continue
            except (Unavailable, Refused) as error:
                raise _store_failed(error) from error
            stored = Stored(self.codec, key, self.codec.splice(value, revision), revision)
            return stored, isinstance(write, Remove)

    async def read_page(self, selection: Selection, *, revision: int = 0, after: str = "", limit: int = 0) -> Page:
        """Return objects as they were at `revision`, from the store: those that match, in key order.

        Args:
            selection: what to look for.
            revision: where in history; 0 for the present.
            after: only keys behind this one.
            limit: at most so many; 0 for all.

        Raises:
            Compacted: the revision is forgotten.
            Timeout: it is from the future.
        """
        prefix = self._prefix + (selection.namespace.encode() + b"/" if selection.namespace else b"")
        start = self._prefix + after.encode() + b"\0" if after else prefix
        found: list[Stored] = []
        while True:
            try:
                page = await self._store.range(start, prefix_end(prefix), limit=limit or _PAGE, revision=revision)
            except FutureRevision:
                raise too_large(revision, self.cache.revision, retry_after_s=0) from None
            except (Unavailable, Refused) as error:
                raise _store_failed(error) from error
            revision = revision or page.revision
            for index, kv in enumerate(page.kvs):
                stored = await self._stored(kv.key[len(self._prefix) :].decode(), kv)
                assert stored is not None
                if selection.matches(stored):
                    found.append(stored)
                    if limit and len(found) == limit:
                        left = page.count - index - 1
                        remaining = None if selection.is_filtering else left
                        return Page(found, revision, left > 0, remaining)
            if not page.more:
                return Page(found, revision, False, None)
            start = page.kvs[-1].key + b"\0"

    async def _read(self, key: str) -> Stored | None:
        try:
            result = await self._store.range(self._prefix + key.encode())
        except (Unavailable, Refused) as error:
            raise _store_failed(error) from error
        return await self._stored(key, result.kvs[0]) if result.kvs else None

    async def _stored(self, key: str, kv: Any) -> Stored | None:
        if kv is None:
            return None
        value = kv.value
        if self.codec.is_asynchronous:
            value = await self._read_back(value)
        json = self.codec.splice(value, kv.mod_revision)
        is_stale = isinstance(kv, Stale) or self.codec.is_stale(kv.value)
        return Stored(self.codec, key, json, kv.mod_revision, is_stale=is_stale)

    async def _read_back(self, value: bytes) -> bytes:
        """Return what `splice` takes for a value as stored.

        Raises:
            InternalError: it can't be converted.
        """
        if not self.codec.is_asynchronous:
            return value
        found = (await self.codec.from_store([value]))[0]
        if isinstance(found, ApiError):
            raise found
        return found

    async def _converted(self, value: bytes) -> bytes:
        return await self.codec.to_store(value) if self.codec.is_asynchronous else value

    def _encode(self, obj: Any) -> bytes:
        value = self.codec.encode(obj)
        if len(value) > OBJECT_BYTES_MAX:
            raise RequestEntityTooLarge(
                f"{self.resource} {obj.metadata.name!r} is too large to be stored: it has {len(value)} bytes, "
                f"and the limit is {OBJECT_BYTES_MAX}"
            )
        return value


def _says_the_same(value: bytes, other: bytes) -> bool:
    """Whether an object's bytes differ from another's at most in the order of what they hold."""
    return value == other or (len(value) == len(other) and msgspec.json.decode(value) == msgspec.json.decode(other))


def _store_failed(error: Exception) -> ApiError:
    if isinstance(error, NotAsked):
        return ServiceUnavailable(str(error), retry_after_s=1)
    if isinstance(error, Unavailable):
        return ServiceUnavailable(f"the store does not answer; the outcome is not known: {error}")
    return ServiceUnavailable(f"the store refused the request: {error}")
