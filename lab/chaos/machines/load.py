"""The workload: registers written and read over REST, objects made with kubectl, watches, and a Service's traffic.

Everything is recorded as `lab.chaos.history` defines it, with a ConfigMap as key and its data as value: what an answer
does not say is UNKNOWN, and nothing is ever tried again behind the record's back. Calls go through a balancer on this
box, as a user's kubectl would from a machine outside the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from deploy import kubeconfig
from deploy.report import CannotDo
from lab.chaos.history import Call, Event, History, Kind, Outcome, Watched
from lab.chaos.machines.site import Site
from lab.chaos.machines.traffic import Traffic

NAMESPACE = "chaos"
REGISTERS = 4
CLIENTS = 3
PAUSE_S = (0.02, 0.12)
KUBECTL = 100
"""The client's number in the record."""
KUBECTL_EVERY_S = 1.0
ANSWER_WITHIN_S = 6.0
BALANCER_PORTS = range(25040, 25140)
"""Where a balancer looks for free ports: runs on several labs go on side by side."""
_REFUSED = frozenset({400, 401, 403, 404, 409, 422, 429})


class Balancer:
    """A `steer-balancer` of our own, through which this box reaches whichever API server is well."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> str:
        """Start it; return its address."""
        port, health_port = _free_ports(2)
        listen, health = f"127.0.0.1:{port}", f"127.0.0.1:{health_port}"
        with (self._site.directory / "balancer.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "balancer", "--backends", ",".join(self._site.endpoints),
                "--ca", str(self._site.admin_identity.ca), "--listen", listen, "--health", health,
                stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(100):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return listen
            await asyncio.sleep(0.1)
        raise CannotDo(f"the balancer does not start: see {self._site.directory}/balancer.log")

    async def __aexit__(self, *_: object) -> None:
        """Stop it."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()


