"""Mending what a crash leaves between a claim and its Service.

A claim without a Service is let go only when it was seen so on two passes, minutes apart and unchanged: the first time
its Service may be on its way. A Service without a claim gets one. Two Services with one number, which only a restored
backup or a hand in the store can make, are named in the log; people decide which of them to delete.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from api.core.service import Service
from api.errors import ApiError
from api.resource import ObjectKey
from apiserver.allocators.claims import Claim, Claims, Taken
from apiserver.allocators.services import ServiceAllocator
from component.clock import Clock
from store.client import Refused, Unavailable

log = logging.getLogger(__name__)

INTERVAL_S = 180.0


class AllocationRepair:
    """Compares Services with claims at start and every few minutes. Any number of apiservers may do so at once.

    Args:
        allocator: whose claims.
        services: returns every Service that the store has at the call or later; raises ServiceUnavailable. A cache
            that is behind would make claims look unused.
        clock: for the time between passes.
    """

    def __init__(
        self, allocator: ServiceAllocator, services: Callable[[], Awaitable[Sequence[Service]]], clock: Clock
    ) -> None:
        self._allocator = allocator
        self._services = services
        self._clock = clock
        self._suspects: dict[str, Mapping[int, int]] = {}

    async def run(self) -> None:
        """Repair until cancelled."""
        while True:
            try:
                await self.repair()
            except (ApiError, Unavailable, Refused) as error:
                log.warning("allocations not checked", extra={"why": str(error)})
            await self._clock.sleep(INTERVAL_S)

    async def repair(self) -> None:
        """Make one pass."""
        for claims in (self._allocator.addresses, self._allocator.ports):
            # Claims are read first: a claim whose Service is not in what is read later has none, or none yet.
            found = await claims.list()
            used = self._used(claims, await self._services())
            for number, owner in used.items():
                if number not in found:
                    await self._restore(claims, number, owner)
            orphans = {number: claim for number, claim in found.items() if number not in used}
            before = self._suspects.get(claims.kind, {})
            for number, claim in orphans.items():
                if before.get(number) == claim.revision and await claims.drop(claim):
                    log.info("freed what no Service uses", extra=_about(claims, claim))
            self._suspects[claims.kind] = {number: claim.revision for number, claim in orphans.items()}

    def _used(self, claims: Claims, services: Iterable[Service]) -> dict[int, ObjectKey]:
        used: dict[int, ObjectKey] = {}
        for service in services:
            key = ObjectKey(service.metadata.namespace, service.metadata.name)
            for kind, number in self._allocator.claims_of(service):
                if kind is not claims:
                    continue
                other = used.setdefault(number, key)
                if other != key:
                    log.error("two Services have the same number", extra={"kind": claims.kind, "a": other, "b": key})
        return used

    async def _restore(self, claims: Claims, number: int, owner: ObjectKey) -> None:
        try:
            await claims.take(number, owner)
        except Taken:
            return
        log.info("recorded what a Service uses", extra={"kind": claims.kind, "number": number, "owner": owner})


def _about(claims: Claims, claim: Claim) -> dict[str, object]:
    return {"kind": claims.kind, "number": claim.number, "owner": claim.owner}
