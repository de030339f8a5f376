"""Reads and writes the objects of one kind: every write is one transaction guarded by the object's revision.

A write begins from the cached object, which may be behind. If the store says that the object has moved on, it also
says to what, and the decision is made again on that; a refusal that was made on a cached object is made again on a
fresh one, so nobody hears of a conflict or a rule broken that is not so. What a write should be, the caller decides
(`Decide`): update and patch compute a new object, delete asks `deletion.decide_delete`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from api import names, timestamps
from api.errors import ApiError, Expired, RequestEntityTooLarge, ServiceUnavailable
from api.resource import Resource
from apiserver.registry.codec import Codec, Stored, relative_key, storage_prefix
from apiserver.registry.deletion import Keep, Put, Remove, Write, is_releasable
from apiserver.registry.failures import already_exists, continue_expired, not_found
from apiserver.registry.revision_reader import RevisionReader
from apiserver.registry.selection import Selection
from apiserver.registry.watch_cache import WatchCache
from component.clock import Clock
from store.client import Compacted, Conflict, FutureRevision, Refused, Store, Unavailable, prefix_end

OBJECT_BYTES_MAX: Final = 1536 * 1024
"""Largest object stored, as etcd's default request limit has it."""
_GENERATED_NAME_ATTEMPTS: Final = 8
_PAGE: Final = 1000

Decide = Callable[[Stored], Awaitable[Write]]
"""From the object as stored to what is to be written; may be asked again with a newer one. Raises to refuse."""


class Registry:
    """The objects of one kind."""

    def __init__(
        self, resource: Resource[Any], store: Store, clock: Clock, random: Random, revisions: RevisionReader
    ) -> None:
        self.resource = resource
        self.codec = Codec(resource)
        self.cache = WatchCache(self.codec, store, clock, revisions)
        self._store = store
        self._clock = clock
        self._random = random
        self._prefix = storage_prefix(resource).encode()

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
        """Store a new object, as it is but for a uid and creationTimestamp; a generated name that is taken is replaced.

        Raises:
            AlreadyExists: the name is taken.
        """
        metadata = obj.metadata
        metadata.uid = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
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
                    return Stored(self.codec, key, value, 0)
                revision = await self._store.put_if(self._prefix + key.encode(), value, 0)
            except Conflict:
                attempts -= 1
                if not attempts:
                    raise already_exists(self.resource, metadata.name) from None
                metadata.name = names.generate(metadata.generate_name, self._random)
                continue
            except (Unavailable, Refused) as error:
                raise _store_failed(error) from error
            return Stored(self.codec, key, self.codec.splice(value, revision), revision)

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
        store_key = self._prefix + key.encode()
        current = self.cache.get(key)
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
            if isinstance(write, (Keep, Put)) and value == current.value:
                if is_fresh:
                    return current, False
                newer = await self._read(key)
                if newer is not None and newer.revision == current.revision:
                    return current, False
                current, is_fresh = newer, True
                continue
            if dry_run:
                shown = Stored(self.codec, key, self.codec.splice(value, current.revision), current.revision)
                return shown, isinstance(write, Remove)
            try:
                if isinstance(write, Remove):
                    revision = await self._store.delete_if(store_key, current.revision)
                else:
                    revision = await self._store.put_if(store_key, value, current.revision)
            except Conflict as conflict:
                current, is_fresh = self._stored(key, conflict.current), True
                continue
            except (Unavailable, Refused) as error:
                raise _store_failed(error) from error
            stored = Stored(self.codec, key, self.codec.splice(value, revision), revision)
            return stored, isinstance(write, Remove)

    async def read_page(
        self, selection: Selection, *, revision: int, after: str = "", limit: int = 0
    ) -> tuple[list[Stored], bool]:
        """Return objects as they were at `revision`, from the store: those that match, in key order.

        Args:
            selection: what to look for.
            revision: where in history.
            after: only keys behind this one.
            limit: at most so many; 0 for all.

        Returns:
            The objects, and whether there may be more.

        Raises:
            Expired: the revision is compacted.
        """
        prefix = self._prefix + (selection.namespace.encode() + b"/" if selection.namespace else b"")
        start = self._prefix + after.encode() + b"\0" if after else prefix
        found: list[Stored] = []
        while True:
            try:
                page = await self._store.range(start, prefix_end(prefix), limit=limit or _PAGE, revision=revision)
            except Compacted:
                raise (continue_expired() if after else Expired(f"too old resource version: {revision}")) from None
            except FutureRevision as error:
                raise Expired(f"resource version {revision} is in the future: {error}") from None
            except (Unavailable, Refused) as error:
                raise _store_failed(error) from error
            for index, kv in enumerate(page.kvs):
                stored = self._stored(kv.key[len(self._prefix) :].decode(), kv)
                assert stored is not None
                if selection.matches(stored):
                    found.append(stored)
                    if limit and len(found) == limit:
                        return found, page.more or index + 1 < len(page.kvs)
            if not page.more:
                return found, False
            start = page.kvs[-1].key + b"\0"

    async def _read(self, key: str) -> Stored | None:
        try:
            result = await self._store.range(self._prefix + key.encode())
        except (Unavailable, Refused) as error:
            raise _store_failed(error) from error
        return self._stored(key, result.kvs[0]) if result.kvs else None

    def _stored(self, key: str, kv: Any) -> Stored | None:
        if kv is None:
            return None
        return Stored(self.codec, key, self.codec.splice(kv.value, kv.mod_revision), kv.mod_revision)

    def _encode(self, obj: Any) -> bytes:
        value = self.codec.encode(obj)
        if len(value) > OBJECT_BYTES_MAX:
            raise RequestEntityTooLarge(
                f"{self.resource} {obj.metadata.name!r} is too large to be stored: it has {len(value)} bytes, "
                f"and the limit is {OBJECT_BYTES_MAX}"
            )
        return value


def _store_failed(error: Exception) -> ApiError:
    if isinstance(error, Unavailable):
        return ServiceUnavailable(f"the store does not answer; the outcome is not known: {error}")
    return ServiceUnavailable(f"the store refused the request: {error}")
