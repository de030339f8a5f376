"""Leases: keys that live as long as somebody keeps renewing.

Two halves. `Leases` is replicated state: which leases there are, for how long each is granted, which keys hang on it.
`Expiry` is the leader's alone: deadlines on its own monotonic clock, moved by keep-alives. When one passes, the leader
proposes the expiry, and only the log makes it happen, so no follower's clock ever ends a lease. A new leader starts
every deadline afresh: a lease may live longer than granted, never shorter.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from store.mvcc.revision import Change

TTL_MIN_S = 2
"""Shorter grants are lengthened, as in etcd, to outlast an election."""
TTL_MAX_S = 9_000_000_000


class LeaseExists(Exception):
    """The id asked for is taken."""


class LeaseTooLong(Exception):
    """The TTL asked for is above TTL_MAX_S."""


class Leases:
    """Granted leases and the keys on them: replicated, and so without a clock."""

    def __init__(self, granted: Iterable[tuple[int, int]] = ()) -> None:
        self._ttl_s: dict[int, int] = dict(granted)
        self._keys: dict[int, set[bytes]] = {}

    def __contains__(self, lease: int) -> bool:
        return lease in self._ttl_s

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._ttl_s))

    def ttl_s(self, lease: int) -> int | None:
        """Return the TTL granted, or None where there is no such lease."""
        return self._ttl_s.get(lease)

    def keys(self, lease: int) -> list[bytes]:
        """Return the keys on a lease, in order: they are deleted in this order on every member."""
        return sorted(self._keys.get(lease, ()))

    def grant(self, lease: int, ttl_s: int) -> int:
        """Add a lease; return the TTL granted.

        Raises:
            LeaseExists, LeaseTooLong: nothing was granted.
        """
        if lease in self._ttl_s:
            raise LeaseExists
        if ttl_s > TTL_MAX_S:
            raise LeaseTooLong
        self._ttl_s[lease] = max(ttl_s, TTL_MIN_S)
        return self._ttl_s[lease]

    def forget(self, lease: int) -> None:
        """Remove a lease whose keys are deleted; safe where there is none."""
        self._ttl_s.pop(lease, None)
        self._keys.pop(lease, None)

    def attach(self, lease: int, key: bytes) -> None:
        """Note, at start, that `key` hangs on `lease`."""
        self._keys.setdefault(lease, set()).add(key)

    def follow(self, changes: Iterable[Change]) -> None:
        """Move keys between leases as a transaction's changes say."""
        for change in changes:
            previous, kv = change.previous, change.kv
            if previous is not None and previous.lease and previous.lease != kv.lease:
                self._keys.get(previous.lease, set()).discard(kv.key)
            if kv.lease:
                self.attach(kv.lease, kv.key)


class Expiry:
    """The leader's deadlines, on the clock whose readings it is given."""

    def __init__(self) -> None:
        self._deadline: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        self._expiring: set[int] = set()

    def begin(self, leases: Iterable[tuple[int, int]], now: float) -> None:
        """Forget everything, and count afresh for these leases (id, TTL): a new leader's first act."""
        self._deadline.clear()
        self._heap.clear()
        self._expiring.clear()
        for lease, ttl_s in leases:
            self.renew(lease, ttl_s, now)

    def counts(self, lease: int) -> bool:
        """Whether the lease's time is counted."""
        return lease in self._deadline

    def renew(self, lease: int, ttl_s: int, now: float) -> bool:
        """Start the lease's time afresh; False when its end is already being agreed on."""
        if lease in self._expiring:
            return False
        self._deadline[lease] = now + ttl_s
        heapq.heappush(self._heap, (now + ttl_s, lease))
        return True

    def remaining_s(self, lease: int, now: float) -> float:
        """Return the seconds left; not positive once it has run out."""
        return self._deadline.get(lease, now) - now

    def forget(self, lease: int) -> None:
        """Stop counting for a lease that is gone."""
        self._deadline.pop(lease, None)
        self._expiring.discard(lease)

    def take_expired(self, now: float) -> list[int]:
        """Return leases that have run out and were not returned before: propose their end.

        If the proposal fails, `renew` is refused still; call `retry` to have them returned again.
        """
        expired: list[int] = []
        while self._heap and self._heap[0][0] <= now:
            deadline, lease = heapq.heappop(self._heap)
            if self._deadline.get(lease) == deadline and lease not in self._expiring:
                self._expiring.add(lease)
                expired.append(lease)
        return expired

    def retry(self, leases: Iterable[int], now: float) -> None:
        """Have `take_expired` return these again, soon: their end could not be proposed."""
        for lease in leases:
            if lease in self._expiring:
                self._expiring.discard(lease)
                self.renew(lease, 1, now)
