"""A cluster on a lab's machines, made as a user would make it, and a workload that judges what is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.chaos import checks
from lab.chaos.history import Kind, Outcome
from lab.chaos.machines.load import Balancer, Load
from lab.chaos.machines.rounds import judge_calls
from lab.chaos.machines.site import Site
from lab.machines.lab import Lab as Machines
from tests.e2e.test_lab import Lab

KUBECTL = ("kubectl", "--kubeconfig", "/etc/steersman/admin.kubeconfig")
EXAMPLE = Path(__file__).parents[2] / "deploy/examples/web.yaml"


class Cluster:
    """Machines m1, m2, ... of a lab; m1 begins the cluster."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.invitation = ""

    def bring_up(self, roles: Sequence[str], *options: str) -> float:
        """Make a cluster: `roles` are those of m2, m3, ...; return the seconds until every node was Ready."""
        began = time.monotonic()
        self.invitation = json.dumps(json.loads(self.on("m1", "steer", "init", *options, "-o", "json"))["join"])
        for number, role in enumerate(roles, 2):
            self.join(f"m{number}", role)
        self.await_(lambda: set(self.nodes().values()) == {"True"}, "every node is Ready")
        return time.monotonic() - began

    def join(self, machine: str, role: str) -> str:
        flags = ["--control-plane"] if role == "control-plane" else []
        return self.on(machine, "steer", "join", *flags, "--file", "-", given=self.invitation)

    def invite(self) -> None:
        """Make another invitation, for those whose time is over."""
        self.invitation = self.on("m1", "steer", "token", "create", "--control-plane", "-o", "json")

    def run_example(self) -> None:
        """Run three web pods behind a Service."""
        self.on("m1", *KUBECTL, "apply", "-f", "-", given=EXAMPLE.read_text())
        self.kubectl("rollout", "status", "deployment/web", "--timeout=90s")

    def on(self, machine: str, *command: str, given: str = "") -> str:
        done = self.try_on(machine, *command, given=given)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout

    def try_on(self, machine: str, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        if not given:
            return self.lab.try_("exec", machine, "--", *command)
        # `lab exec` hands its own stdin on.
        script = f"cat > /root/given <<'END'\n{given}\nEND\nexec {' '.join(command)} < /root/given"
        return self.lab.try_("exec", machine, "--", "sh", "-c", script)

    def kubectl(self, *arguments: str, machine: str = "m1") -> str:
        return self.on(machine, *KUBECTL, *arguments)

    def nodes(self, machine: str = "m1") -> dict[str, str]:
        items = json.loads(self.kubectl("get", "nodes", "-o", "json", machine=machine))["items"]
        return {
            each["metadata"]["name"]: next(
                (c["status"] for c in each["status"].get("conditions", []) if c["type"] == "Ready"), "Unknown"
            )
            for each in items
        }

    def containers(self) -> dict[str, int]:
        """Return the id of every container of the example, and how often it was started again."""
        items = json.loads(self.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
        found = [status for each in items for status in each["status"]["containerStatuses"]]
        return {status["containerID"]: status["restartCount"] for status in found}

    def pids(self, machine: str, *units: str) -> dict[str, str]:
        """Return the main process of units."""
        services = [f"steersman-{name}.service" for name in units]
        shown = self.on(machine, "systemctl", "show", "-p", "MainPID", "--value", *services)
        return dict(zip(units, shown.split(), strict=True))

    def await_(self, is_so: Callable[[], bool], what: str, within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        last = "False"
        while True:
            try:
                if is_so():
                    return
            except AssertionError as error:
                last = str(error)
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}; last: {last}"
            time.sleep(0.3)


@contextlib.contextmanager
def lab_of(directory: Path, machines: int, code: Path | None = None) -> Iterator[Cluster]:
    """Boot machines with the code of the checkout `code` (this one), and take them away at the end."""
    lab = Lab(directory)
    try:
        Lab(directory, code)("up", "--machines", str(machines))
        yield Cluster(lab)
    finally:
        lab.try_("down", "--purge")


@dataclass
class Judged:
    """What a workload saw, when it is over."""

    findings: list[str] = field(default_factory=list)
    """What must not be: a write lost, a read that was not so, a watch with a gap."""
    requests: int = 0
    failed: list[str] = field(default_factory=list)
    """Requests to the Service that were not answered."""
    writes: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """Calls of the API without an answer, by kind; those who asked could not know what became of them."""
    silence_s: float = 0.0
    """The longest time without an acknowledged write."""

    def __str__(self) -> str:
        return (
            f"{self.writes} writes acknowledged, {len(self.findings)} findings, errors {self.errors}, longest pause "
            f"{self.silence_s:.2f} s; {self.requests} requests to the Service, {len(self.failed)} failed"
        )


class UnderLoad:
    """Writes, reads, kubectl, a watch and a Service's traffic, from the entry of the `with` to its end."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._lab_directory, self._directory = cluster.lab.directory, directory
        self._stop = threading.Event()
        self._runs = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.judged = Judged()

    def __enter__(self) -> UnderLoad:
        """Start; returns once everything is well and the Service answers."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread.start()
        while not self._runs.wait(0.2):
            if self._problem is not None:
                raise self._problem
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all is well again, stop, and judge."""
        self._stop.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _run(self) -> None:
        try:
            asyncio.run(self._load())
        except BaseException as error:  # told to whoever began it
            self._problem = error

    async def _load(self) -> None:
        site = Site(Machines(self._lab_directory), self._directory)
        async with Balancer(site) as address:
            load = Load(site, address, random.SystemRandom().randrange(9999), random.Random(7))
            try:
                await site.await_well()
                await load.start()
                await load.traffic.await_answers(60)
                load.traffic.requests.clear()
                began = time.monotonic()
                self._runs.set()
                await asyncio.to_thread(self._stop.wait)
                await site.await_well()
                await load.traffic.await_answers(60)
                ended = time.monotonic()
                await load.stop()
                await load.finish(30)
                self._judge(load, await load.stored(), began, ended)
            finally:
                await load.close()
                await site.close()

    def _judge(self, load: Load, stored: checks.Stored, began: float, ended: float) -> None:
        calls = [*load.history.calls, *load.ledger]
        self.judged = Judged(
            findings=judge_calls(load, stored),
            requests=len(load.traffic.requests),
            failed=[f"{r.machine} {r.at - began:+.1f} s: {r.problem}" for r in load.traffic.requests if r.problem],
            writes=sum(call.kind is not Kind.GET and call.outcome is Outcome.OK for call in calls),
            errors=dict(load.errors),
            silence_s=checks.longest_silence(calls, began, ended),
        )
