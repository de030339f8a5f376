"""Running `steer` as a user would, and reading what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class BenchFailed(Exception):
    """The measurement could not be taken; the message says why."""


def run(*arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 300.0) -> str:
    """Run a verb and return what it prints; raises BenchFailed with its own words."""
    command = [sys.executable, "-m", "deploy.cli", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"steer {' '.join(arguments)} took more than {timeout_s:.0f} s") from None
    if done.returncode:
        raise BenchFailed(f"steer {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def status(data_dir: Path | None) -> dict[str, Any]:
    """Return what `steer status -o json` says, also of a cluster with something wrong in it."""
    where = ["--data-dir", str(data_dir)] if data_dir else []
    command = [sys.executable, "-m", "deploy.cli", "status", "-o", "json", *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    try:
        found = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise BenchFailed(done.stderr.strip() or "steer status says nothing: is a cluster up?") from None
    assert isinstance(found, dict)
    return found
