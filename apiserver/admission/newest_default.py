"""Which class an object gets that names none: the one marked as default, or the newest of several.

Two defaults are a mistake, most often made while one replaces the other, so the newer is meant (KEP-3333).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def newest_default(classes: Iterable[Any], annotations: Sequence[str]) -> Any:
    """Return the newest of `classes` that one of `annotations` marks as default, by name among equals; None if none."""
    marked = [one for one in classes if any(one.metadata.annotations.get(key) == "true" for key in annotations)]
    marked.sort(key=lambda one: one.metadata.name)
    # Timestamps of one format sort as text; `max` keeps the first among equals.
    return max(marked, key=lambda one: one.metadata.creation_timestamp, default=None)
