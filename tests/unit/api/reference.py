"""Where published facts of Kubernetes 1.32 lie, if they are at hand: STEERSMAN_REFERENCE_DIR.

The tests that read them compare our declarations with the wire as it is; they skip when it is not set.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def load(name: str) -> Any:
    """Return a reference file's JSON, or skip the test."""
    folder = os.environ.get("STEERSMAN_REFERENCE_DIR", "")
    path = Path(folder) / name
    if not folder or not path.exists():
        pytest.skip(f"set STEERSMAN_REFERENCE_DIR to a folder that holds {name} to compare with it")
    return json.loads(path.read_text())
