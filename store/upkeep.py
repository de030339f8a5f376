"""What a member does for the health of its state: the quota, alarms, and finding out whether members still agree.

Agreement is checked through the log. The leader proposes a check; every member, at the very same entry, notes what it
has then, hashes it from disk at leisure, verifying each record's checksum on the way, and proposes its finding. The
leader compares the findings and raises CORRUPT for members that differ from the majority. Nothing but the log is
needed for it: no clocks that agree, no second network, no credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

from component.clock import Clock
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store.alarms import QUOTA_BYTES, Corrupt, NoSpace, adds_data
from store.apply import State
from store.backend import Backend
from store.consensus.consensus import NotLeader, OutcomeUnknown
from store.mvcc.revision import Compacted

log = logging.getLogger(__name__)

REPORTS_WITHIN_S = 60.0
"""How long the leader waits for findings before it compares those it has."""


class Upkeep:
    """One member's."""

    def __init__(
        self,
        state: State,
        backend: Backend,
        propose: Callable[[store_pb2.Command], Awaitable[object]],
        clock: Clock,
        rng: random.Random,
        *,
        own_id: Callable[[], int],
        is_leader: Callable[[], bool],
        member_ids: Callable[[], Sequence[int]],
        quota_bytes: int = QUOTA_BYTES,
        hash_check_s: float = 0.0,
    ) -> None:
        """Watch over `state` and `backend`.

        Args:
            state: what is applied.
            backend: where it is on disk.
            propose: puts a command into the log and returns what applying it gave; raises that if it is an error.
            clock: where time comes from.
            rng: where ids of checks come from.
            own_id: this member's id.
            is_leader: whether this member leads now.
            member_ids: ids of all members.
            quota_bytes: how large the state may get; not positive: no limit.
            hash_check_s: seconds between checks that members agree; 0: none are made.
        """
        self._state = state
        self._backend = backend
        self._propose = propose
        self._clock = clock
        self._rng = rng
        self._own_id = own_id
        self._is_leader = is_leader
        self._member_ids = member_ids
        self.quota_bytes = quota_bytes
        self._hash_check_s = hash_check_s

    # -- quota and alarms

    @property
    def has_room(self) -> bool:
        """Whether nothing stands against any write: no alarm, and no quota used up."""
        return not self._state.alarms and (self.quota_bytes <= 0 or self._backend.in_use_bytes < self.quota_bytes)

    async def require_room(self, txn: rpc_pb2.TxnRequest | None = None, *, is_repeatable: bool = False) -> None:
        """Refuse what adds data (None: a lease) under an alarm or over the quota; the first to be over raises NOSPACE.

        Applying refuses too, deterministically; this saves the way there, and is what notices. A request that may be
        a repeat (`is_repeatable`) is left to that: it may have been done before the alarm, and only the log knows.

        Raises:
            NoSpace, Corrupt: it was not proposed.
        """
        alarms = self._state.alarms
        if alarms.is_corrupt and not is_repeatable:
            raise Corrupt
        if txn is not None and not adds_data(txn):
            return
        if alarms.is_out_of_space:
            if is_repeatable:
                return
            raise NoSpace
        if self.quota_bytes > 0 and self._backend.in_use_bytes >= self.quota_bytes:
            log.warning(
                "the state has outgrown its quota: alarm NOSPACE is raised",
                extra={"in_use_bytes": self._backend.in_use_bytes, "quota_bytes": self.quota_bytes},
            )
            await self.alarm(rpc_pb2.AlarmRequest.ACTIVATE, rpc_pb2.NOSPACE, self._own_id())
            if not is_repeatable:
                raise NoSpace

    async def alarm(self, action: int, kind: int, member: int) -> list[tuple[int, int]]:
        """List (GET), raise or lower alarms; return those meant as (type, member)."""
        if action == rpc_pb2.AlarmRequest.GET:
            return self._state.alarms.select(kind, member)
        request = rpc_pb2.AlarmRequest(memberID=member)
        request.action, request.alarm = action, kind  # type: ignore[assignment]
        meant = await self._propose(store_pb2.Command(alarm=request))
        assert isinstance(meant, list)
        return meant

    # -- hashes

    async def hash_kv(self, revision: int) -> tuple[int, int, int]:
        """Return (hash, revision hashed, compact revision) of all records up to `revision` (0: now), from disk.

        Raises:
            Compacted, FutureRevision: there is no such state.
            BackendDamaged: a record is altered.
        """
        self._state.mvcc.check_revision(revision)
        revision = max(0, revision) or self._state.mvcc.revision
        await self._backend.settle()
        found, compact_revision = await self._hash(revision)
        return found, revision, compact_revision

    async def _hash(self, revision: int) -> tuple[int, int]:
        """Return the hash of what is settled on disk up to `revision`, and the compact revision it is under."""
        compact_revision = self._state.mvcc.compact_revision
        if revision < compact_revision:
            raise Compacted(compact_revision)
        with self._backend.read() as reading:
            return await asyncio.to_thread(reading.hash_kv, revision), compact_revision

    async def hash_all(self) -> int:
        """Return a hash of everything on disk, this member's bookkeeping included."""
        await self._backend.settle()
        with self._backend.read() as reading:
            return await asyncio.to_thread(reading.hash_all)

    # -- do members agree

    async def run(self) -> None:
        """Answer checks, and while this member leads, ask for them.

        Raises:
            BackendDamaged: this member's own state is altered; it must stop.
        """
        maker = asyncio.create_task(self._make_checks()) if self._hash_check_s > 0 else None
        try:
            await self._answer_checks()
        finally:
            if maker is not None:
                maker.cancel()

    async def _answer_checks(self) -> None:
        reports = self._state.reports
        while True:
            await reports.begun.wait()
            reports.begun.clear()
            report = store_pb2.HashReport(
                id=reports.check,
                member=self._own_id(),
                revision=reports.revision,
                compact_revision=reports.compact_revision,
            )
            await self._backend.settle()
            if self._state.mvcc.compact_revision != report.compact_revision:
                continue  # what was to be hashed is gone; the next check will find a quieter moment
            report.hash, _ = await self._hash(report.revision)
            with contextlib.suppress(NotLeader, OutcomeUnknown):
                await self._propose(store_pb2.Command(hash_report=report))

    async def _make_checks(self) -> None:
        while True:
            await self._clock.sleep(self._hash_check_s)
            if not self._is_leader():
                continue
            try:
                await self.check_members()
            except (NotLeader, OutcomeUnknown) as error:
                log.debug("no check that members agree: %s", error)

    async def check_members(self) -> list[int]:
        """Have all members hash what they hold; raise CORRUPT for those that differ, and return them.

        Members that do not answer within REPORTS_WITHIN_S are not judged.
        """
        check, reports = self._rng.getrandbits(63) + 1, self._state.reports
        await self._propose(store_pb2.Command(hash_check=store_pb2.HashCheck(id=check)))
        deadline = self._clock.monotonic() + REPORTS_WITHIN_S
        while reports.check == check and self._clock.monotonic() < deadline:
            if reports.by_member.keys() >= set(self._member_ids()):
                break
            await self._clock.sleep(0.2)
        if reports.check != check:
            return []
        differing = differing_members(reports.by_member.values())
        for member in differing:
            log.error("members do not hold the same: alarm CORRUPT is raised", extra={"member": f"{member:x}"})
            await self.alarm(rpc_pb2.AlarmRequest.ACTIVATE, rpc_pb2.CORRUPT, member)
        if not differing:
            log.debug("members agree", extra={"members": len(reports.by_member), "revision": reports.revision})
        return differing


def differing_members(reports: Iterable[store_pb2.HashReport]) -> list[int]:
    """Return the members whose hash is not that of most; all of them where no hash has most."""
    hashes = {report.member: report.hash for report in reports}
    counts = Counter(hashes.values()).most_common()
    if len(counts) < 2:
        return []
    agreed = counts[0][0] if counts[0][1] > counts[1][1] else None
    return sorted(member for member, found in hashes.items() if found != agreed)
