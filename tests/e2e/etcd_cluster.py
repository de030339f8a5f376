"""Three real etcd members on loopback, with TLS and client certificates, as a store that somebody else runs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority


@contextlib.contextmanager
def etcd_cluster(directory: Path, members: int = 3) -> Iterator[list[str]]:
    """Run one; yields the flags of `steer up` for it."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed: apt-get install etcd-server")
    authority = Authority(directory / "pki", "etcd-ca")
    server, client = authority.issue("etcd-server"), authority.issue("steer-apiserver")
    names = [f"m{number}" for number in range(1, members + 1)]
    ports = _free_ports(2 * members)
    client_url = {name: f"https://127.0.0.1:{ports[2 * place]}" for place, name in enumerate(names)}
    peer_url = {name: f"https://127.0.0.1:{ports[2 * place + 1]}" for place, name in enumerate(names)}
    tls = ["--cert-file", server.cert, "--key-file", server.key, "--trusted-ca-file", server.ca, "--client-cert-auth"]
    peer_tls = ["--peer-cert-file", server.cert, "--peer-key-file", server.key, "--peer-trusted-ca-file", server.ca]
    running = []
    try:
        for name in names:
            command = [
                "etcd", "--name", name, "--data-dir", directory / name, "--logger", "zap",
                "--listen-client-urls", client_url[name], "--advertise-client-urls", client_url[name],
                "--listen-peer-urls", peer_url[name], "--initial-advertise-peer-urls", peer_url[name],
                "--initial-cluster", ",".join(f"{each}={peer_url[each]}" for each in names),
                *tls, *peer_tls, "--peer-client-cert-auth",
            ]  # fmt: skip
            log = (directory / f"{name}.log").open("wb")
            arguments = [str(part) for part in command]
            running.append(subprocess.Popen(arguments, stdout=log, stderr=log, start_new_session=True))
            log.close()
        flags = ["--store-endpoints", ",".join(client_url.values())]
        yield [*flags, "--store-cert", str(client.cert), "--store-key", str(client.key), "--store-ca", str(client.ca)]
    finally:
        for process in running:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports below those that the kernel hands out by itself."""
    found: list[int] = []
    for port in range(23_790, 32_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")
