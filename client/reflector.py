"""Follows one kind: list it, then watch from there, for ever.

A watch that ends is resumed from the last version seen, bookmarks included; only when the server no longer has the
events (Expired) is the kind listed again. A list is always linearizable: a process that restarts must not act on
an older state than it acted on before (kubernetes#59848). What comes is handed to a `Sink`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from api.errors import ApiError, Expired, Gone, NotReached
from api.resource import Resource
from api.schema import Struct
from client.backoff import RECONNECT, REDIAL
from client.verbs import Client, Event, EventType, ObjectList
from component.clock import Clock

T = TypeVar("T", bound=Struct)
T_contra = TypeVar("T_contra", bound=Struct, contravariant=True)

SILENCE_S_MAX = 300.0
"""A watch that says nothing for so long, not even a bookmark, is opened again."""

log = logging.getLogger(__name__)


class Sink(Protocol[T]):
    """Where a reflector's findings go. Calls are synchronous and must not raise."""

    def replace(self, listed: ObjectList[T]) -> None:
        """Take the whole state as it was at `listed.resource_version`."""
        ...

    def apply(self, event: Event[T]) -> None:
        """Take one change, or a bookmark."""
        ...

    def connected(self) -> None:
        """Learn that a watch is open from now on, after a time in which changes may have gone unheard."""
        ...


class Reflector(Generic[T]):
    """Keeps a sink up to date with one kind, or with a selection of it."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        sink: Sink[T],
        *,
        clock: Clock,
        rng: random.Random,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self._client = client
        self._resource = resource
        self._sink = sink
        self._clock = clock
        self._rng = rng
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._relist_wanted = asyncio.Event()
        self.version = ""
        """The resourceVersion reached; empty until the first list, and again when one is due."""

    def relist(self) -> None:
        """List again at once, whatever the watch says. For those who doubt what they see."""
        self._relist_wanted.set()

    async def run(self) -> None:
        """Follow until cancelled. Failures are logged and retried, for ever."""
        failures = expirations = 0
        while True:
            backoff = RECONNECT
            try:
                if not self.version:
                    await self._list()
                async for _ in self._watch():
                    failures = expirations = 0
                failures += 1
            except (Expired, Gone):
                log.info("listing again: the watch's version is too old", extra={"resource": str(self._resource)})
                self.version = ""
                # Who says so is well and can be asked at once, unless the answer is always the same.
                expirations += 1
                failures = expirations
            except (ApiError, msgspec.MsgspecError, OSError) as error:
                failures += 1
                level = logging.WARNING if failures in (3, 30, 300) else logging.DEBUG
                log.log(level, "cannot follow", extra={"resource": str(self._resource), "error": repr(error)})
                if isinstance(error, NotReached):
                    backoff = REDIAL
            except Exception:
                # Half of something may have been taken in: the whole is asked for.
                log.exception("broke; listing again", extra={"resource": str(self._resource)})
                self.version = ""
                failures += 1
            if self._relist_wanted.is_set():
                self.version = ""
                continue
            await self._clock.sleep(backoff.delay_s(failures, self._rng))

    async def _list(self) -> None:
        self._relist_wanted.clear()
        listed = await self._client.list(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        self._sink.replace(listed)
        self.version = listed.resource_version

    async def _watch(self) -> AsyncIterator[None]:
        """Yield after each batch; return when the watch ends, is silent for too long, or a list is wanted."""
        batches: Any = self._client.watch(
            self._resource,
            self._namespace,
            resource_version=self.version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        self._sink.connected()
        wanted = asyncio.ensure_future(self._relist_wanted.wait())
        try:
            while True:
                following = asyncio.ensure_future(anext(batches, None))
                try:
                    done, _ = await asyncio.wait(
                        {following, wanted}, timeout=SILENCE_S_MAX, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    if not following.done():
                        following.cancel()
                        with contextlib.suppress(asyncio.CancelledError, ApiError):
                            await following
                    elif not following.cancelled():
                        following.exception()  # Looked at, though this watch may be stopped before it is told below.
                if following not in done:
                    return
                batch: Sequence[Event[T]] | None = following.result()
                if batch is None:
                    return
                for event in batch:
                    if event.type is EventType.BOOKMARK or event.object is not None:
                        self._sink.apply(event)
                    self.version = event.resource_version or self.version
                yield
        finally:
            wanted.cancel()
            await batches.aclose()
