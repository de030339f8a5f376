"""The cluster under test: a lab's machines, what runs on them, and how they are doing, looked at from this box.

Credentials are read out of a machine's disk, as an administrator would copy them. Everything else is asked over the
network, as any client would, or of systemd in the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from component.serve import Identity
from deploy.machine.install import MARK
from deploy.report import CannotDo
from lab.chaos.effects import Sample
from lab.machines.lab import Lab
from lab.machines.machine import Machine
from store.client import Refused, StoreClient, Unavailable

PKI = Path("etc/steersman/pki")
STORE_PORT, REST_PORT = 2379, 6443
ASK_WITHIN_S = 1.5
WEB_PODS = 3
WELL_WITHIN_S = 150.0
UNITS = (
    "store",
    "apiserver",
    "controllers",
    "scheduler",
    "dns",
    "metrics",
    "containerd",
    "kubelet",
    "kubeproxy",
    "balancer",
)


class NotWell(Exception):
    """The cluster does not come to be well again; the message says what is wrong."""


@dataclass(slots=True)
class Status:
    """One machine, as last seen."""

    is_on: bool = True
    sample: Sample | None = None
    """What its store says; None: it does not answer."""
    api: str = ""
    """What its API server's /readyz says: ok, or what is wrong; empty: it does not answer."""
    leads: bool = False


