"""Three real etcd members on loopback, with TLS and client certificates, as a store that somebody else runs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.chaos.arena import Loopback
from lab.chaos.cluster import Cluster, Etcd

MEMBERS = 3


@contextlib.contextmanager
def etcd_cluster(directory: Path) -> Iterator[list[str]]:
    """Run one in a directory of its own; yields the flags of `steer up` for it."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed: apt-get install etcd-server")
    cluster = Cluster.found(Etcd(), Loopback(directory, MEMBERS), directory, MEMBERS)
    for member in cluster.members:
        cluster.start(member)
    try:
        endpoints = ",".join(f"https://{endpoint}" for endpoint in cluster.endpoints)
        who = cluster.identity
        files = ["--store-cert", str(who.cert), "--store-key", str(who.key), "--store-ca", str(who.ca)]
        yield ["--store-endpoints", endpoints, *files]
    finally:
        for member in cluster.members:
            cluster.kill(member)
