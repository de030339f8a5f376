"""What watchers were told against what happened: pure.

`History` is the store's own account of every change. A watcher's `Story` is a list of segments: each begins at a
resourceVersion, maybe with a list, and holds the events that followed until the watch ended for good (410) and the
watcher had to list anew. `problems` says where a story differs from what the watcher should have been told by the
history: every change of what it selects, once, in order, up to where it got.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Selects = Callable[[Object], bool]


@dataclass(frozen=True)
class Change:
    """One revision of one key; `after` is None when it was deleted."""

    revision: int
    key: str
    before: Object | None
    after: Object | None


@dataclass
class History:
    """Every change, in order."""

    changes: list[Change] = field(default_factory=list)
    now: dict[str, Object] = field(default_factory=dict)
    revision: int = 0

    def add(self, revision: int, key: str, value: bytes | None) -> None:
        """Take down a change of the store."""
        before = self.now.get(key)
        after = None if value is None else json.loads(value)
        if after is None:
            self.now.pop(key, None)
        else:
            self.now[key] = after
        self.changes.append(Change(revision, key, before, after))
        self.revision = max(self.revision, revision)

    def told(self, selects: Selects, after: int, until: int) -> Iterator[tuple[str, str, int]]:
        """Yield type, key and revision of what a watcher must be told of the changes in (after, until]."""
        for change in self.changes:
            if not after < change.revision <= until:
                continue
            was = change.before is not None and selects(change.before)
            is_ = change.after is not None and selects(change.after)
            if was or is_:
                kind = "MODIFIED" if was and is_ else ("ADDED" if is_ else "DELETED")
                yield kind, change.key, change.revision

    def state(self, selects: Selects, revision: int) -> dict[str, int]:
        """Return what was there at a revision: each key with the revision of its last change."""
        found: dict[str, int] = {}
        for change in self.changes:
            if change.revision > revision:
                break
            if change.after is not None and selects(change.after):
                found[change.key] = change.revision
            else:
                found.pop(change.key, None)
        return found


@dataclass
class Segment:
    """What one watcher heard between two lists."""

    start: int
    listed: dict[str, int] | None = None
    """Each key with its resourceVersion, where the segment began with a list."""
    events: list[tuple[str, str, int]] = field(default_factory=list)
    reached: int = 0
    """The last resourceVersion heard of, bookmarks included."""


@dataclass
class Story:
    """All that one watcher heard."""

    name: str
    selects: Selects
    segments: list[Segment] = field(default_factory=list)
    resumed: int = 0
    """How often a watch was taken up again where it had broken."""

    @property
    def reached(self) -> int:
        """How far it got."""
        return self.segments[-1].reached if self.segments else 0


def problems(story: Story, history: History) -> list[str]:
    """Return what is wrong with a story; empty when nothing is."""
    found: list[str] = []
    for number, segment in enumerate(story.segments):
        where = f"{story.name}, segment {number} from {segment.start}"
        if segment.listed is not None:
            wanted = history.state(story.selects, segment.start)
            if segment.listed != wanted:
                found.append(f"{where}: the list was {segment.listed}, and should have been {wanted}")
        expected = list(history.told(story.selects, segment.start, segment.reached))
        if segment.events != expected:
            heard, should = set(segment.events), set(expected)
            missed, invented = sorted(should - heard, key=_by_revision), sorted(heard - should, key=_by_revision)
            how = "in another order, or twice" if not missed and not invented else ""
            found.append(f"{where} to {segment.reached}: missed {missed[:5]}, invented {invented[:5]} {how}")
        if number and segment.start < story.segments[number - 1].reached:
            found.append(f"{where}: it went back from {story.segments[number - 1].reached}")
    return found


def _by_revision(event: tuple[str, str, int]) -> int:
    return event[2]
