"""Verbs as lists of steps, each of which looks before it acts.

A `Step` says whether there is something to do, and does it. So a verb that failed half way goes on where it stopped
when it is run again, one that is run twice changes nothing, and `--dry-run` is the same list with nothing done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deploy.report import CannotDo, Report


@dataclass(frozen=True, slots=True)
class Step:
    """One thing a verb does."""

    title: str
    """What is done, such as `issue certificates`."""
    is_done: Callable[[], bool]
    """Whether nothing is left to do; asked right before the step's turn, when all before it are done."""
    do: Callable[[], object]
    """Does it; safe to call again after a failure. Raises CannotDo."""


def carry_out(steps: Iterable[Step], report: Report) -> int:
    """Do what is not done yet; return how many steps there were to do.

    Raises:
        CannotDo: a step failed; the steps before it stay done.
    """
    count = 0
    for step in steps:
        if step.is_done():
            continue
        report(step.title)
        try:
            step.do()
        except CannotDo:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise CannotDo(f"could not {step.title}: {where}{error.strerror or error}") from error
        count += 1
    return count


def never() -> bool:
    """Answer `is_done` for a step that is cheap to repeat and decides by itself what there is to do."""
    return False


def show(steps: Iterable[Step]) -> list[str]:
    """Return a line for each step: what would be done, and what is done already.

    A later step may wrongly look undone, since those before it have not been done; it would look again at its turn.
    """
    lines = []
    for step in steps:
        try:
            is_done = step.is_done()
        except (OSError, CannotDo):
            is_done = False  # what it looks at is not there yet
        lines.append(f"{'done already' if is_done else 'would':>12}  {step.title}")
    return lines
