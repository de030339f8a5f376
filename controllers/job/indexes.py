"""Indexes of pods as a Job's status writes them: `1,3-5,7`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from api.core.pod import Pod

INDEX = "batch.kubernetes.io/job-completion-index"


def parse(text: str | None, completions: int) -> set[int]:
    """Return the indexes below `completions` that `text` names; what can't be read is left out."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), min(int(last or first), completions - 1) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    """Return the shortest text that names these indexes; two in a row are named apart."""
    parts: list[str] = []
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    for first, last in runs:
        if last - first >= 2:
            parts.append(f"{first}-{last}")
        else:
            parts += [str(index) for index in range(first, last + 1)]
    return ",".join(parts)


def index_of(pod: Pod) -> int | None:
    """Return the number a pod was given, or None."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdecimal() else None
