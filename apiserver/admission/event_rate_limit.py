"""EventRateLimit: so many events a second and no more, of the server, a namespace, a user, or a source about an object.

Each has a bucket of `burst` tokens that fills by `qps` a second; an event that finds it empty is refused with 429.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.core import event
from api.errors import TooManyRequests, as_one
from apiserver.request import AdmissionRequest
from component.clock import Clock

KEPT_DEFAULT: Final = 4096


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit; every event is held against all of them."""

    type: str
    """Server, Namespace, User, SourceAndObject."""
    qps: int
    burst: int
    kept: int = KEPT_DEFAULT
    """How many buckets are remembered: the one unused for longest is full again."""


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class _Limiter:
    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def refusal(self, request: AdmissionRequest, now: float) -> str:
        """Take a token; returns why there is none, empty if there was one."""
        limit, key = self._limit, _KEYS[self._limit.type](request)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(limit.burst, now)
            if len(self._buckets) > limit.kept:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.tokens = min(limit.burst, bucket.tokens + (now - bucket.at) * limit.qps)
        bucket.at = now
        if bucket.tokens < 1:
            return f"limit reached on type {limit.type} for key {key}"
        bucket.tokens -= 1
        return ""


class EventRateLimit:
    """The plugin."""

    def __init__(self, limits: Sequence[Limit], clock: Clock) -> None:
        self._limiters = [_Limiter(limit) for limit in limits]
        self._clock = clock

    async def validate(self, request: AdmissionRequest) -> None:
        """Hold an event against all limits.

        Raises:
            TooManyRequests: naming each that is reached.
        """
        if request.operation not in ("CREATE", "UPDATE") or request.resource is not event.RESOURCE or request.dry_run:
            return
        now = self._clock.monotonic()
        reached = [why for limiter in self._limiters if (why := limiter.refusal(request, now))]
        if reached:
            raise TooManyRequests(f"Too many requests: {as_one(reached)}")


def _source_and_object(request: AdmissionRequest) -> str:
    told: Any = request.object
    about = told.involved_object
    return "".join((told.source.component, told.source.host, about.kind, about.namespace, about.name, about.uid,
                    about.api_version))  # fmt: skip


_KEYS: Final[dict[str, Callable[[AdmissionRequest], str]]] = {
    "Server": lambda request: "",
    "Namespace": lambda request: request.namespace,
    "User": lambda request: request.user.name,
    "SourceAndObject": _source_and_object,
}
TYPES: Final = tuple(_KEYS)
