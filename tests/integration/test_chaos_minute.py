"""A minute of `steer chaos store`: one round of each of some faults, of a seed that never changes, must be clean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.chaos.schedule import BY_NAME
from tests.integration.store_process import ROOT

FAULTS = ("kill-leader", "kill-all", "rolling-restart", "flipped-bit", "force-snapshot")
AS_ROOT = (*FAULTS, "cut-leader", "torn-tails")
"""With namespaces of its own; full and failing disks have tests of their own (`test_store_disks.py`)."""


@pytest.mark.timeout(200)
def test_a_minute_of_faults_breaks_no_promise_and_each_fault_is_felt(tmp_path: Path):
    faults = AS_ROOT if os.geteuid() == 0 else FAULTS
    command = [sys.executable, "-m", "deploy.cli", "chaos", "store", "--seed", "7", "--rounds", str(len(faults))]
    command += [part for fault in faults for part in ("--fault", fault)]
    command += ["--keep", str(tmp_path / "kept"), "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-4000:]
    verdict = json.loads(done.stdout)["verdict"]
    assert verdict["is_clean"]
    assert set(verdict["by_fault"]) == set(faults)
    for name, seen in verdict["by_fault"].items():
        assert all(seen.get(str(effect), 0) >= 1 for effect in BY_NAME[name].effects), (name, seen)
