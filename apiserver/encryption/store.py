"""The store as the registries see it: values of chosen kinds are encrypted on the way in, and decrypted on the way out.

The keys of the store, revisions and everything else stay as they are, so watches, compaction and snapshots know nothing
of it. A value that cannot be read is an error that names its key, never a value left out: what is not shown would be
taken for deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from api.errors import InternalError
from apiserver.encryption.configuration import BadConfiguration, Configuration, parse
from apiserver.encryption.providers import Unreadable
from apiserver.registry.layer import StoreLayer
from component.clock import Clock
from store.client import (
    Compare,
    CompareTarget,
    Conflict,
    Event,
    KeyValue,
    Op,
    Put,
    RangeResult,
    Revision,
    Store,
    TxnResult,
    Watch,
    WatchBatch,
)

log = logging.getLogger(__name__)

RELOAD_S: Final = 2.0


class Stale(KeyValue, frozen=True, gc=False):
    """A pair whose value should be written anew, even unchanged: not with the key that is now the first."""


class EncryptionKeys:
    """The configuration in force, read again whenever its file changes; empty without a file."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file.

        Raises:
            BadConfiguration, OSError: it cannot be used, or not be read.
        """
        self._path = path
        self._text = b""
        self._complained_of = b""
        self.current = Configuration()
        if path is not None:
            self._text = path.read_bytes()
            self.current = _parsed(path, self._text)

    async def follow(self, clock: Clock) -> None:
        """Reload the file when it changes, until cancelled. One that cannot be used leaves what is in force."""
        while self._path is not None:
            await clock.sleep(RELOAD_S)
            await self.reload(self._path)

    async def reload(self, path: Path) -> None:
        """Take what the file says now."""
        try:
            text = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            log.error("the encryption configuration cannot be reloaded", extra={"error": error})
            return
        self._take(path, text)

    def reload_now(self) -> bool:
        """Take what the file says now, and return whether that is something new.

        For when a value cannot be read: another server may have reloaded first, and written it with a new key.
        """
        try:
            return self._path is not None and self._take(self._path, self._path.read_bytes())
        except OSError:
            return False

    def _take(self, path: Path, text: bytes) -> bool:
        if text in (self._text, self._complained_of):
            return False
        self._complained_of = text
        try:
            self.current = _parsed(path, text)
        except BadConfiguration as error:
            log.error("the encryption configuration cannot be reloaded", extra={"error": error})
            return False
        self._text = text
        log.info("encryption configuration reloaded", extra={"file": str(path)})
        return True


def _parsed(path: Path, text: bytes) -> Configuration:
    try:
        return parse(text)
    except BadConfiguration as error:
        raise BadConfiguration(f"--encryption-provider-config {path}: {error}") from None


class EncryptedStore(StoreLayer):
    """A `Store` over another, with the values of configured kinds encrypted."""

    def __init__(self, store: Store, keys: EncryptionKeys) -> None:
        super().__init__(store)
        self._keys = keys

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult:
        """Read one key or a range.

        Raises:
            InternalError: a value cannot be decrypted; says which, and with what key it was written.
        """
        result = await super().range(
            key,
            range_end,
            limit=limit,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
        )
        return result if keys_only else self._read(result)

    async def txn(self, compares: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Do `success` or `failure`. Encrypted values cannot be compared: each encryption of a value is another."""
        for compare in compares:
            if compare.target is CompareTarget.VALUE and self._keys.current.providers_of(compare.key):
                raise ValueError(f"{compare.key!r} is encrypted: compare its revision")
        done = await super().txn(
            compares, [self._sealed(each) for each in success], [self._sealed(each) for each in failure]
        )
        results = tuple(self._read(each) if isinstance(each, RangeResult) else each for each in done.results)
        return msgspec.structs.replace(done, results=results)

    async def put_if(self, key: bytes, value: bytes, mod_revision: int, *, lease: int = 0) -> Revision:
        """Write `key` if it is still at `mod_revision`."""
        try:
            return await super().put_if(key, self._encrypt(key, value), mod_revision, lease=lease)
        except Conflict as conflict:
            raise self._decrypted_conflict(conflict) from None

    async def delete_if(self, key: bytes, mod_revision: int) -> Revision:
        """Delete `key` if it is still at `mod_revision`."""
        try:
            return await super().delete_if(key, mod_revision)
        except Conflict as conflict:
            raise self._decrypted_conflict(conflict) from None

    def watch(self, prefix: bytes, start_revision: int = 0, *, prev_kv: bool = True, progress: bool = True) -> Watch:
        """Watch every key under `prefix`."""
        return _DecryptedWatch(super().watch(prefix, start_revision, prev_kv=prev_kv, progress=progress), self)

    def decrypt(self, kv: KeyValue) -> KeyValue:
        """Return a pair with its value readable; a `Stale` one if it should be written anew.

        Raises:
            InternalError: it cannot be read.
        """
        providers = self._keys.current.providers_of(kv.key)
        if providers is None or not kv.version:
            return kv
        try:
            plain, is_stale = providers.decrypt(kv.value, kv.key)
        except Unreadable as why:
            if self._keys.reload_now():
                return self.decrypt(kv)
            raise InternalError(
                f'Internal error occurred: unable to transform key "{kv.key.decode(errors="replace")}": {why}'
            ) from None
        kind = Stale if is_stale else KeyValue
        return kind(kv.key, plain, kv.create_revision, kv.mod_revision, kv.version, kv.lease)

    def decrypted_event(self, event: Event) -> Event:
        """Return an event with both its values readable."""
        before = event.prev_kv
        return Event(self.decrypt(event.kv), None if before is None else self.decrypt(before))

    def _read(self, result: RangeResult) -> RangeResult:
        return msgspec.structs.replace(result, kvs=tuple(self.decrypt(kv) for kv in result.kvs))

    def _encrypt(self, key: bytes, value: bytes) -> bytes:
        providers = self._keys.current.providers_of(key)
        return value if providers is None else providers.encrypt(value, key)

    def _sealed(self, op: Op) -> Op:
        if isinstance(op, Put) and not op.ignore_value:
            return msgspec.structs.replace(op, value=self._encrypt(op.key, op.value))
        return op

    def _decrypted_conflict(self, conflict: Conflict) -> Conflict:
        current = conflict.current
        return Conflict(conflict.key, None if current is None else self.decrypt(current))


class _DecryptedWatch:
    """A watch whose batches are readable."""

    def __init__(self, watch: Watch, store: EncryptedStore) -> None:
        self._watch = watch
        self._store = store

    async def __aiter__(self) -> AsyncIterator[WatchBatch]:
        async for batch in self._watch:
            if batch.events:
                events = tuple(self._store.decrypted_event(event) for event in batch.events)
                batch = WatchBatch(events, batch.revision)
            yield batch

    async def request_progress(self) -> None:
        await self._watch.request_progress()

    async def close(self) -> None:
        await self._watch.close()

    async def __aenter__(self) -> Watch:
        await self._watch.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._watch.__aexit__()
