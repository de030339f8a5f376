"""A store of ours and a real etcd of one member, to hold the one against the other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.integration.store_process import StoreProcess
from tests.integration.test_etcdctl import Etcd


@contextlib.contextmanager
def beside_etcd(directory: Path, *flags: str) -> Iterator[tuple[StoreProcess, Etcd]]:
    """Run both, ours with `flags` beside those that make it remember no more than an etcd does."""
    for name in ("ours", "theirs"):
        (directory / name).mkdir()
    ours = StoreProcess(directory / "ours", "--history", "0", *flags)
    theirs: Etcd | None = None
    try:
        ours.start()
        theirs = Etcd(directory / "theirs")
        yield ours, theirs
    finally:
        ours.kill()
        if theirs is not None:
            theirs.stop()
