"""Alarms: what has gone wrong for good, until somebody has seen to it. Replicated, and so without a clock.

NOSPACE: a member's state has outgrown its quota. Until it is disarmed no member takes what adds data; deletes and
compaction, which make room, go on. CORRUPT: a member holds something else than the others. Until it is disarmed
nothing is written at all; reads go on. Both as in etcd. Alarms are raised and lowered through the log, so that every
member refuses from the same entry on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proto.etcd import rpc_pb2

QUOTA_BYTES = 8 << 30
"""How large the state may get unless told otherwise; etcd's documentation advises against more."""


class NoSpace(Exception):
    """The quota is used up: delete, compact, and disarm the alarm."""


class Corrupt(Exception):
    """Members disagree about what they hold: nothing is written until somebody has looked."""


class Alarms:
    """The alarms that are raised, each once, in order of type and member."""

    def __init__(self, raised: Iterable[tuple[int, int]] = ()) -> None:
        self._raised: set[tuple[int, int]] = set(raised)

    def __bool__(self) -> bool:
        return bool(self._raised)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (type, member)."""
        return iter(sorted(self._raised))

    @property
    def is_out_of_space(self) -> bool:
        """Whether NOSPACE is raised for any member."""
        return any(kind == rpc_pb2.NOSPACE for kind, _ in self._raised)

    @property
    def is_corrupt(self) -> bool:
        """Whether CORRUPT is raised for any member."""
        return any(kind == rpc_pb2.CORRUPT for kind, _ in self._raised)

    def select(self, kind: int, member: int) -> list[tuple[int, int]]:
        """Return the alarms raised of a type (NONE: any) for a member (0: any), in order."""
        return [each for each in self if kind in (rpc_pb2.NONE, each[0]) and member in (0, each[1])]

    def activate(self, kind: int, member: int) -> list[tuple[int, int]]:
        """Raise an alarm; return it, raised before or not. NONE raises nothing."""
        if kind == rpc_pb2.NONE:
            return []
        self._raised.add((kind, member))
        return [(kind, member)]

    def deactivate(self, kind: int, member: int) -> list[tuple[int, int]]:
        """Lower the alarms that `select` returns, and return them."""
        lowered = self.select(kind, member)
        self._raised.difference_update(lowered)
        return lowered


def adds_data(txn: rpc_pb2.TxnRequest) -> bool:
    """Whether a transaction has a put on any path through it: such need room, whichever branch is taken."""
    return any(
        op.HasField("request_put") or (op.HasField("request_txn") and adds_data(op.request_txn))
        for branch in (txn.success, txn.failure)
        for op in branch
    )
