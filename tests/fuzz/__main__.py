"""The command: fuzz for some minutes, go on another time, or send a saved case again."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz import cases
from tests.fuzz.arena import arena, certificates
from tests.fuzz.episode import Episode
from tests.fuzz.session import Failure, Session

STEPS: Final = 400


@dataclass
class Run:
    """What a run has come to, over all its sittings."""

    seed: int
    episodes: int = 0
    minutes: float = 0.0
    cases: dict[str, int] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    """The file of each failure, by signature."""

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1))
        new.replace(path)

    @classmethod
    def load(cls, path: Path) -> Run:
        """Undo `save`."""
        return cls(**json.loads(path.read_text()))


async def episode(
    pki: cases.Pki, seed: str, steps: int, seconds: float | None
) -> tuple[Counter[str], dict[str, Failure]]:
    """Run one episode on a server of its own."""
    tally: Counter[str] = Counter()
    async with arena(pki, seed) as made:
        session = Session(made, tally)
        await session.begin()
        await Episode(session, Random(seed)).run(steps, seconds)
        session.close()
    return tally, session.failures


async def fuzz(run: Run, minutes: float, resume: Path | None, saved_at: Path, only: int | None = None) -> bool:
    """Run episodes until the time is up; return whether nothing new was found."""
    is_clean = True
    begun, minutes_before = time.monotonic(), run.minutes
    with tempfile.TemporaryDirectory(prefix="steer-fuzz-") as directory:
        pki = certificates(Path(directory))
        while (left := minutes * 60 - (time.monotonic() - begun)) > 0:
            seed = f"{run.seed}:{run.episodes if only is None else only}"
            tally, failures = await episode(pki, seed, STEPS, left)
            run.cases = dict(Counter(run.cases) + tally)
            for signature, failure in failures.items():
                if signature in run.found:
                    continue
                is_clean = False
                small = await cases.smallest(pki, failure)
                path = cases.save(saved_at, len(run.found) + 1, failure, small or failure.requests, seed)
                run.found[signature] = str(path)
                kept = f"{len(small)} requests" if small else f"not seen again; all {len(failure.requests)}"
                first, *_, last = failure.text.splitlines()
                print(f"FOUND {first[:300]} | {last.strip()} | {path} ({kept})", flush=True)
            run.episodes += 1
            run.minutes = minutes_before + (time.monotonic() - begun) / 60
            if resume is not None:
                run.save(resume)
            if only is not None:
                break
    return is_clean


def main() -> int:
    """Return 0 when nothing was found, 1 when something was."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="begin nothing after so long")
    parser.add_argument("--seed", type=int, default=1, help="repeats what is sent")
    parser.add_argument("--resume", type=Path, help="file of a run: its episodes and figures add up over sittings")
    parser.add_argument("--cases", type=Path, default=Path("fuzz-cases"), help="directory for what is found")
    parser.add_argument("--episode", type=int, help="only this one")
    parser.add_argument("--replay", type=Path, help="send a saved case again")
    asked = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger().addHandler(logging.NullHandler())
    if asked.replay is not None:
        return _replay(asked.replay)
    if asked.resume is not None:
        asked.resume.parent.mkdir(parents=True, exist_ok=True)
    run = Run(asked.seed)
    if asked.resume is not None and asked.resume.exists():
        run = Run.load(asked.resume)
    is_clean = asyncio.run(fuzz(run, asked.minutes, asked.resume, asked.cases, asked.episode))
    print(f"{run.episodes} episodes, {run.minutes:.1f} minutes, {len(run.found)} failures in all")
    for kind, count in sorted(run.cases.items()):
        print(f"  {count:8} {kind}")
    return 0 if is_clean else 1


def _replay(path: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="steer-fuzz-") as directory:
        failures = asyncio.run(cases.replay(certificates(Path(directory)), cases.load(path)))
    for failure in failures.values():
        print(failure.text)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
