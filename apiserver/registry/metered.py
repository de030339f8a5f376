"""A store whose requests are counted and timed, by what they do and to which kind of object."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from apiserver.registry.layer import Ask, StoreLayer
from component.metrics import Spread, Tally
from store.client import Compacted, Conflict, FutureRevision, Store

T = TypeVar("T")
_NOT_COUNTED: Final = ("compact", "status")
"""What is not about objects."""


class MeteredStore(StoreLayer):
    """`store.client.Store` over another one.

    Args:
        inner: does the work.
        durations: how long it took, by operation and kind.
        requests: how many there were.
        errors: how many of them failed; what was refused because an object had changed counts as done.
        monotonic: the time.
    """

    def __init__(
        self,
        inner: Store,
        durations: Spread,
        requests: Tally,
        errors: Tally,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(inner)
        self._durations = durations
        self._requests = requests
        self._errors = errors
        self._monotonic = monotonic

    async def around(self, operation: str, key: bytes, ask: Ask[T]) -> T:
        """Do a request, and note how it went."""
        if operation in _NOT_COUNTED:
            return await ask()
        labels = (operation, _kind(key))
        began = self._monotonic()
        try:
            return await ask()
        except (Compacted, Conflict, FutureRevision):
            raise
        except Exception:
            self._errors.add(labels)
            raise
        finally:
            self._requests.add(labels)
            self._durations.of(labels).observe(self._monotonic() - began)


def _kind(key: bytes) -> str:
    """Return the kind of object that a key is about, as metrics name it: `pods`, `deployments.apps`."""
    parts = key.split(b"/", 4)
    if len(parts) < 4:
        return "other"
    group, plural = parts[2].decode(errors="replace"), parts[3].decode(errors="replace")
    return plural if group == "core" else f"{plural}.{group}"
