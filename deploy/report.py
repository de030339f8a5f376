"""How what `steer` does is told to its user: a line for each step, or why it cannot be done."""

from __future__ import annotations

from collections.abc import Callable


class CannotDo(Exception):
    """What was asked cannot be done; the message says why, and what would be right."""


Report = Callable[[str], None]
"""Takes one short line for each step."""