class Load:
    """The workload of one round."""

    def __init__(self, site: Site, address: str, number: int, rng: random.Random) -> None:
        self._site = site
        self._address = address
        self._round = f"r{number:04d}"
        self._rng = rng
        self.has_started = False
        self.traffic: Traffic
        self._is_connected = False
        self.registers = [f"{self._round}-reg-{index}" for index in range(REGISTERS)]
        self.history = History()
        self.ledger: list[Call] = []
        """Objects that are made once and never changed: by REST and by kubectl."""
        self.errors: dict[str, int] = {}
        self._counter = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._watched: Watched | None = None
        self._watching: asyncio.Task[None] | None = None
        self._fence = 0
        self._fenced = asyncio.Event()
        self.on_call: Callable[[Call], None] = lambda call: None

    # -- its life

    async def start(self) -> None:
        """Make the registers, begin to watch them, and start all clients."""
        tls = ssl.create_default_context(cafile=str(self._site.admin_identity.ca))
        tls.load_cert_chain(self._site.admin_identity.cert, self._site.admin_identity.key)
        tls.check_hostname = False  # the balancer's address is in no certificate; the CA vouches
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S, sock_connect=ANSWER_WITHIN_S)
        self._http = aiohttp.ClientSession(
            f"https://{self._address}", connector=aiohttp.TCPConnector(ssl=tls, force_close=False), timeout=timeout
        )
        self._is_connected = True
        self.traffic = Traffic(self._site, self._http)
        await self._make_namespace()
        await self._delete_all()  # a sitting that was cut short may have left this round's objects
        version = await self._list_version()
        self._watched = Watched("balancer", version + 1)
        self.history.watched.append(self._watched)
        self._watching = asyncio.create_task(self._watch(self._watched, version))
        for key in self.registers:
            await self._must(self._write(-1, key, create=True))
        for client in range(CLIENTS):
            self._tasks.append(asyncio.create_task(self._write_and_read(client)))
        self._tasks.append(asyncio.create_task(self._make_by_kubectl()))
        self._tasks += await self.traffic.start()
        self.has_started = True

    async def stop(self) -> None:
        """Stop writing; the watch goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def finish(self, within_s: float) -> None:
        """Read every register once more, write a last time, and wait until the watch has seen that."""
        for key in self.registers:
            await self._must(self._read(-1, key))
        fence = Call(-1, "balancer", Kind.PUT, self.registers[0], time.monotonic(), self._value())
        await self._must(self._put(fence))
        self._fence = fence.revision
        self._note_fence()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._fenced.wait()

    async def close(self) -> None:
        """End everything and delete what the round made."""
        await self.stop()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._is_connected:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                await self._delete_all()
            await self._http.close()

    @property
    def fence(self) -> int:
        """The revision of the last write."""
        return self._fence

    async def stored(self) -> dict[str, tuple[str, int, int]]:
        """Return the ledger's objects as they are now: value, version (1: nobody changes them), revision."""
        async with self._http.get(self._path(), params={"labelSelector": f"round={self._round},kind=ledger"}) as answer:
            answer.raise_for_status()
            items = (await answer.json())["items"]
        return {
            item["metadata"]["name"]: (item["data"]["v"], 1, int(item["metadata"]["resourceVersion"])) for item in items
        }

    # -- REST

    def _path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/configmaps" + (f"/{name}" if name else "")

    def _value(self) -> str:
        self._counter += 1
        return f"{self._round}-{self._counter}"

    def _object(self, name: str, value: str, kind: str) -> dict[str, Any]:
        labels = {"round": self._round, "kind": kind}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "data": {"v": value},
        }

    async def _make_namespace(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        async with self._http.post("/api/v1/namespaces", json=body) as answer:
            if answer.status not in (201, 409):
                answer.raise_for_status()

    async def _delete_all(self) -> None:
        async with self._http.delete(self._path(), params={"labelSelector": f"round={self._round}"}) as answer:
            answer.raise_for_status()

    async def _list_version(self) -> int:
        async with self._http.get(self._path(), params={"limit": "1"}) as answer:
            answer.raise_for_status()
            return int((await answer.json())["metadata"]["resourceVersion"])

    async def _must(self, making: Any) -> None:
        call: Call = await making
        if call.outcome is not Outcome.OK:
            raise RuntimeError(f"the cluster is well and does not answer: {call.describe()}")

    async def _write_and_read(self, client: int) -> None:
        rng = random.Random(self._rng.getrandbits(48))
        while True:
            draw = rng.random()
            key = rng.choice(self.registers)
            if draw < 0.45:
                await self._write(client, key)
            elif draw < 0.8:
                await self._read(client, key)
            else:
                await self._make(client)
            await asyncio.sleep(rng.uniform(*PAUSE_S))

    async def _write(self, client: int, key: str, *, create: bool = False) -> Call:
        call = Call(client, "balancer", Kind.PUT, key, time.monotonic(), self._value())
        self.history.calls.append(call)
        return await self._put(call, create=create, record=False)

    async def _put(self, call: Call, *, create: bool = False, record: bool = True) -> Call:
        if record:
            self.history.calls.append(call)
        assert call.argument is not None
        body = self._object(call.key, call.argument, "register")
        asking = self._http.post(self._path(), json=body) if create else self._http.put(self._path(call.key), json=body)
        return await self._answered(call, asking)

    async def _make(self, client: int) -> Call:
        value = self._value()
        call = Call(client, "balancer", Kind.PUT, f"{value}-once", time.monotonic(), value)
        self.ledger.append(call)
        return await self._answered(call, self._http.post(self._path(), json=self._object(call.key, value, "ledger")))

    async def _read(self, client: int, key: str) -> Call:
        call = Call(client, "balancer", Kind.GET, key, time.monotonic())
        self.history.calls.append(call)
        return await self._answered(call, self._http.get(self._path(key)))

    async def _answered(self, call: Call, asking: Any) -> Call:
        try:
            async with asking as answer:
                body = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._note(call, type(error).__name__)
            return call
        call.returned = time.monotonic()
        if answer.status < 300:
            call.outcome = Outcome.OK
            if call.kind is Kind.GET:
                call.value = body["data"]["v"]
            else:
                call.revision = int(body["metadata"]["resourceVersion"])
        else:
            # 5xx says that no answer came from the store: what was asked for may have happened.
            call.outcome = Outcome.FAILED if answer.status in _REFUSED else Outcome.UNKNOWN
            self._note(call, f"{answer.status} {body.get('message', '')[:120]}")
            if call.outcome is Outcome.UNKNOWN:
                call.returned = float("inf")
        self.on_call(call)
        return call

    def _note(self, call: Call, error: str) -> None:
        call.error = error
        if call.kind is Kind.GET:
            call.outcome = Outcome.FAILED  # what is not answered was not read
        sort = error.split(" ")[0]
        self.errors[sort] = self.errors.get(sort, 0) + 1
        self.on_call(call)

    # -- kubectl

    async def _make_by_kubectl(self) -> None:
        path = self._site.directory / "kubeconfig"
        identity = self._site.admin_identity
        config = kubeconfig.build(f"https://{self._address}", identity.ca, identity.cert, identity.key)
        config["clusters"][0]["cluster"]["tls-server-name"] = "kubernetes"
        kubeconfig.write(path, config)
        while True:
            value = self._value()
            call = Call(KUBECTL, "kubectl", Kind.PUT, f"{value}-kubectl", time.monotonic(), value)
            self.ledger.append(call)
            process = await asyncio.create_subprocess_exec(
                "kubectl", "--kubeconfig", str(path), "create", "-f", "-", f"--request-timeout={ANSWER_WITHIN_S:.0f}s",
                "-o", "jsonpath={.metadata.resourceVersion}", "--validate=false",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                body = json.dumps(self._object(call.key, value, "ledger")).encode()
                out, err = await process.communicate(body)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode == 0 and out.strip().isdigit():
                call.returned, call.outcome, call.revision = time.monotonic(), Outcome.OK, int(out)
                self.on_call(call)
            else:
                self._note(call, f"kubectl {err.decode(errors='replace').strip()[:120]}")
            await asyncio.sleep(max(0.0, KUBECTL_EVERY_S - (time.monotonic() - call.invoked)))

    # -- the watch

    async def _watch(self, watched: Watched, version: int) -> None:
        forever = aiohttp.ClientTimeout(total=None, sock_read=90, sock_connect=ANSWER_WITHIN_S)
        selector = f"round={self._round},kind=register"
        while True:
            parameters = {
                "watch": "1", "resourceVersion": str(version), "labelSelector": selector, "allowWatchBookmarks": "true",
            }  # fmt: skip
            try:
                async with self._http.get(self._path(), params=parameters, timeout=forever) as answer:
                    if answer.status == 410:
                        raise _TooOld
                    answer.raise_for_status()
                    async for line in answer.content:
                        version = self._take(watched, json.loads(line), version)
            except _TooOld:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    listed = await self._list_version()
                    watched.gaps.append((version + 1, listed))
                    version = listed
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                pass
            watched.resumptions += 1
            await asyncio.sleep(0.1)

    def _take(self, watched: Watched, line: dict[str, Any], version: int) -> int:
        item = line["object"]
        if line["type"] == "ERROR":
            if item.get("code") == 410:
                raise _TooOld
            raise ValueError(item.get("message", "the watch ended"))
        revision = int(item["metadata"]["resourceVersion"])
        if line["type"] != "BOOKMARK":
            value = None if line["type"] == "DELETED" else item["data"]["v"]
            name = item["metadata"]["name"]
            watched.events.append(Event(revision, name, value, 0, None, time.monotonic()))
        watched.covered = max(watched.covered, revision)
        self._note_fence()
        return revision

    def _note_fence(self) -> None:
        if self._fence and self._watched is not None and self._watched.covered >= self._fence:
            self._fenced.set()


class _TooOld(Exception):
    """The watch's version is compacted."""


def _free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody listens on; two runs that begin at once look at different ones first.

    Raises:
        CannotDo: there are not enough.
    """
    found: list[int] = []
    first = os.getpid() * count % len(BALANCER_PORTS)
    for port in (*BALANCER_PORTS[first:], *BALANCER_PORTS[:first]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
        if len(found) == count:
            return found
    raise CannotDo(f"no ports are free for a balancer between {BALANCER_PORTS[0]} and {BALANCER_PORTS[-1]}")


def credentials_in(directory: Path) -> list[Path]:
    """Return files of a run's directory that hold keys, to be deleted with it."""
    return [path for path in (directory / "kubeconfig", directory / "credentials") if path.exists()]