@dataclass
class Site:
    """A lab with a cluster on it."""

    lab: Lab
    directory: Path
    """For credentials and logs; ours alone."""
    status: dict[str, Status] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the credentials.

        Raises:
            CannotDo: no machine is up that has a control plane.
        """
        self.machines: list[Machine] = self.lab.machines
        self.store_identity = self._copy("store/apiserver.crt", "store/apiserver.key", "store/ca.crt")
        self.admin_identity = self._copy("cluster/admin.crt", "cluster/admin.key", "cluster/ca.crt")
        self.failover, self.build = self._settings()
        self._stores = {
            each.name: StoreClient([f"{each.address}:{STORE_PORT}"], self.store_identity, timeout_s=ASK_WITHIN_S)
            for each in self.machines
        }
        self._api: aiohttp.ClientSession | None = None
        self._ids: dict[str, int] = {}
        self.status = {each.name: Status() for each in self.machines}

    def _copy(self, *names: str) -> Identity:
        target = self.directory / "credentials"
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        for machine in self.machines:
            pid = machine.pid()
            source = Path(f"/proc/{pid}/root") / PKI
            if pid is None or not all((source / name).exists() for name in names):
                continue
            paths = [target / name.replace("/", "-") for name in names]
            for name, path in zip(names, paths, strict=True):
                shutil.copyfile(source / name, path)
                path.chmod(0o600)
            return Identity(*paths)
        raise CannotDo("no machine of the lab runs a control plane: `steer init` and `steer join` come first")

    def _settings(self) -> tuple[str, str]:
        """Return how soon the cluster gives a machine up (`steer init --failover`), and which build it is."""
        for machine in self.machines:
            root = Path(f"/proc/{machine.pid()}/root")
            with contextlib.suppress(OSError):
                settings = json.loads((root / "etc/steersman/machine.json").read_text())
                build = (root / "opt/steersman/lab" / MARK).read_text().strip()
                return settings.get("failover", "default"), build
        return "default", ""

    def machine(self, name: str) -> Machine:
        """Return a machine by name."""
        return self.lab.machine(name)

    @property
    def endpoints(self) -> list[str]:
        """host:port of each machine's REST API."""
        return [f"{each.address}:{REST_PORT}" for each in self.machines]

    async def close(self) -> None:
        """Let go of connections."""
        for client in self._stores.values():
            await client.close()
        if self._api is not None:
            await self._api.close()
        shutil.rmtree(self.directory / "credentials", ignore_errors=True)

    # -- looking

    async def look(self) -> dict[str, Sample]:
        """Ask every machine how it is; return what the stores say, by machine."""
        answers, ready = await asyncio.gather(
            asyncio.gather(*map(self._ask, self.machines)), asyncio.gather(*map(self._ask_api, self.machines))
        )
        samples = {machine.name: answer for machine, answer in zip(self.machines, answers, strict=True)}
        newest = max(filter(None, answers), key=lambda sample: (sample.leader != 0, sample.term), default=None)
        leader = newest.leader if newest is not None else 0
        for machine, api in zip(self.machines, ready, strict=True):
            status = self.status[machine.name]
            status.api = api
            status.is_on = machine.is_on()
            status.sample = samples[machine.name]
            status.leads = bool(leader) and self._ids.get(machine.name) == leader
        return {name: sample for name, sample in samples.items() if sample is not None}

    async def _ask(self, machine: Machine) -> Sample | None:
        client = self._stores[machine.name]
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                if machine.name not in self._ids:
                    for member in await client.members():
                        for each in self.machines:
                            if any(f"//{each.address}:" in url for url in member.peer_urls):
                                self._ids[each.name] = member.id
                status = await client.status()
        except (Unavailable, Refused, TimeoutError):
            return None
        return Sample(machine.name, status.raft_term, status.leader, status.raft_index, status.revision)

    async def _ask_api(self, machine: Machine) -> str:
        if self._api is None:
            tls = ssl.create_default_context(cafile=str(self.admin_identity.ca))
            tls.load_cert_chain(self.admin_identity.cert, self.admin_identity.key)
            timeout = aiohttp.ClientTimeout(total=ASK_WITHIN_S)
            self._api = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), timeout=timeout)
        try:
            async with self._api.get(f"https://{machine.address}:{REST_PORT}/readyz") as answer:
                return "ok" if answer.status == 200 else f"{answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return ""

    async def leader(self) -> Machine:
        """Return the machine whose store leads.

        Raises:
            NotWell: none does.
        """
        await self.look()
        for machine in self.machines:
            if self.status[machine.name].leads:
                return machine
        raise NotWell("no store leads")

    def units(self, machine: Machine, *names: str) -> dict[str, tuple[str, int, int]]:
        """Return units' active state, main pid and count of restarts."""
        services = [f"steersman-{name}.service" for name in names or UNITS]
        text = machine.run(["systemctl", "show", "-p", "Id,ActiveState,MainPID,NRestarts", *services], timeout_s=15)
        found = {}
        for block in text.strip().split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines())
            name = values["Id"].removeprefix("steersman-").removesuffix(".service")
            found[name] = (values["ActiveState"], int(values["MainPID"]), int(values["NRestarts"]))
        return found

    def host_pid(self, machine: Machine, unit: str) -> int:
        """Return a unit's main process as this box numbers it.

        Raises:
            NotWell: it does not run.
        """
        inside = self.units(machine, unit)[unit][1]
        for path in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError, IndexError):
                line = next(each for each in path.read_text().splitlines() if each.startswith("NSpid:"))
                if line.split()[-1] == str(inside) and len(line.split()) > 2:
                    pid = int(path.parent.name)
                    if Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{machine.pid()}/ns/pid").readlink():
                        return pid
        raise NotWell(f"{unit} of {machine.name} does not run")

    def kubectl(self, *arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run kubectl on the first machine that is on."""
        for machine in self.machines:
            if machine.pid() is not None:
                command = ["kubectl", "--kubeconfig", "/etc/steersman/admin.kubeconfig", *arguments]
                return machine.try_run(command, timeout_s=timeout_s)
        raise NotWell("every machine is off")

    # -- waiting

    async def await_well(self, within_s: float = WELL_WITHIN_S) -> None:
        """Wait until every machine, store member, unit and node is well.

        Raises:
            NotWell: they are not in time; says what is wrong.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            problem = await self._problem()
            if problem is None:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise NotWell(f"not well again after {within_s:.0f} s: {problem}")
            await asyncio.sleep(0.5)

    async def spread_pods(self) -> None:
        """Have a web pod on every machine that takes pods: those that were replaced stay together, as everywhere.

        A fault that takes one machine would else take all pods, and no request could be answered by anybody. A machine
        whose disk was full takes none for five minutes.

        Raises:
            NotWell: they do not spread.
        """
        deadline = asyncio.get_running_loop().time() + WELL_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            placed = await asyncio.to_thread(self._placed)
            if placed is None:
                await asyncio.sleep(0.3)  # one is on its way: where it will be is not known yet
                continue
            crowded = crowd(placed, await asyncio.to_thread(self._open))
            if not crowded:
                return await self.await_well()
            await asyncio.to_thread(self.kubectl, "delete", "pod", "-n", "default", *crowded)
        raise NotWell("the web pods do not spread over the machines")

    def _open(self) -> list[str]:
        """Return the machines that take pods."""
        done = self.kubectl("get", "nodes", "-o", "json", "--request-timeout=5s")
        if done.returncode:
            raise NotWell(f"kubectl: {done.stderr.strip()}")
        return [node["metadata"]["name"] for node in json.loads(done.stdout)["items"] if not node["spec"].get("taints")]

    def _placed(self) -> dict[str, str] | None:
        """Return the machine of each web pod; None while not all of them have one."""
        done = self.kubectl("get", "pods", "-n", "default", "-l", "app=web", "-o", "json", "--request-timeout=5s")
        if done.returncode:
            raise NotWell(f"kubectl: {done.stderr.strip()}")
        found = {
            each["metadata"]["name"]: each["spec"].get("nodeName", "")
            for each in json.loads(done.stdout)["items"]
            # A full disk leaves evicted pods behind.
            if "deletionTimestamp" not in each["metadata"] and each["status"]["phase"] in ("Pending", "Running")
        }
        return found if len(found) == WEB_PODS and all(found.values()) else None

    async def _problem(self) -> str | None:
        samples = await self.look()
        if missing := [each.name for each in self.machines if each.name not in samples]:
            return f"the stores of {', '.join(missing)} do not answer"
        known = {(sample.term, sample.leader) for sample in samples.values()}
        if len(known) != 1 or not next(iter(known))[1]:
            return "the stores do not agree on who leads"
        try:
            return await asyncio.to_thread(self._unit_problem)
        except (CannotDo, NotWell, subprocess.SubprocessError, ValueError, KeyError) as error:
            return str(error)

    def _unit_problem(self) -> str | None:
        for machine in self.machines:
            for name, (state, _, _) in self.units(machine).items():
                if state != "active":
                    return f"{name} of {machine.name} is {state}"
        done = self.kubectl("get", "nodes", "-o", "json", "--request-timeout=5s")
        if done.returncode:
            return f"kubectl: {done.stderr.strip()}"
        for node in json.loads(done.stdout)["items"]:
            ready = next((c for c in node["status"]["conditions"] if c["type"] == "Ready"), {"status": "Unknown"})
            if ready["status"] != "True":
                return f"node {node['metadata']['name']} is not Ready"
        done = self.kubectl("get", "deployment", "web", "-n", "default", "-o", "jsonpath={.status.availableReplicas}")
        if done.stdout.strip() != str(WEB_PODS):
            return f"the Deployment web has {done.stdout.strip() or 'no'} available pods: {done.stderr.strip()}"
        return None


def crowd(placed: Mapping[str, str], machines: Sequence[str]) -> list[str]:
    """Return pods, by name, that share a machine while another has none: one for each machine without. Pure.

    `placed` has every pod's machine.
    """
    on = {machine: sorted(pod for pod, where in placed.items() if where == machine) for machine in machines}
    found: list[str] = []
    for _ in [machine for machine in machines if not on[machine]]:
        fullest = max(machines, key=lambda machine: len(on[machine]))
        if len(on[fullest]) > 1:
            found.append(on[fullest].pop())
    return found


def each_of(machines: Sequence[Machine]) -> str:
    """Return machines' names for people."""
    return ", ".join(machine.name for machine in machines)
