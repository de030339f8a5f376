"""Judging a history by the store's other promises, each its own function from what was recorded to what was broken.

A store with revisions says more than a register does, so more can be held against it: revisions order all writes of
all keys, and that order has to agree with time. Every function returns findings, sentences for people; none means that
the promise was kept. Nothing here waits, asks or retries.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence

from lab.chaos.history import Call, Event, History, Kind, LeaseLife, Outcome, Watched
from lab.chaos.linearizable import Answer, check_key

FINDINGS_MAX = 5
"""Of one kind: a broken store breaks the same promise thousands of times."""
CLOCK_SLACK_S = 0.005
"""Between the moment something happened and the moment it was noted."""

Stored = Mapping[str, tuple[str, int, int]]
"""What a member holds at the end: key to value, version, mod revision."""


def check_registers(history: History) -> list[str]:
    """Search an order for the calls on each key (see `linearizable`)."""
    findings: list[str] = []
    for key, calls in history.by_key():
        judgement = check_key(key, calls)
        if judgement.answer is not Answer.YES:
            findings += judgement.describe()
    return findings


def check_revisions(calls: Iterable[Call]) -> list[str]:
    """Hold revisions against time: over all keys, what ended before another began has the smaller one.

    A write has a revision to itself; a linearizable read is answered at one that is no older than any write already
    acknowledged, or any read already answered, when it began.
    """
    known = [call for call in calls if call.outcome is Outcome.OK and call.revision and not call.is_serializable]
    findings: list[str] = []
    writer: dict[int, Call] = {}
    for call in known:
        if _wrote(call) and (other := writer.setdefault(call.revision, call)) is not call:
            findings.append(f"two writes at one revision: {other.describe()}; {call.describe()}")
    # In order of beginning, against the highest revision among calls that had ended by then.
    ended = sorted(known, key=lambda call: call.returned)
    highest: Call | None = None
    position = 0
    for call in sorted(known, key=lambda call: call.invoked):
        while position < len(ended) and ended[position].returned < call.invoked:
            if highest is None or ended[position].revision > highest.revision:
                highest = ended[position]
            position += 1
        if highest is None:
            continue
        if call.revision < highest.revision or (_wrote(call) and call.revision == highest.revision):
            findings.append(f"older than what was answered before it began: {call.describe()}; {highest.describe()}")
    return _shortened(findings)


def check_ledger(calls: Iterable[Call], stored: Stored) -> list[str]:
    """Hold writes of keys that are written once against what is there at the end.

    An acknowledged one is there, once, as it was written; one that failed is not; one whose outcome is not known may be
    there once. Nothing is there that nobody wrote.
    """
    findings: list[str] = []
    attempts: dict[str, list[Call]] = {}
    for call in calls:
        if call.kind in (Kind.PUT, Kind.CAS):
            attempts.setdefault(call.key, []).append(call)
    for key, tries in attempts.items():
        found = stored.get(key)
        acknowledged = [call for call in tries if call.outcome is Outcome.OK and call.is_done]
        if len(acknowledged) > 1:
            findings.append(f"written once, acknowledged twice: {'; '.join(call.describe() for call in acknowledged)}")
        if found is None:
            findings += [f"acknowledged and lost: {call.describe()}" for call in acknowledged]
            continue
        value, version, revision = found
        if version != 1:
            findings.append(f"applied {version} times: {tries[0].describe()}")
        for call in tries:
            if call.outcome is Outcome.OK and not call.is_done and call.argument == value:
                findings.append(f"done, and its writer told that it was not: {call.describe()}")
        for call in acknowledged:
            if value != call.argument or (call.revision and revision != call.revision):
                findings.append(f"there as {value[:24]!r} at revision {revision}: {call.describe()}")
        possible = {call.argument for call in tries if call.outcome is not Outcome.FAILED}
        if value not in possible:
            findings.append(f"there though it was refused: {tries[0].describe()}")
    findings += [f"there, and nobody wrote it: {key}" for key in sorted(set(stored) - set(attempts))]
    return _shortened(findings)


def check_watches(
    watched: Sequence[Watched], calls: Iterable[Call], fence: int, compactions: Sequence[tuple[float, int]] = ()
) -> list[str]:
    """Hold what watchers saw against each other and against the writes.

    Args:
        watched: watchers of the same keys.
        calls: every call on those keys.
        fence: the last revision of the round; each watcher was waited for until it had covered it.
        compactions: when each was asked for, and its revision. An event that is handed over after the revision before
            it was compacted may come without its previous value, as in etcd.
    """
    findings: list[str] = []
    calls = list(calls)
    for number, watcher in enumerate(watched):
        name = f"watcher {number} via {watcher.member}"
        findings += [f"{name}: {problem}" for problem in watcher.problems]
        findings += [f"{name}: {problem}" for problem in _order_problems(watcher, compactions)]
        if watcher.covered < fence:
            findings.append(f"{name}: it never got past revision {watcher.covered} of {fence}")
    # What any of them saw, all must have seen, where they were looking.
    union: dict[tuple[int, str], Event] = {}
    for watcher in watched:
        for event in watcher.events:
            other = union.setdefault((event.revision, event.key), event)
            is_same = (other.value, other.version) == (event.value, event.version)
            if not is_same or (None not in (other.previous, event.previous) and other.previous != event.previous):
                findings.append(f"told differently to two watchers: {_show(other)}; {_show(event)}")
    everything = sorted(union)
    for number, watcher in enumerate(watched):
        seen = {(event.revision, event.key) for event in watcher.events}
        for place in everything:
            revision, key = place
            if place in seen or not watcher.start_revision <= revision <= watcher.covered:
                continue
            if not any(first <= revision <= last for first, last in watcher.gaps):
                findings.append(f"watcher {number} via {watcher.member} missed revision {revision} of {key}")
    # Every acknowledged write is an event (unless no watcher could see it), every event is somebody's write.
    sightings = [w for w in watched if not w.gaps]
    first = min((w.start_revision for w in sightings), default=0)
    last = max((w.covered for w in sightings), default=0)
    attempted: dict[tuple[str, str | None], Call] = {}
    for call in calls:
        if call.kind is not Kind.GET and call.outcome is not Outcome.FAILED:
            attempted[call.key, None if call.kind is Kind.DELETE else call.argument] = call
        is_visible = call.revision and first <= call.revision <= last
        if call.outcome is Outcome.OK and _wrote(call) and is_visible and (call.revision, call.key) not in union:
            findings.append(f"acknowledged, and no watcher was told: {call.describe()}")
    for event in union.values():
        if (event.key, event.value) not in attempted:
            findings.append(f"an event of a write nobody made: {_show(event)}")
    return _shortened(findings)


def check_leases(leases: Iterable[LeaseLife]) -> list[str]:
    """Hold ends of leases against the renewals: none ends before its time, every one ends."""
    findings: list[str] = []
    for lease in leases:
        if lease.gone_by is None:
            findings.append(f"lease {lease.lease:x} of {lease.ttl_s:g} s never ended: {lease.key} is still there")
        elif not lease.is_revoked and lease.gone_by < lease.alive_until - CLOCK_SLACK_S:
            early_s = lease.alive_until - lease.gone_by
            findings.append(f"lease {lease.lease:x} of {lease.ttl_s:g} s ended {early_s:.3f} s early: {lease.key}")
    return _shortened(findings)


def check_members_agree(stored: Mapping[str, Stored], hashes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Hold members against each other at one revision: what they hold, and (hash, revision) where they tell one."""
    findings: list[str] = []
    names = sorted(stored)
    for name in names[1:]:
        ours, theirs = stored[names[0]], stored[name]
        different = sorted(key for key in set(ours) | set(theirs) if ours.get(key) != theirs.get(key))
        findings += [f"{key}: {names[0]} has {ours.get(key)}, {name} has {theirs.get(key)}" for key in different]
    if len(set(hashes.values())) > 1:
        told = ", ".join(f"{name} {value:08x} at {revision}" for name, (value, revision) in sorted(hashes.items()))
        findings.append(f"members hash differently: {told}")
    return _shortened(findings)


