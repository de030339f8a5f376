"""What clients record: every call, when it began and ended, and what came of it.

A call's outcome is one of three, and the difference is the whole point. OK: the store answered. FAILED: the store said
that it did nothing. UNKNOWN: no answer, or one that says "perhaps"; such a write may have happened at any time after
it was sent, or may yet, or never. Treating UNKNOWN as FAILED would blame the store for what it never denied; treating
it as OK would hide losses.

Times are seconds on one clock, the recording process's monotonic one, so that "before" means before.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHOWN_MAX = 24
"""Characters of a value that are shown."""


class Kind(enum.StrEnum):
    """What a call does to its key."""

    GET = "get"
    PUT = "put"
    CAS = "cas"
    """Write `argument` if the value is `expected` (None: there is none), else read."""
    DELETE = "delete"


class Outcome(enum.StrEnum):
    """What came of a call."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Call:
    """One call on one key. The fields after `outcome` mean something only where it is OK."""

    client: int
    member: str
    kind: Kind
    key: str
    invoked: float
    argument: str | None = None
    """What it writes; unique in the whole history."""
    expected: str | None = None
    is_serializable: bool = False
    """A read that may be stale: never held against the store's order."""
    returned: float = math.inf
    outcome: Outcome = Outcome.UNKNOWN
    value: str | None = None
    """What was read: by a get, or by a cas that did not write. None: the key was not there."""
    version: int | None = None
    """The version that was read with it, where it was."""
    is_done: bool = True
    """Whether a cas wrote, or a delete found something to delete."""
    revision: int = 0
    """Revision of a write; of a read, the store's when it was answered."""
    error: str = ""

    def describe(self) -> str:
        """Return the call as a line for people."""
        what = f"{self.kind} {self.key}"
        if self.kind is Kind.CAS:
            what += f" {_short(self.expected)} -> {_short(self.argument)}"
        elif self.argument is not None:
            what += f" {_short(self.argument)}"
        if self.outcome is not Outcome.OK:
            came = f"{self.outcome} ({self.error})" if self.error else str(self.outcome)
        elif self.kind is Kind.GET or (self.kind is Kind.CAS and not self.is_done):
            came = f"read {_short(self.value)}" + (f" at version {self.version}" if self.version is not None else "")
        else:
            came = f"{'done' if self.is_done else 'nothing to do'} at revision {self.revision}"
        until = "never" if math.isinf(self.returned) else f"{self.returned:.4f}"
        return f"client {self.client} via {self.member}, {self.invoked:.4f} to {until}: {what}: {came}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values; an end that never came is None."""
        plain = dataclasses.asdict(self)
        plain["returned"] = None if math.isinf(self.returned) else self.returned
        return plain

    @staticmethod
    def from_json(plain: dict[str, Any]) -> Call:
        """Return the call that `to_json` wrote."""
        fields = dict(plain)
        fields["kind"], fields["outcome"] = Kind(fields["kind"]), Outcome(fields["outcome"])
        fields["returned"] = math.inf if fields["returned"] is None else fields["returned"]
        return Call(**fields)


@dataclass(frozen=True, slots=True)
class Event:
    """One change as a watcher got it."""

    revision: int
    key: str
    value: str | None
    """None: it was deleted."""
    version: int
    previous: str | None
    """The value before, as the store told it."""
    received: float


@dataclass(slots=True)
class Watched:
    """What one watcher saw, over as many connections as it took."""

    member: str
    start_revision: int
    events: list[Event] = field(default_factory=list)
    covered: int = 0
    """Everything up to this revision was handed over, as far as the store's own words go."""
    resumptions: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Revisions (first, last) that were compacted before the watcher came back for them."""
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class LeaseLife:
    """One lease, as its holder saw it."""

    lease: int
    key: str
    ttl_s: float
    alive_until: float
    """It must not end before: its TTL after the last renewal that was answered had been *sent*."""
    gone_by: float | None = None
    """When its key was first known to be gone."""
    is_revoked: bool = False


@dataclass(slots=True)
class History:
    """All of one round."""

    calls: list[Call] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    leases: list[LeaseLife] = field(default_factory=list)
    compactions: list[tuple[float, int]] = field(default_factory=list)
    """When each compaction was asked for, and up to which revision."""

    def by_key(self) -> Iterator[tuple[str, list[Call]]]:
        """Yield each key with its calls."""
        partition: dict[str, list[Call]] = {}
        for call in self.calls:
            partition.setdefault(call.key, []).append(call)
        yield from sorted(partition.items())


def _short(value: str | None) -> str:
    """Return a value as it is shown; its beginning tells it from all others."""
    return repr(value if value is None or len(value) <= SHOWN_MAX else value[: SHOWN_MAX - 3] + "...")


def write_evidence(path: Path, findings: Iterable[str], records: Iterable[Any]) -> None:
    """Write what was found in a round, and all that clients were told in it, as lines of JSON."""
    with path.open("w") as file:
        for finding in findings:
            print(json.dumps({"finding": finding}), file=file)
        for record in records:
            print(json.dumps(record), file=file)


def count_outcomes(calls: Iterable[Call]) -> dict[str, int]:
    """Return how many calls had each outcome."""
    counts = {str(outcome): 0 for outcome in Outcome}
    for call in calls:
        counts[call.outcome] += 1
    return counts
