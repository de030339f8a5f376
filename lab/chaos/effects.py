"""What faults did, as opposed to what was done: counted from what members, the kernel and clients show.

An injection that nothing felt tests nothing: a partition that no packet met, a torn log tail that no member had to
drop. So every fault names effects, and a run in which a fault had none of them fails.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class Effect(enum.StrEnum):
    """Something seen to have happened."""

    LEADERSHIPS_LOST = "leaderships lost"
    TERMS_ADVANCED = "terms advanced"
    CALLS_REFUSED = "calls refused"
    OUTCOMES_UNKNOWN = "outcomes unknown"
    STALE_READS_ALLOWED = "reads that were allowed to be stale, and were"
    MEMBERS_DIED = "members died of a signal"
    MEMBERS_STOPPED = "members stopped by themselves"
    MEMBERS_RESTARTED = "members restarted in order"
    MEMBERS_REFUSED_TO_START = "members refused to start"
    MEMBERS_REPLACED = "members replaced"
    FELL_BEHIND = "followers fell behind"
    PAUSES_SEEN = "members seen not to run"
    PACKETS_DROPPED = "packets dropped"
    DISK_WAITS_SEEN = "members seen waiting for their disk"
    CLOCKS_SHIFTED = "clocks shifted"
    TAILS_DROPPED = "log tails dropped"
    ENTRIES_DROPPED = "uncommitted entries dropped"
    SNAPSHOTS_TAKEN_IN = "snapshots taken in"
    COMPACTIONS = "compactions"
    WATCHES_RESUMED = "watches resumed"
    LEASES_EXPIRED = "leases expired"
    UNITS_RESTARTED = "units started again by systemd"
    VERSIONS_CHANGED = "machines that changed their version"
    MACHINES_BOOTED = "machines booted"
    NO_SPACE_SEEN = "writes refused for want of space"
    CERTIFICATES_REFUSED = "certificates refused"
    QUORUM_LOSS_NAMED = "answers that named the lost quorum"
    ENDPOINTS_GONE = "lost machines whose endpoints were taken out"
    PODS_REPLACED = "lost machines whose pods were replaced"
    CACHE_ANSWERED = "lists answered from a cache without quorum"
    SERVICE_REQUESTS_FAILED = "requests to a Service that failed"
    HASHES_COMPARED = "rounds in which members' hashes were compared"


Effects = Counter[Effect]

_SAID: dict[str, Effect] = {
    "dropped the torn end of the log": Effect.TAILS_DROPPED,
    "dropping entries that were never committed": Effect.ENTRIES_DROPPED,
    "took over another member's state": Effect.SNAPSHOTS_TAKEN_IN,
}
"""How members put it in their logs, from the beginning of the message."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One member at one moment, as it says itself; zeros where it says nothing."""

    member: str
    term: int = 0
    leader: int = 0
    applied: int = 0
    revision: int = 0
    compact_revision: int = 0


def from_logs(lines: Iterable[bytes | str]) -> Effects:
    """Count what members said in their logs, which are JSON, one record a line; other lines are passed over."""
    seen: Effects = Counter()
    for line in lines:
        try:
            message = json.loads(line).get("msg", "")
        except (ValueError, AttributeError):
            continue
        for said, effect in _SAID.items():
            if message.startswith(said):
                seen[effect] += 1
    return seen


def from_samples(rounds: Iterable[Mapping[str, Sample]], behind_min: int) -> Effects:
    """Count what changed between samples of all members, taken one after the other.

    Args:
        rounds: each a sample of every member that answered.
        behind_min: how many entries fewer than the most advanced member count as having fallen behind.
    """
    seen: Effects = Counter()
    term = compacted = 0
    leader = 0
    behind: set[str] = set()
    for samples in rounds:
        if not samples:
            continue
        newest = max(samples.values(), key=lambda sample: sample.term)
        if term and newest.term > term:
            seen[Effect.TERMS_ADVANCED] += newest.term - term
        if newest.term >= term and newest.leader:
            if leader and (newest.leader != leader or newest.term > term):
                seen[Effect.LEADERSHIPS_LOST] += 1
            leader = newest.leader
        term = max(term, newest.term)
        forgotten = max(sample.compact_revision for sample in samples.values())
        if compacted and forgotten > compacted:
            seen[Effect.COMPACTIONS] += 1
        compacted = max(compacted, forgotten)
        front = max(sample.applied for sample in samples.values())
        for sample in samples.values():
            if sample.applied and sample.applied < front - behind_min:
                if sample.member not in behind:
                    seen[Effect.FELL_BEHIND] += 1
                behind.add(sample.member)
            else:
                behind.discard(sample.member)
    return seen


def parse_metrics(text: str) -> dict[str, float]:
    """Return the values of Prometheus' text form; those with labels under the name with its labels."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            try:
                values[name] = float(value)
            except ValueError:
                continue
    return values
