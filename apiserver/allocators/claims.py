"""Who has which number, recorded in the store: one key a claim, made only where there is none.

The key is the lock. A claim is written before the Service that uses it and deleted after the Service is gone, so two
Services never hold the same number, however many apiservers allocate at once; what a crash in between leaves is a
claim that nobody uses, which `repair.py` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from api.errors import ServiceUnavailable
from api.resource import ObjectKey
from store.client import Conflict, KeyValue, Refused, Store, Unavailable, prefix_end


class Taken(Exception):
    """Somebody has the number."""

    def __init__(self, number: int, owner: ObjectKey) -> None:
        super().__init__(f"{number} belongs to Service {owner}")
        self.number = number
        self.owner = owner


class _Record(msgspec.Struct):
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One number as the store has it."""

    number: int
    owner: ObjectKey
    revision: int


class Claims:
    """The claims on one kind of number, below `/registry/ranges/<kind>/`."""

    def __init__(self, store: Store, kind: str) -> None:
        self.kind = kind
        self._store = store
        self._prefix = f"/registry/ranges/{kind}/".encode()

    async def take(self, number: int, owner: ObjectKey) -> None:
        """Record that `owner` has `number`.

        Raises:
            Taken: somebody has it, be it the same owner from another attempt.
            ServiceUnavailable: the store does not say; if it was recorded, repair will undo it.
        """
        record = msgspec.json.encode(_Record(owner.namespace, owner.name))
        try:
            await self._store.put_if(self._key(number), record, 0)
        except Conflict as conflict:
            raise Taken(number, _owner(conflict.current)) from None
        except (Unavailable, Refused) as error:
            raise ServiceUnavailable(f"the store does not answer for {self.kind}: {error}") from error

    async def release(self, number: int, owner: ObjectKey) -> None:
        """Give `number` back if `owner` has it; safe to call twice. What fails is left to repair."""
        try:
            found = await self._store.range(self._key(number))
            if found.kvs and _owner(found.kvs[0]) == owner:
                await self._store.delete_if(self._key(number), found.kvs[0].mod_revision)
        except (Conflict, Unavailable, Refused):
            pass

    async def drop(self, claim: Claim) -> bool:
        """Delete a claim if it is still the one that was read."""
        try:
            await self._store.delete_if(self._key(claim.number), claim.revision)
        except Conflict:
            return False
        return True

    async def list(self) -> Mapping[int, Claim]:
        """Return every claim.

        Raises:
            Unavailable, Refused: the store does not answer.
        """
        found = await self._store.range(self._prefix, prefix_end(self._prefix))
        claims = (Claim(int(kv.key[len(self._prefix) :]), _owner(kv), kv.mod_revision) for kv in found.kvs)
        return {claim.number: claim for claim in claims}

    def _key(self, number: int) -> bytes:
        return self._prefix + str(number).encode()


def _owner(kv: KeyValue | None) -> ObjectKey:
    if kv is None:
        return ObjectKey("", "")
    record = msgspec.json.decode(kv.value, type=_Record)
    return ObjectKey(record.namespace, record.name)