def _order_problems(watcher: Watched, compactions: Sequence[tuple[float, int]]) -> list[str]:
    problems: list[str] = []
    last_revision = 0
    at_revision: set[str] = set()
    latest: dict[str, Event] = {}
    gaps = iter(sorted(watcher.gaps))
    gap = next(gaps, None)
    for event in watcher.events:
        while gap is not None and event.revision > gap[1]:
            latest.clear()
            gap = next(gaps, None)
        if event.revision < last_revision:
            problems.append(f"out of order: revision {last_revision}, then {_show(event)}")
        elif event.revision > last_revision:
            at_revision.clear()
        if event.key in at_revision:
            problems.append(f"told twice: {_show(event)}")
        at_revision.add(event.key)
        last_revision = max(last_revision, event.revision)
        before = latest.get(event.key)
        # Where versions count up there was nothing in between, and the previous value is the one before.
        follows = before is not None and event.value is not None and event.version == before.version + 1
        is_excused = event.previous is None and any(
            asked <= event.received and event.revision <= revision + 1 for asked, revision in compactions
        )
        if before is not None and follows and event.previous != before.value and not is_excused:
            problems.append(f"previous value is not the one before it: {_show(before)}, then {_show(event)}")
        latest[event.key] = event
    return problems


def _wrote(call: Call) -> bool:
    return call.kind is Kind.PUT or (call.kind in (Kind.CAS, Kind.DELETE) and call.is_done)


def _show(event: Event) -> str:
    what = "deleted" if event.value is None else f"{event.value[:24]!r} version {event.version}"
    return f"{event.key} {what} at revision {event.revision}"


def _shortened(findings: list[str]) -> list[str]:
    """Return the first of each sort, a sort being what stands before the first colon, and how many there are more."""
    kept: list[str] = []
    counts: dict[str, int] = {}
    for finding in findings:
        sort = finding.split(":", 1)[0]
        counts[sort] = counts.get(sort, 0) + 1
        if counts[sort] <= FINDINGS_MAX:
            kept.append(finding)
    kept += [f"{sort}: and {count - FINDINGS_MAX} more" for sort, count in counts.items() if count > FINDINGS_MAX]
    return kept


def longest_silence(calls: Iterable[Call], began: float, ended: float) -> float:
    """Return the longest time, in seconds between `began` and `ended`, in which no write was acknowledged."""
    moments = sorted(call.returned for call in calls if call.outcome is Outcome.OK and _wrote(call))
    moments = moments[bisect.bisect_left(moments, began) : bisect.bisect_right(moments, ended)]
    edges = [began, *moments, ended]
    return max(later - earlier for earlier, later in itertools.pairwise(edges))
