"""`steer-apiserver` as a process over a real `steer-store`: started, killed, started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.core import configmap as configmaps
from api.errors import AlreadyExists, ApiError
from client.transport import GrpcTransport
from client.verbs import Client
from component.serve import Identity
from deploy.pki import Pki
from tests import builders
from tests.integration.store_process import ROOT, StoreProcess
from tests.ports import free_port

pytestmark = pytest.mark.integration


class ApiserverProcess:
    """One apiserver; `kill` and `start` again as often as needed."""

    def __init__(
        self, directory: Path, store_endpoints: str, store_identity: Identity, name: str = "apiserver"
    ) -> None:
        self._log = directory / f"{name}.log"
        pki = Pki(directory / "cluster-pki")
        pki.ensure_control_plane([], ["m1"])
        self._at = pki.directory / "cluster"
        self.rest_port, self.grpc_port = free_port(), free_port()
        flags = {
            "store-endpoints": store_endpoints,
            "store-cert": store_identity.cert,
            "store-key": store_identity.key,
            "store-ca": store_identity.ca,
            "tls-cert": self._at / "apiserver.crt",
            "tls-key": self._at / "apiserver.key",
            "client-ca": self._at / "ca.crt",
            "service-account-key": pki.service_account_key,
            "bind-address": "127.0.0.1",
            "secure-port": self.rest_port,
            "grpc-port": self.grpc_port,
        }
        self.command = [sys.executable, "-m", "apiserver", *(f"--{name}={value}" for name, value in flags.items())]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log)

    async def wait_ready(self) -> None:
        began = time.monotonic()
        while b": ready" not in self._log.read_bytes():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() - began > 120:
                self.process.kill()
                raise AssertionError(f"the apiserver did not start:\n{self._log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(10)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.rest_port}"

    @property
    def grpc_endpoint(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def identity(self) -> Identity:
        """Return the administrator's."""
        return Identity(self._at / "admin.crt", self._at / "admin.key", self._at / "ca.crt")

    def client(self) -> Client:
        return Client(GrpcTransport([self.grpc_endpoint], self.identity()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    store.start()
    yield store
    store.kill()


@pytest.fixture
def apiserver(tmp_path: Path, store: StoreProcess) -> Iterator[ApiserverProcess]:
    apiserver = ApiserverProcess(tmp_path, store.endpoint, store.client)
    apiserver.start()
    yield apiserver
    with contextlib.suppress(ProcessLookupError):
        apiserver.end(signal.SIGKILL)


async def until_longer(items: list[str], length: int) -> None:
    for _ in range(2000):
        if len(items) >= length:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"stuck at {len(items)} of {length}")


async def test_nothing_acknowledged_is_lost_when_apiserver_and_store_are_killed(
    apiserver: ApiserverProcess, store: StoreProcess
):
    await apiserver.wait_ready()
    client = apiserver.client()
    acknowledged: list[str] = []

    async def write() -> None:
        number = 0
        while True:
            name = f"c{number}"
            try:
                await client.create(configmaps.RESOURCE, builders.configmap(name, k=str(number)))
            except AlreadyExists:
                pass  # An attempt whose outcome was not known had succeeded.
            except ApiError:
                await asyncio.sleep(0.05)
                continue
            acknowledged.append(name)
            number += 1

    writing = asyncio.create_task(write())
    try:
        for victim in ("apiserver", "store", "apiserver"):
            reached = len(acknowledged) + 50
            await until_longer(acknowledged, reached)
            if victim == "apiserver":
                apiserver.end(signal.SIGKILL)
                apiserver.start()
                await apiserver.wait_ready()
            else:
                store.kill()
                await asyncio.to_thread(store.start)
        reached = len(acknowledged) + 20
        await until_longer(acknowledged, reached)
    finally:
        writing.cancel()
        await asyncio.wait([writing])
    listed = {one.metadata.name for one in (await client.list(configmaps.RESOURCE, "default")).items}
    await client.close()
    assert set(acknowledged) <= listed


async def test_it_stops_when_asked_and_says_so_when_its_port_is_taken(apiserver: ApiserverProcess):
    await apiserver.wait_ready()
    second = await asyncio.to_thread(
        subprocess.run, apiserver.command, cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert second.returncode == 1
    last = second.stderr.strip().splitlines()[-1]
    assert last.startswith("steer-apiserver: ") and "address already in use" in last and "--secure-port" in last
    began = time.monotonic()
    assert apiserver.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 3


def test_a_missing_setting_is_one_clear_line():
    done = subprocess.run([sys.executable, "-m", "apiserver"], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert done.stderr == (
        "steer-apiserver: --store-endpoints is required: the store's members, HOST:PORT, comma-separated (see --help)\n"
    )
