"""Whether a history is linearizable: an order of its calls exists that respects time and that a register could obey.

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of what was tried
("Testing for Linearizability", 2017), run one key at a time, since linearizability is local (Herlihy and Wing, 1990).
It walks the history's beginnings and ends in time order. At a call's beginning it tries to let the call take effect
there; coming to the end of a call that has not taken effect, it goes back and tries otherwise.

The register has a value and a version, the number of writes since the key was made. Reads that tell the version make a
write applied twice as visible as one that is lost.

A write with unknown outcome has no end: it may take effect anywhere after its beginning, or never. Many of those would
make the search explode, so two that nothing in the history can tell apart are only ever taken in the order they began.
That loses nothing: in any order that works, they can be exchanged.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.chaos.history import Call, Kind, Outcome

TRIED_MAX = 2_000_000
"""Combinations looked at before giving up on a key: minutes, and less than a gigabyte."""

State = tuple[str | None, int]
"""Value (None: not there) and version."""

ABSENT: State = (None, 0)
_UNSEEN = "\0unseen"
"""Stands for every value that nobody ever read."""


class Answer(enum.StrEnum):
    """What the search found."""

    YES = "linearizable"
    NO = "not linearizable"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer for one key, and for NO what could not be explained."""

    key: str
    answer: Answer
    tried: int
    explained: tuple[Call, ...] = ()
    """The longest order found, of calls that do fit."""
    stuck: Call | None = None
    """The call for which that order has no place."""

    def describe(self) -> list[str]:
        """Return lines for people."""
        lines = [f"{self.key}: {self.answer} ({self.tried} combinations tried)"]
        if self.stuck is not None:
            lines.append(f"  no place for: {self.stuck.describe()}")
            lines += [f"  after: {call.describe()}" for call in self.explained[-8:]]
        return lines


def step(state: State, call: Call) -> State | None:
    """Return the state after `call` takes effect in `state`, or None where what it answered can't be."""
    value, version = state
    is_known = call.outcome is Outcome.OK
    match call.kind:
        case Kind.PUT:
            return call.argument, version + 1
        case Kind.GET:
            is_right = call.value == value and call.version in (None, version)
            return state if is_right or not is_known else None
        case Kind.CAS:
            matches = value == call.expected
            if is_known and matches != call.is_done:
                return None
            if matches:
                return call.argument, version + 1
            if is_known and (call.value != value or call.version not in (None, version)):
                return None
            return state
        case Kind.DELETE:
            if is_known and call.is_done != (value is not None):
                return None
            return ABSENT


def check_key(key: str, calls: Iterable[Call], start: State = ABSENT, tried_max: int = TRIED_MAX) -> Judgement:
    """Search an order for the calls on one key, which was in state `start` before them all.

    Calls that did not happen, reads without an answer, and reads that may be stale are left out.
    """
    relevant = [call for call in calls if _matters(call)]
    relevant.sort(key=lambda call: call.invoked)
    subjects, requires = _merge_alike(relevant)
    return _search(key, relevant, subjects, requires, start, tried_max)


def _matters(call: Call) -> bool:
    if call.outcome is Outcome.FAILED or call.is_serializable:
        return False
    return call.outcome is Outcome.OK or call.kind is not Kind.GET


def _merge_alike(calls: Sequence[Call]) -> tuple[list[Call], list[int]]:
    """Return the calls to try, and for each the bits of those that must come before it.

    Unknown writes whose value nobody saw get one value in common; each then waits for the one before it.
    """
    seen = {call.value for call in calls} | {call.expected for call in calls if call.kind is Kind.CAS}
    subjects: list[Call] = []
    requires: list[int] = []
    last_alike: dict[tuple[Kind, str | None], int] = {}
    for position, call in enumerate(calls):
        required = 0
        if call.outcome is Outcome.UNKNOWN and (call.kind is Kind.DELETE or call.argument not in seen):
            kind = (call.kind, call.expected)
            if kind in last_alike:
                required = 1 << last_alike[kind]
            last_alike[kind] = position
            if call.kind is not Kind.DELETE:
                call = Call(
                    call.client, call.member, call.kind, call.key, call.invoked, _UNSEEN, call.expected
                )  # outcome UNKNOWN, never returned
        subjects.append(call)
        requires.append(required)
    return subjects, requires


def _search(
    key: str, calls: Sequence[Call], subjects: Sequence[Call], requires: Sequence[int], start: State, tried_max: int
) -> Judgement:
    count = len(calls)
    definite = sum(1 << i for i, call in enumerate(calls) if call.outcome is Outcome.OK)
    # Beginnings sort before ends at the same instant: then the calls count as concurrent, which accuses nobody wrongly.
    marks = [(call.invoked, 0, i) for i, call in enumerate(calls)]
    marks += [(call.returned, 1, i) for i, call in enumerate(calls) if call.outcome is Outcome.OK]
    marks.sort()
    # A doubly linked list of marks, from 1; 0 is the head and, as a successor, the end.
    after = [*range(1, len(marks) + 1), 0]
    before = [0, *range(len(marks))]
    begin_at, end_at = [0] * count, [0] * count
    for place, (_, is_end, i) in enumerate(marks, 1):
        (end_at if is_end else begin_at)[i] = place

    state, taken = start, 0
    tried: set[tuple[int, State]] = set()
    path: list[tuple[int, State]] = []
    longest: list[int] = []
    stuck: Call | None = None
    place = after[0]
    while taken & definite != definite:
        _, is_end, i = marks[place - 1]
        if not is_end:
            following = step(state, subjects[i]) if taken & requires[i] == requires[i] else None
            if following is not None and (taken | 1 << i, following) not in tried:
                if len(tried) >= tried_max:
                    return Judgement(key, Answer.UNDECIDED, len(tried))
                path.append((i, state))
                state, taken = following, taken | 1 << i
                tried.add((taken, state))
                for mark in (begin_at[i], end_at[i]):
                    if mark:
                        after[before[mark]], before[after[mark]] = after[mark], before[mark]
                place = after[0]
                continue
            place = after[place]
        else:
            if len(path) > len(longest) or stuck is None:
                longest, stuck = [each for each, _ in path], calls[i]
            if not path:
                return Judgement(key, Answer.NO, len(tried), tuple(calls[each] for each in longest), stuck)
            i, state = path.pop()
            taken &= ~(1 << i)
            for mark in (end_at[i], begin_at[i]):
                if mark:
                    after[before[mark]] = before[after[mark]] = mark
            place = after[begin_at[i]]
    return Judgement(key, Answer.YES, len(tried))
