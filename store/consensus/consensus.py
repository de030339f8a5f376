"""The face of consensus: what the rest of the store sees of raft, and what raft sees of the store.

Nothing here knows PySyncObj. Proposals are opaque bytes; many of them share one log entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NewType, Protocol

Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)


class NotLeader(Exception):
    """This member can't take proposals now; nothing was proposed. `leader` is who can, if known."""

    def __init__(self, leader: str | None) -> None:
        super().__init__(f"not the leader (that is {leader})" if leader else "no leader is known")
        self.leader = leader


class OutcomeUnknown(Exception):
    """The proposal was under way when leadership or the member was lost: it may be applied, or never be."""


class MembershipRefused(Exception):
    """The change of members can't be made now; the message says why."""


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """How the member stands. Always applied <= commit, and durable <= last."""

    name: str
    role: Literal["follower", "candidate", "leader"]
    leader: str | None
    term: Term
    commit: LogIndex
    applied: LogIndex
    durable: LogIndex
    last: LogIndex


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """One step of membership; `member` is its name, `address` its peer address (for add and update)."""

    kind: Literal["add-learner", "promote", "remove", "update"]
    member: str
    address: str = ""


class StateMachine(Protocol):
    """What committed entries are applied to. It keeps, on disk, how far it has come."""

    @property
    def applied(self) -> tuple[LogIndex, Term]:
        """Index and term of the last entry applied."""
        ...

    @property
    def persisted(self) -> LogIndex:
        """Index up to which the state is on disk: the log before it is needed only by other members."""
        ...

    def apply(self, index: LogIndex, term: Term, commands: Sequence[bytes]) -> Sequence[object]:
        """Apply one entry; return one result a command. Must be deterministic, and raise only for a broken invariant.

        Entries without commands (a new leader's first) move `applied` too.
        """
        ...

    def schedule_flush(self, durable: LogIndex) -> None:
        """Called whenever the log is synced up to `durable`; the state on disk must never be ahead of that."""
        ...


class SnapshotSource(Protocol):
    """A state at one index, read in chunks while the store goes on."""

    @property
    def index(self) -> LogIndex:
        """The last entry contained."""
        ...

    @property
    def term(self) -> Term:
        """That entry's term."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield the state; each chunk is checksummed and self-contained."""
        ...

    def close(self) -> None:
        """Let go of what keeps the state readable; safe to call twice."""
        ...


class Consensus(Protocol):
    """One member of an agreed sequence of entries."""

    async def start(self) -> None:
        """Recover, and begin to take part; returns when the log is readable and the member is running."""
        ...

    async def stop(self) -> None:
        """Write and sync what is staged, then stop; proposals under way end in OutcomeUnknown."""
        ...

    def propose(self, command: bytes) -> asyncio.Future[object]:
        """Propose a command; the future has what `StateMachine.apply` returned for it here.

        The future raises NotLeader (it was not proposed) or OutcomeUnknown.
        """
        ...

    def read_index(self) -> asyncio.Future[LogIndex]:
        """Return a future done once a read of the local state is linearizable (Raft thesis section 6.4).

        It raises NotLeader when this member is not, or no longer, the leader.
        """
        ...

    async def wait_leader(self) -> None:
        """Return when some leader is known and this member has applied its first entry."""
        ...

    async def change_membership(self, change: MembershipChange) -> None:
        """Change one member, through the log; one at a time.

        Raises:
            MembershipRefused: another change is under way, or this one makes no sense.
            NotLeader: ask the leader.
        """
        ...

    def status(self) -> ConsensusStatus:
        """Say how the member stands."""
        ...
