"""Watches that are held open, and judged by the history that the store kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from api.resource import Resource
from apiserver.registry.codec import storage_prefix
from store.local import LocalStore
from store.mvcc.revision import Event
from tests.fuzz.objects import Plain
from tests.fuzz.wire import Connection, Request

WAIT_S: Final = 20.0
BEGUN_LATER_MAX: Final = 3
"""Writes that a watch from now on may have been overtaken by before the server began it."""
Heard = tuple[str, str, int]
"""What happened, to what (its key in the store), and the revision."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One change in the store."""

    key: str
    revision: int
    before: Plain | None
    after: Plain | None


class History:
    """Everything that was written under /registry/, from the beginning."""

    def __init__(self, store: LocalStore) -> None:
        self._watch = store.watch(b"/registry/", 1)
        self.all: list[Happened] = []
        self.revision = 0
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for batch in self._watch:
            for event in batch.events:
                self.all.append(_happened(event))
            self.revision = max(self.revision, int(batch.revision))

    async def reach(self, revision: int) -> None:
        """Wait until everything up to a revision is here."""
        async with asyncio.timeout(WAIT_S):
            while self.revision < revision:
                await self._watch.request_progress()
                await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Follow no more."""
        await self._watch.close()
        await self._task


def _happened(event: Event) -> Happened:
    before = _value(event.prev_kv.value) if event.prev_kv is not None else None
    after = None if event.is_delete else _value(event.kv.value)
    return Happened(event.kv.key.decode(), int(event.kv.mod_revision), before, after)


def _value(data: bytes) -> Plain | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("metadata"), dict) else None


@dataclass
class Held:
    """One watch and what it has heard."""

    resource: Resource[Any]
    namespace: str
    label: tuple[str, str] | None
    since: int | None
    """The resourceVersion it was begun at; None: with everything that is there, in events of their own."""
    begun: int
    """The store's revision when it was begun."""
    request: Request
    connection: Connection
    heard: list[Heard] = field(default_factory=list)
    problem: str = ""
    is_over: bool = False
    _has_heard: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def follow(self, chunks: AsyncIterator[bytes]) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen(chunks))

    async def _listen(self, chunks: AsyncIterator[bytes]) -> None:
        rest = b""
        try:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        except (OSError, asyncio.IncompleteReadError):
            pass
        except (ValueError, KeyError, TypeError) as error:
            self.problem = f"a line of it is no event: {error}"
        self.is_over = True
        self._has_heard.set()

    def _hear(self, event: Plain) -> None:
        self._has_heard.set()
        if event["type"] == "BOOKMARK":
            return
        if event["type"] == "ERROR":
            self.problem = f"it ended with {event['object'].get('message')}"
            return
        metadata = event["object"]["metadata"]
        prefix = storage_prefix(self.resource)
        key = (
            f"{prefix}{metadata['namespace']}/{metadata['name']}"
            if "namespace" in metadata
            else prefix + metadata["name"]
        )
        self.heard.append((event["type"], key, int(metadata["resourceVersion"])))

    @property
    def _prefix(self) -> str:
        return storage_prefix(self.resource) + (f"{self.namespace}/" if self.namespace else "")

    def expected(self, history: History, begun: int | None = None) -> list[Heard]:
        """Return what it should have heard by now, if the server began it at the revision `begun` (ours)."""
        prefix = self._prefix
        since = (begun or self.begun) if self.since is None else self.since
        present: dict[str, Heard] = {}
        found: list[Heard] = []
        for each in history.all:
            if not each.key.startswith(prefix):
                continue
            was, is_ = self._selects(each.before), self._selects(each.after)
            if each.revision <= since:
                if is_:
                    present[each.key] = ("ADDED", each.key, each.revision)
                else:
                    present.pop(each.key, None)
            elif was or is_:
                type_ = "MODIFIED" if was and is_ else "ADDED" if is_ else "DELETED"
                found.append((type_, each.key, each.revision))
        return [*(sorted(present.values(), key=lambda heard: heard[1]) if self.since is None else ()), *found]

    def _selects(self, value: Plain | None) -> bool:
        if value is None:
            return False
        if self.label is None:
            return True
        key, wanted = self.label
        return value["metadata"].get("labels", {}).get(key) == wanted

    async def judge(self, history: History) -> str | None:
        """Wait until it has heard as much as it should, and return what is wrong with that."""
        expected = self.expected(history)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while len(self.heard) < len(expected) and not self.is_over:
                    self._has_heard.clear()
                    await self._has_heard.wait()
        if self.problem:
            return f"watch-ended: {self.problem}"
        heard = self._sorted(self.begun)
        if heard == expected:
            return None
        if self.since is None:
            # The server itself writes, too (its Lease), and it may have begun the watch after such a write.
            later = [
                each.revision
                for each in history.all
                if each.revision > self.begun and each.key.startswith(self._prefix)
            ]
            if any(self._sorted(begun) == self.expected(history, begun) for begun in later[:BEGUN_LATER_MAX]):
                return None
        at = next(
            (i for i, pair in enumerate(zip(heard, expected, strict=False)) if pair[0] != pair[1]),
            min(len(heard), len(expected)),
        )
        what = f"{self.resource.plural} since {self.since} label {self.label}, event {at} of {len(expected)}"
        return f"watch-differs: {what}: heard {heard[at : at + 2]}, expected {expected[at : at + 2]}"

    def _sorted(self, begun: int) -> list[Heard]:
        """Return what was heard; what was there already is sorted, since its order is nobody's promise."""
        if self.since is not None:
            return list(self.heard)
        many = sum(1 for each in self.heard if each[2] <= begun and each[0] == "ADDED")
        return [*sorted(self.heard[:many], key=lambda each: each[1]), *self.heard[many:]]

    def close(self) -> None:
        """Hang up."""
        self.connection.close()
        if self._task is not None:
            self._task.cancel()
