"""From probe results to a verdict, by thresholds. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """What one probe said."""

    is_success: bool
    message: str = ""
    is_known: bool = True
    """False when nothing was learned (the runtime did not answer); such results change nothing."""
    is_warning: bool = False
    """A success that somebody should look at."""


@dataclass(frozen=True, slots=True)
class Streak:
    """How many results in a row were the same, and what they have led to."""

    verdict: bool | None
    """None before the first verdict."""
    last: bool | None = None
    length: int = 0

    def add(self, is_success: bool, success_threshold: int, failure_threshold: int) -> Streak:
        """Return the streak with one more result; the verdict turns once enough in a row agree."""
        length = self.length + 1 if self.last is is_success else 1
        threshold = success_threshold if is_success else failure_threshold
        verdict = is_success if length >= max(1, threshold) else self.verdict
        return Streak(verdict, is_success, length)
