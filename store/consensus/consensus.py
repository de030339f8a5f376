"""The face of consensus: what the rest of the store sees of raft, and what raft sees of the store.

Nothing here knows PySyncObj. Proposals are opaque bytes; many of them share one log entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NewType, Protocol

from store.consensus.membership import Members, MembershipChange

Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)


class NotLeader(Exception):
    """This member can't take proposals now; nothing was proposed. `leader` is who can, if known."""

    def __init__(self, leader: str | None) -> None:
        super().__init__(f"not the leader (that is {leader})" if leader else "no leader is known")
        self.leader = leader


class OutcomeUnknown(Exception):
    """The proposal was under way when leadership or the member was lost: it may be applied, or never be."""


class CallFailed(Exception):
    """The leader answered a call with an error: `kind` is what the two stores agreed on, `message` is for people."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Unsettled(Exception):
    """Ends a member on purpose: whoever runs it must start it again, or let it be, as the subclass says."""


class SnapshotInstalled(Unsettled):
    """The leader's state was taken over and lies ready on disk: start again from it."""


class MemberRemoved(Unsettled):
    """The cluster removed this member: it must not come back with this data directory."""


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """How the member stands. Always applied <= commit, and durable <= last."""

    name: str
    """This member's name."""
    role: Literal["follower", "candidate", "leader"]
    leader: str | None
    """The leader's name (its id in hex where the name is not known); None where no leader is known."""
    term: Term
    commit: LogIndex
    applied: LogIndex
    durable: LogIndex
    last: LogIndex
    id: int = 0
    """This member's id."""
    leader_id: int = 0
    """The leader's id; 0 where no leader is known."""
    is_learner: bool = False


class SnapshotSource(Protocol):
    """A state at one index, read in chunks, by any thread, while the store goes on."""

    @property
    def index(self) -> LogIndex:
        """The last entry contained."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield the state; each chunk is checksummed and numbered."""
        ...

    def hurry(self) -> None:
        """Read the rest as fast as can be: the log that is kept for whoever takes it in grows too long."""
        ...

    def close(self) -> None:
        """Let go of what keeps the state readable; safe to call twice."""
        ...


class Installer(Protocol):
    """Takes a state in, chunk by chunk; all of it may run in a thread of its own."""

    def write(self, chunk: bytes) -> None:
        """Take the next chunk.

        Raises:
            SnapshotDamaged: nothing of it may be used.
        """
        ...

    def finish(self) -> tuple[LogIndex, Term]:
        """Lay the state ready on disk, synced; the next start takes it over.

        Raises:
            SnapshotDamaged: it is not whole.
        """
        ...

    def abort(self) -> None:
        """Throw away what came; safe to call twice, and after `finish` without effect."""
        ...


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

    @property
    def members(self) -> bytes:
        """The membership as of `applied` (`Members.encode`); empty where none was ever applied."""
        ...

    def apply_members(self, index: LogIndex, term: Term, members: bytes) -> None:
        """Apply an entry that changes the membership: keep it with the state."""
        ...

    def snapshot(self) -> SnapshotSource:
        """Return the state on disk, to be read while the store goes on."""
        ...

    def installer(self) -> Installer:
        """Begin to take in another member's state, beside our own."""
        ...

    def schedule_flush(self, durable: LogIndex) -> None:
        """Called whenever the log is synced up to `durable`; the state on disk must never be ahead of that."""
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

        Any member can be asked; followers pass it on to the leader. The future raises NotLeader (it was not proposed)
        or OutcomeUnknown.
        """
        ...

    def read_index(self) -> asyncio.Future[LogIndex]:
        """Return a future done once a read of the local state is linearizable (Raft thesis section 6.4).

        Any member can be asked; followers ask the leader. It raises NotLeader when there is none, or it changed.
        """
        ...

    async def wait_leader(self) -> None:
        """Return when some leader is known and this member has applied its first entry."""
        ...

    async def change_membership(self, change: MembershipChange) -> Members:
        """Change one member, through the log; one at a time. Return the membership after it, once that is committed.

        Raises:
            MembershipRefused: another change is under way, or this one makes no sense.
            NotLeader: it was not made. OutcomeUnknown: it may have been.
        """
        ...

    async def transfer_leadership(self, to: int) -> None:
        """Hand leadership to the voter of that id; returns when it leads. Only the leader can.

        Raises:
            MembershipRefused: it is not a voter, or did not take over in time.
            NotLeader: this member does not lead.
        """
        ...

    async def hand_over(self) -> None:
        """Let the best of the others lead, if this member leads and there is one; returns when that is over."""
        ...

    @property
    def members(self) -> Members:
        """The membership as this member has it in its log, committed or not."""
        ...

    def call_leader(self, request: bytes) -> asyncio.Future[bytes]:
        """Have the leader's store answer a question that is not for the log (see `on_call`).

        The future raises NotLeader (it was not asked), OutcomeUnknown, or CallFailed.
        """
        ...

    @property
    def term(self) -> Term:
        """The present term: what `status` says of it, for those who ask all the time."""
        ...

    def status(self) -> ConsensusStatus:
        """Say how the member stands."""
        ...
