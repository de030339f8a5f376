"""Makes the gRPC stubs from `proto/`: `python -m deploy.stubs`, or `--check` that they are what `proto/` says."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def generate(into: Path) -> None:
    """Write a `_pb2.py`, `_pb2.pyi` and `_pb2_grpc.py` for each file below `proto/`."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *sources], cwd=ROOT, check=True)


def stale(fresh: Path) -> list[str]:
    """Return the stubs that differ from those just made in `fresh`."""
    made = {path.relative_to(fresh): path for path in fresh.rglob("*_pb2*.py*")}
    kept = {path.relative_to(ROOT): path for path in (ROOT / "proto").rglob("*_pb2*.py*") if path.suffix != ".pyc"}
    return sorted(
        str(name)
        for name in made.keys() | kept.keys()
        if name not in made or name not in kept or made[name].read_bytes() != kept[name].read_bytes()
    )


def main() -> int:
    """Generate in place, or check."""
    if "--check" not in sys.argv[1:]:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        differing = stale(Path(fresh))
    for name in differing:
        print(f"{name} is not what proto/ says: run `make proto`", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
