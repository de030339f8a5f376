"""Of several processes that could do a job, one does it: whoever holds a Lease.

The holder renews the Lease every `retry_s`. Others may take it once they have seen it unchanged for its duration by
their own clock; what the Lease says about time is never compared with ours, so clocks may disagree. A holder that
could not renew for `renew_deadline_s`, which is shorter, stops working before anyone else starts, provided that clocks
run about equally fast. A process that was paused for longer may still have a write under way: whatever must not
happen twice is guarded by resourceVersion as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from api import timestamps
from api.coordination import lease as leases
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import Client
from component.clock import Clock
from component.flags import setting
from component.metrics import Level, shared

JITTER = 1.2
"""Those who wait try again after 1 to 1 + this times `retry_s`, so that they do not all try at once."""

log = logging.getLogger(__name__)

LEADING = shared(Level("leader_election_master_status", "Whether this process holds a Lease: 1 or 0.", ("name",)))


class LeadershipLost(Exception):
    """The Lease could not be renewed in time, or somebody else has it; the work was stopped. Exit, or run again."""


@dataclass(frozen=True, kw_only=True)
class Election:
    """The settings of a process of which one works at a time."""

    leader_elect: bool = setting("stand for a Lease before working, so that several may run", True)
    leader_elect_lease_duration_s: float = setting("how long others wait for a leader that is silent", 15.0)
    leader_elect_renew_deadline_s: float = setting("how long a leader that cannot renew its Lease works on", 10.0)
    leader_elect_retry_period_s: float = setting("time between tries to take or renew the Lease", 2.0)

    def __post_init__(self) -> None:
        lease_s, deadline_s = self.leader_elect_lease_duration_s, self.leader_elect_renew_deadline_s
        retry_s = self.leader_elect_retry_period_s
        if not retry_s * JITTER < deadline_s < lease_s:
            raise ValueError(
                f"leader election: want retry period {retry_s:g} s * {JITTER} < renew deadline {deadline_s:g} s"
                f" < lease duration {lease_s:g} s"
            )

    def elector(self, client: Client, key: ObjectKey, *, clock: Clock, rng: random.Random) -> LeaderElector | None:
        """Return a new candidate for the Lease at `key`; None if all may work at once."""
        if not self.leader_elect:
            return None
        return LeaderElector(client, key, f"{socket.gethostname()}_{uuid.uuid4()}", self, clock=clock, rng=rng)


DEFAULTS = Election()


class LeaderElector:
    """One candidate for one Lease."""

    def __init__(
        self,
        client: Client,
        key: ObjectKey,
        identity: str,
        election: Election = DEFAULTS,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Prepare to stand for `key`; `identity` must be unlike any other candidate's, a restarted self included."""
        self.is_leader = False
        LEADING.set(0, (key.name,))
        self.holder = ""
        """Who has the Lease, as far as we know."""
        self._client = client
        self._key = key
        self._identity = identity
        self._clock = clock
        self._rng = rng
        self._lease_s = election.leader_elect_lease_duration_s
        self._renew_deadline_s = election.leader_elect_renew_deadline_s
        self.retry_s = election.leader_elect_retry_period_s
        """How often the holder renews the Lease."""
        self._seen: leases.Lease | None = None
        self._seen_at = 0.0
        """When `_seen` last changed, by our monotonic clock."""

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the Lease, then run `lead()` for as long as it is held.

        Returns when `lead` returns. On cancellation `lead` is cancelled and the Lease is given up, so that the next
        holder need not wait.

        Raises:
            LeadershipLost: after `lead` was cancelled and has ended.
        """
        while not await self._try():
            await self._clock.sleep(self.retry_s * (1 + JITTER * self._rng.random()))
        self.is_leader = True
        LEADING.set(1, (self._key.name,))
        log.info("leading", extra={"lease": self._key, "identity": self._identity})
        work = asyncio.ensure_future(lead())
        renewal = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return
            raise LeadershipLost(f"{self._key} is held by {self.holder or 'nobody known'}")
        finally:
            self.is_leader = False
            LEADING.set(0, (self._key.name,))
            for task in (work, renewal):
                task.cancel()
            await asyncio.gather(work, renewal, return_exceptions=True)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(self.retry_s):
                    await self._release()

    async def _renew(self) -> None:
        """Return when leadership is lost."""
        renewed_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(self.retry_s)
            started_at = self._clock.monotonic()
            left_s = self._renew_deadline_s - (started_at - renewed_at)
            renewed = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left_s)):
                    renewed = await self._try()
            if renewed:
                renewed_at = started_at
            elif self.holder != self._identity or self._clock.monotonic() - renewed_at >= self._renew_deadline_s:
                log.error("leadership lost", extra={"lease": self._key, "holder": self.holder})
                return

    async def _try(self) -> bool:
        """Take or renew the Lease; return whether it is ours now."""
        try:
            async with asyncio.timeout(self._renew_deadline_s):
                return await self._take()
        except (ApiError, TimeoutError) as error:
            log.debug("lease not written", extra={"lease": self._key, "error": repr(error)})
            return False

    async def _take(self) -> bool:
        now = timestamps.render_micro(self._clock.now())
        mine = leases.LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=round(self._lease_s),
            acquire_time=now,
            renew_time=now,
            lease_transitions=0,
        )
        try:
            current = await self._client.get(leases.RESOURCE, self._key)
        except NotFound:
            metadata = ObjectMeta(namespace=self._key.namespace, name=self._key.name)
            self._see(await self._client.create(leases.RESOURCE, leases.Lease(metadata=metadata, spec=mine)))
            return True
        self._see(current)
        held = current.spec
        if held.holder_identity == self._identity:
            mine.acquire_time = held.acquire_time
            mine.lease_transitions = held.lease_transitions
        else:
            duration_s = held.lease_duration_seconds or round(self._lease_s)
            if held.holder_identity and self._clock.monotonic() < self._seen_at + duration_s:
                return False
            mine.lease_transitions = (held.lease_transitions or 0) + 1
        # The resourceVersion it carries makes this fail if anyone else wrote meanwhile.
        wanted = msgspec.structs.replace(current, spec=mine)
        self._see(await self._client.update(leases.RESOURCE, wanted))
        return True

    async def _release(self) -> None:
        current = self._seen
        if current is None or current.spec.holder_identity != self._identity:
            return
        free = msgspec.structs.replace(
            current.spec,
            holder_identity="",
            lease_duration_seconds=1,
            renew_time=timestamps.render_micro(self._clock.now()),
        )
        await self._client.update(leases.RESOURCE, msgspec.structs.replace(current, spec=free))
        self.holder = ""

    def _see(self, lease: leases.Lease) -> None:
        known = self._seen
        if known is None or known.metadata.resource_version != lease.metadata.resource_version:
            self._seen_at = self._clock.monotonic()
        self._seen = lease
        self.holder = lease.spec.holder_identity or ""
