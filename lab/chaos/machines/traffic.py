"""A Service's traffic: asked from every machine all the time, and each request that fails held against the fault.

A request may fail only where the fault hit the machine that asked, or the machine of the pod that it was sent to, and
there only until the pod's endpoint is gone. Which pod that was, the kernel says: to whom it translated the Service's
address.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import aiohttp

from deploy.report import CannotDo
from lab.chaos.machines.site import NotWell, Site
from lab.machines.machine import Machine, kill_group

SERVICE, SERVICE_NAMESPACE = "web", "default"
ANSWERS_IN_A_ROW = 5
REQUEST_WITHIN_S = 2.0
LOOK_EVERY_S = 0.5
PROXIES_WITHIN_S = 3.0
"""How long after an endpoint is gone for the API every machine's proxy must have stopped sending to it."""
SCRIPT = """
import http.client, socket, subprocess, sys, threading, time
address, port, within = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sent_to = {}
def follow():
    telling = ["conntrack", "-E", "-e", "NEW", "-p", "tcp", "--orig-dst", address]
    for line in subprocess.Popen(telling, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout:
        _, asked, answers = line.split(" src=")
        sent_to[asked.split("sport=")[1].split()[0]] = answers.split()[0], answers.split("dport=")[1].split()[0]
threading.Thread(target=follow, daemon=True).start()
time.sleep(0.3)  # until it hears the kernel
while True:
    began = time.monotonic()
    problem, backend, port_there, stage, own, state = "ok", "-", "-", "", "", "-"
    try:
        with socket.socket() as connected:
            connected.settimeout(within)
            try:
                stage = "-to-connect"
                connected.connect((address, port))
                own, stage = str(connected.getsockname()[1]), ""
                connection = http.client.HTTPConnection(address, port)
                connection.sock = connected
                connection.request("GET", "/", headers={"Connection": "close"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    problem = f"status-{answer.status}"
            except (OSError, http.client.HTTPException):
                own = str(connected.getsockname()[1])
                info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
                state = f"port={own},state={info[0]},retransmits={info[2]}"
                raise
    except (OSError, http.client.HTTPException) as error:
        problem = type(error).__name__ + stage
    if problem != "ok":
        time.sleep(0.05)
        # Kept: a port that comes again while the kernel knows its last connection goes the same way, and is not told.
        backend, port_there = sent_to.get(own, ("-", "-"))
    print(f"{began:.3f} {problem} {backend} {port_there} {state}", flush=True)
    time.sleep(max(0.0, 0.2 - (time.monotonic() - began)))
"""
"""Asks the Service over and over, and says of each failure at which stage, and which pod the kernel had sent it to.

That is taken from the kernel's events. Its table would not do: a connection that is refused leaves it at once.
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the Service, from one machine."""

    machine: str
    at: float
    """When it began, on the monotonic clock."""
    problem: str = ""
    """What went wrong; empty: it was answered."""
    backend: str = ""
    """Of one that failed, the pod's address that it was sent to; empty where that is not known."""
    evidence: str = ""
    """Of one that failed, what its socket had come to, and what the pod's machine knew of the connection."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The Service's endpoints that were ready at one moment, as the API server had them."""

    at: float
    addresses: frozenset[str]


