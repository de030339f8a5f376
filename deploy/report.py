"""How what `steer` does is told to its user: a line for each step, or why it cannot be done."""

from __future__ import annotations

from collections.abc import Callable


class CannotDo(Exception):
    """What was asked cannot be done; the message says why, and what would be right."""


class BadInput(CannotDo):
    """What was asked is not put rightly, and could not be done in any state of things; the command exits with 2."""


Report = Callable[[str], None]
"""Takes one short line for each step."""
