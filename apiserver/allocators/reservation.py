"""The allocator as the verbs know it: numbers are reserved for a write, and settled when it is over.

A write that failed may have happened all the same: the store went silent after it took it. So before what was reserved
is given back, the Service is read again, and what it holds stays claimed; if that fails too, repair decides later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import cast

from api.core.service import Service
from api.errors import ApiError, NotFound
from api.resource import ObjectKey
from apiserver.allocators.services import Allocation, ServiceAllocator
from apiserver.request import AdmissionRequest, Settle


class ServiceReservation:
    """`apiserver.request.Reservation` of Services.

    Args:
        allocator: hands the numbers out.
        read: returns a Service as the store has it now; raises NotFound.
    """

    def __init__(self, allocator: ServiceAllocator, read: Callable[[ObjectKey], Awaitable[Service]]) -> None:
        self._allocator = allocator
        self._read = read

    async def reserve(self, request: AdmissionRequest) -> Settle:
        """Fill in `request.object`, or on DELETE free what the old one held.

        Raises:
            Invalid: what is asked for is taken or out of range.
            ServiceUnavailable: nothing is left, or the store does not answer.
        """
        new, old = cast(Service | None, request.object), cast(Service | None, request.old)
        if new is None:
            assert old is not None
            await self._allocator.released(old)
            return _nothing_to_settle
        if old is None:
            allocation = await self._allocator.begin_create(new, dry_run=request.dry_run)
        else:
            allocation = await self._allocator.begin_update(new, old, dry_run=request.dry_run)

        async def settle(happened: bool) -> None:
            if happened:
                await allocation.commit()
            else:
                await self._revert(allocation)

        return settle

    async def _revert(self, allocation: Allocation) -> None:
        if not allocation.taken:
            return
        with contextlib.suppress(ApiError):  # left to repair
            try:
                stored = await self._read(allocation.owner)
            except NotFound:
                held: set[int] = set()
            else:
                held = {number for _, number in self._allocator.claims_of(stored)}
            allocation.taken = [(claims, number) for claims, number in allocation.taken if number not in held]
            await allocation.revert()


async def _nothing_to_settle(happened: bool) -> None:
    """Do nothing: it is done."""