class Traffic:
    """The requests of one round, and what there was to answer them."""

    def __init__(self, site: Site, http: aiohttp.ClientSession) -> None:
        self.requests: list[Request] = []
        self.ready: list[Ready] = []
        self._site = site
        self._http = http
        self._pods_of: dict[str, str] = {}
        """Machine by the network of its pods."""

    async def start(self) -> list[asyncio.Task[None]]:
        """Begin to ask from every machine; return the tasks, to be cancelled."""
        for node in (await self._get("/api/v1/nodes"))["items"]:
            self._pods_of[node["spec"]["podCIDR"]] = node["metadata"]["name"]
        spec = (await self._get(f"/api/v1/namespaces/{SERVICE_NAMESPACE}/services/{SERVICE}"))["spec"]
        address, port = spec["clusterIP"], spec["ports"][0]["port"]
        asking = [asyncio.create_task(self._ask(machine, address, port)) for machine in self._site.machines]
        return [*asking, asyncio.create_task(self._follow())]

    def machine_of(self, backend: str) -> str:
        """Return the machine of a pod's address; empty where it is none's."""
        if not backend:
            return ""
        networks = self._pods_of.items()
        return next((name for network, name in networks if ip_address(backend) in ip_network(network)), "")

    def endpoints_on(self, machines: Collection[str]) -> frozenset[str]:
        """Return the ready endpoints on these machines, as last seen."""
        if not self.ready:
            return frozenset()
        return frozenset(each for each in self.ready[-1].addresses if self.machine_of(each) in machines)

    async def await_answers(self, within_s: float) -> None:
        """Wait until the Service has answered every machine a few times in a row.

        Raises:
            NotWell: it has not in time.
        """
        deadline = time.monotonic() + within_s
        names = [machine.name for machine in self._site.machines]
        while True:
            latest = {name: [r for r in self.requests if r.machine == name][-ANSWERS_IN_A_ROW:] for name in names}
            silent = [
                name for name, few in latest.items()
                if len(few) < ANSWERS_IN_A_ROW or any(request.problem for request in few)
            ]  # fmt: skip
            if not silent:
                return
            if time.monotonic() > deadline:
                raise NotWell(f"the Service does not answer {', '.join(silent)}")
            await asyncio.sleep(0.1)

    async def _get(self, path: str, **parameters: str) -> Any:
        async with self._http.get(path, params=parameters) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def _follow(self) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{SERVICE_NAMESPACE}/endpointslices"
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                slices = await self._get(path, labelSelector=f"kubernetes.io/service-name={SERVICE}")
                ready = [
                    address
                    for each in slices["items"]
                    for endpoint in each.get("endpoints") or ()
                    if endpoint["conditions"].get("ready")
                    for address in endpoint["addresses"]
                ]
                self.ready.append(Ready(time.monotonic(), frozenset(ready)))
            await asyncio.sleep(LOOK_EVERY_S)

    def _seen_there(self, backend: str, port: str) -> str:
        """Return what a pod's machine has in its table of connections about one to the pod."""
        name = self.machine_of(backend)
        pid = self._site.machine(name).pid() if name else None
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/nf_conntrack").read_text().splitlines():
                if f" dst={backend} sport={port} " in line:
                    return line
        return "unknown there"

    async def _ask(self, machine: Machine, address: str, port: int) -> None:
        while True:
            try:
                argv = machine.argv(["python3", "-c", SCRIPT, address, str(port), str(REQUEST_WITHIN_S)])
            except CannotDo:
                await asyncio.sleep(0.5)
                continue
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            assert process.stdout is not None
            try:
                async for line in process.stdout:
                    at, problem, backend, port_there, state = line.decode().split()
                    if problem == "ok":
                        self.requests.append(Request(machine.name, float(at)))
                        continue
                    backend = "" if backend == "-" else backend
                    evidence = f"{state}; {await asyncio.to_thread(self._seen_there, backend, port_there)}"
                    self.requests.append(Request(machine.name, float(at), problem, backend, evidence))
            finally:
                kill_group(process.pid)
                await process.wait()
            await asyncio.sleep(0.3)


@dataclass(frozen=True, slots=True)
class Blow:
    """What a fault may have cost a Service."""

    hit: frozenset[str]
    """The machines whose pods or wires it took."""
    struck: float
    healed: float


def judge(traffic: Traffic, blow: Blow) -> list[str]:
    """Hold the requests to a Service against what the fault may have cost."""
    if not traffic.requests:
        return ["no request to the Service was made"]
    by_reason: dict[str, list[Request]] = {}
    for request in traffic.requests:
        if request.problem and (why := _forbidden(request, traffic, blow)):
            by_reason.setdefault(why, []).append(request)
    return [
        f"{len(found)} of {len(traffic.requests)} requests to the Service failed {why}: the first from "
        f"{found[0].machine}, {found[0].at - blow.struck:+.1f} s after the fault struck, {found[0].problem}"
        for why, found in by_reason.items()
    ]


def _forbidden(request: Request, traffic: Traffic, blow: Blow) -> str:
    """Return why a request that failed should not have; empty if it may."""
    if not blow.hit:
        return "though the fault takes no pods"
    if not blow.struck - REQUEST_WITHIN_S <= request.at <= blow.healed:
        return "though not while the fault lasted"
    if request.machine in blow.hit:
        return ""
    lost_on = traffic.machine_of(request.backend)
    if lost_on not in blow.hit:
        where = f"it was sent to a pod of {lost_on}, which the fault left alone" if lost_on else "it was sent to no pod"
        return f"though {where}"
    if is_gone(request.backend, request.at, traffic.ready):
        return "though the endpoint that it was sent to had been gone"
    return ""


def is_gone(backend: str, at: float, ready: Sequence[Ready]) -> bool:
    """Whether an endpoint had been gone for so long that every proxy must have known."""
    earlier = [each for each in ready if each.at <= at]
    last_seen = max((each.at for each in earlier if backend in each.addresses), default=None)
    first_missed = min((each.at for each in earlier if last_seen is None or each.at > last_seen), default=None)
    return first_missed is not None and at - first_missed > PROXIES_WITHIN_S


def first_without(machines: Collection[str], after: float, traffic: Traffic) -> float | None:
    """Return how long after a moment the API had no ready endpoint on these machines any more; None: it went on."""
    for each in traffic.ready:
        if each.at > after and not any(traffic.machine_of(address) in machines for address in each.addresses):
            return each.at - after
    return None
