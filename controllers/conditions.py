"""Conditions in a status: one of each type, with the time at which its answer last changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from api import timestamps

T = TypeVar("T", bound=msgspec.Struct)


def with_condition(conditions: Sequence[T], wanted: T, now: float) -> list[T]:
    """Return `conditions` with `wanted` in place of the one of its type, or behind them; it gets the time it needs."""
    new: Any = wanted
    known: Any = next((one for one in conditions if getattr(one, "type", "") == new.type), None)
    same = known is not None and known.status == new.status
    since = known.last_transition_time if same else timestamps.render(now)
    new = msgspec.structs.replace(new, last_transition_time=since)
    if known is None:
        return [*conditions, new]
    return [new if one is known else one for one in conditions]
