"""Admission, timed: how long each round of a write took, and whether it ended in a refusal."""

from __future__ import annotations

from collections.abc import Awaitable

from apiserver.request import AdmissionPlugin, AdmissionRequest
from component.clock import Clock
from component.metrics import Spread


class MeteredAdmission:
    """`AdmissionPlugin` over another one.

    Args:
        inner: admits and validates.
        durations: by operation, whether it was refused, and round (`admit`, `validate`).
        clock: for how long.
    """

    def __init__(self, inner: AdmissionPlugin, durations: Spread, clock: Clock) -> None:
        self._inner = inner
        self._durations = durations
        self._clock = clock

    async def admit(self, request: AdmissionRequest) -> None:
        """Let the object be changed."""
        await self._timed("admit", request, self._inner.admit(request))

    async def validate(self, request: AdmissionRequest) -> None:
        """Have the object judged."""
        await self._timed("validate", request, self._inner.validate(request))

    async def _timed(self, kind: str, request: AdmissionRequest, work: Awaitable[None]) -> None:
        began = self._clock.monotonic()
        is_refused = "true"
        try:
            await work
            is_refused = "false"
        finally:
            took = self._clock.monotonic() - began
            self._durations.of((request.operation, is_refused, kind)).observe(took)
