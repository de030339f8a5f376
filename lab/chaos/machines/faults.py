"""How each fault of `scenarios.SCENARIOS` is done, from its first blow until it is mended.

Healing is left to the cluster.

An injection returns what it saw happen with its own eyes. What the stores and the clients tell is added elsewhere. What
it breaks it mends again, also when it is cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import http.client
import os
import random
import signal
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.machine.install import FOLDERS, MARK
from deploy.report import CannotDo
from lab.chaos.arena import is_paused, is_waiting_for_disk
from lab.chaos.effects import Effect, Effects
from lab.chaos.machines.load import Load
from lab.chaos.machines.site import REST_PORT, UNITS, Site, each_of
from lab.chaos.machines.traffic import first_without
from lab.chaos.schedule import Round
from lab.machines.machine import Machine

BACK_WITHIN_S = 30.0
REPLICAS = 3
FAST_GONE_S, SLOW_GONE_S = (15.0, 60.0), (80.0, 150.0)
"""When a lost machine's endpoints are to be gone, and when to stop waiting: with `--failover fast`, and without.

Without it, a node is given up that was silent for 50 s, looked at every 5 s. If the leading controllers were lost with
it, that counts from when others have taken over, which takes the 15 s of their lease and up to 10 s more.
"""
REPLACED_S = 60.0
"""When their replacements are to run with `--failover fast`."""
REBOOT_WITHIN_S = 180.0
"""An orderly shutdown waits for each unit in turn."""
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878  # _IOWR('X', 119, int), _IOWR('X', 120, int)
FROZEN_S, THAWED_S = 0.6, 0.3
FILLER = Path("var/lib/chaos-filler")
CLOCK_UNITS = ("store", "apiserver", "controllers", "scheduler", "kubelet", "kubeproxy")
CLOCK_DROP_IN = "90-chaos-clock.conf"
SKEWS = ("-7m", "+7m", "+50m")
TWO_YEARS = "+730d"
WITHOUT_QUORUM: tuple[tuple[str, str, bytes, Effect], ...] = (
    ("GET", "/api/v1/namespaces/default/pods?resourceVersion=0", b"", Effect.CACHE_ANSWERED),
    ("GET", "/apis/apps/v1/deployments?resourceVersion=0", b"", Effect.CACHE_ANSWERED),
    ("GET", "/api/v1/namespaces/default/pods", b"", Effect.QUORUM_LOSS_NAMED),
    ("GET", "/api/v1/nodes", b"", Effect.QUORUM_LOSS_NAMED),
    ("GET", "/api/v1/namespaces/default/services/web", b"", Effect.QUORUM_LOSS_NAMED),
    (
        "POST",
        "/api/v1/namespaces/chaos/configmaps",
        b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"without-quorum-"}}',
        Effect.QUORUM_LOSS_NAMED,
    ),
    ("DELETE", "/api/v1/namespaces/chaos/configmaps/none", b"", Effect.QUORUM_LOSS_NAMED),
)
"""What is asked of the one member that is left, and what is to come of it."""
FIRST_VERSION, OTHER_VERSION = "lab", "chaos"
MAKE_OTHER_VERSION = f"""
cd /opt/steersman
[ -e {OTHER_VERSION}/{MARK} ] && exit
rm -rf {OTHER_VERSION} && mkdir -p {OTHER_VERSION}/lib/python3.11/site-packages
cp -a {FIRST_VERSION}/bin {FIRST_VERSION}/pyvenv.cfg {OTHER_VERSION}/
sed -i '1s|/opt/steersman/{FIRST_VERSION}/|/opt/steersman/{OTHER_VERSION}/|' $(grep -lI '^#!/opt' {OTHER_VERSION}/bin/*)
site=lib/python3.11/site-packages
for each in {FIRST_VERSION}/$site/*; do ln -s ../../../../$each {OTHER_VERSION}/$site/; done
for each in $1; do rm {OTHER_VERSION}/$site/$each; cp -a {FIRST_VERSION}/$site/$each {OTHER_VERSION}/$site/; done
echo 0.1.0-{OTHER_VERSION} >{OTHER_VERSION}/{MARK}
"""
"""Installs our code once more under another name; the packages it needs are shared by links."""


@dataclass(slots=True)
class Scene:
    """What an injection has to work with."""

    site: Site
    round: Round
    rng: random.Random
    effects: Effects
    say: Callable[[str], None]
    load: Load
    hit: set[str] = field(default_factory=set)
    """The machines whose pods or wires the fault takes."""
    findings: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured, in seconds."""

    def one(self) -> Machine:
        """Return a machine, drawn."""
        return self.rng.choice(self.site.machines)

    async def hold(self) -> None:
        """Let the fault last."""
        await asyncio.sleep(self.round.hold_s)


async def kill_store_leader(scene: Scene) -> None:
    """Kill the leading store."""
    await _kill_units(scene, [await scene.site.leader()], ("store",))


async def kill_stores_in_turn(scene: Scene) -> None:
    """Kill every store, each back before the next."""
    for machine in scene.rng.sample(scene.site.machines, len(scene.site.machines)):
        await _kill_units(scene, [machine], ("store",))
        await _until(lambda each=machine: _answers(scene.site, [each]), f"the store of {machine.name}")  # type: ignore[misc]
        await scene.hold()


async def kill_all_stores(scene: Scene) -> None:
    """Kill every store."""
    await _kill_units(scene, scene.site.machines, ("store",))


async def kill_apiservers(scene: Scene) -> None:
    """Kill every API server."""
    await _kill_units(scene, scene.site.machines, ("apiserver",))


async def kill_kubelet(scene: Scene) -> None:
    """Kill one machine's kubelet and containerd; its containers must live on."""
    await _kill_units(scene, [scene.one()], ("kubelet", "containerd"))


async def kill_controllers(scene: Scene) -> None:
    """Kill all controllers and schedulers."""
    await _kill_units(scene, scene.site.machines, ("controllers", "scheduler"))


async def hang_store_leader(scene: Scene) -> None:
    """Stop the leading store's process for a while."""
    await _pause(scene, await scene.site.leader(), "store")


async def hang_apiserver(scene: Scene) -> None:
    """Stop an API server's process for a while."""
    await _pause(scene, scene.one(), "apiserver")


async def partition_leading_machine(scene: Scene) -> None:
    """Cut the leader's machine off, both ways."""
    leader = await scene.site.leader()
    await _cut(scene, leader, scene.site.machines, incoming=True, outgoing=True)


async def deafen_leading_machine(scene: Scene) -> None:
    """Let the leader's machine hear no other."""
    leader = await scene.site.leader()
    await _cut(scene, leader, scene.site.machines, incoming=True, outgoing=False)


async def mute_machine(scene: Scene) -> None:
    """Let a machine that does not lead be heard by none."""
    leader = await scene.site.leader()
    muted = scene.rng.choice([machine for machine in scene.site.machines if machine is not leader])
    await _cut(scene, muted, scene.site.machines, incoming=False, outgoing=True)


async def power_cut(scene: Scene) -> None:
    """Cut one machine's power."""
    async with _without_power(scene, [scene.one()]):
        await scene.hold()


async def power_cut_leader(scene: Scene) -> None:
    """Cut the power of the leader's machine."""
    async with _without_power(scene, [await scene.site.leader()]):
        await scene.hold()


async def power_cut_all(scene: Scene) -> None:
    """Cut the power of all machines."""
    async with _without_power(scene, scene.site.machines):
        await scene.hold()


async def lose_machine(scene: Scene) -> None:
    """Cut the power of a machine that runs pods for as long as it takes the cluster to do without it."""
    holding = [each for each in scene.site.machines if scene.load.traffic.endpoints_on({each.name})]
    machine = scene.rng.choice(holding or scene.site.machines)
    is_fast = scene.site.failover == "fast"
    async with _without_power(scene, [machine]):
        struck = time.monotonic()
        await _lose_endpoints(scene, machine, struck, *(FAST_GONE_S if is_fast else SLOW_GONE_S))
        if is_fast:
            await _replace_pods(scene, struck)


async def _lose_endpoints(scene: Scene, machine: Machine, struck: float, meant_s: float, within_s: float) -> None:
    async def are_gone() -> bool:
        return first_without({machine.name}, struck, scene.load.traffic) is not None

    await _until(are_gone, f"the Service without the endpoints on {machine.name}", within_s=within_s)
    took_s = first_without({machine.name}, struck, scene.load.traffic) or 0.0
    scene.effects[Effect.ENDPOINTS_GONE] += 1
    scene.figures["endpoints of a lost machine gone"] = took_s
    scene.say(f"the endpoints on {machine.name} are gone after {took_s:.1f} s")
    if took_s > meant_s:
        scene.findings.append(f"the endpoints on {machine.name} went {took_s:.1f} s after it was lost: {meant_s:g} s")


async def _replace_pods(scene: Scene, struck: float) -> None:
    async def are_replaced() -> bool:
        ready = scene.load.traffic.ready
        return bool(ready) and len(ready[-1].addresses) == REPLICAS

    await _until(are_replaced, "replacements of the lost pods", within_s=2 * REPLACED_S)
    took_s = scene.load.traffic.ready[-1].at - struck
    scene.effects[Effect.PODS_REPLACED] += 1
    scene.figures["pods of a lost machine replaced and ready"] = took_s
    scene.say(f"the lost pods are replaced, and the new ones ready, after {took_s:.1f} s")
    if took_s > REPLACED_S:
        scene.findings.append(f"the lost pods were replaced after {took_s:.1f} s: {REPLACED_S:g} s")


async def lose_quorum(scene: Scene) -> None:
    """Leave one machine with power; ask its API server what it still does, and hold every answer against that."""
    left = scene.one()
    async with _without_power(scene, [machine for machine in scene.site.machines if machine is not left]):
        deadline = time.monotonic() + scene.round.hold_s
        while time.monotonic() < deadline:
            await asyncio.gather(*(asyncio.to_thread(_ask_without_quorum, scene, left, ask) for ask in WITHOUT_QUORUM))
            await asyncio.sleep(0.5)


async def full_machine_disk(scene: Scene) -> None:
    """Fill a machine's disk."""
    machine = scene.one()
    scene.hit.add(machine.name)
    scene.say(f"filling the disk of {machine.name}")
    filler = _root(machine) / FILLER
    try:
        await asyncio.to_thread(_fill, filler)
        deadline = time.monotonic() + scene.round.hold_s
        while time.monotonic() < deadline:
            try:
                with (_root(machine) / "var/lib/chaos-probe").open("wb") as probe:
                    probe.write(bytes(1 << 20))
            except OSError:
                scene.effects[Effect.NO_SPACE_SEEN] += 1
            await asyncio.sleep(0.5)
    finally:
        for name in (FILLER, Path("var/lib/chaos-probe")):
            with contextlib.suppress(OSError):
                (_root(machine) / name).unlink()


async def slow_machine_disk(scene: Scene) -> None:
    """Freeze a machine's disk again and again."""
    machine = scene.one()
    scene.hit.add(machine.name)
    scene.say(f"freezing the disk of {machine.name} again and again")
    pid = await asyncio.to_thread(scene.site.host_pid, machine, "store")
    descriptor = os.open(_root(machine) / "var/lib", os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + scene.round.hold_s
    try:
        while time.monotonic() < deadline:
            await asyncio.to_thread(fcntl.ioctl, descriptor, FIFREEZE, 0)
            try:
                await asyncio.sleep(FROZEN_S)
                scene.effects[Effect.DISK_WAITS_SEEN] += is_waiting_for_disk(pid)
            finally:
                await asyncio.to_thread(fcntl.ioctl, descriptor, FITHAW, 0)
            await asyncio.sleep(THAWED_S)
    finally:
        os.close(descriptor)


async def clock_skew(scene: Scene) -> None:
    """Set the clock of one machine's processes off by minutes."""
    async with _other_clock(scene, scene.one(), scene.rng.choice(SKEWS)):
        await scene.hold()


async def certificates_expired(scene: Scene) -> None:
    """Let it be two years later for one machine's processes: every certificate they see is over."""
    machine = scene.one()
    async with _other_clock(scene, machine, TWO_YEARS):
        await scene.hold()
        said = await asyncio.to_thread(
            machine.run, ["journalctl", "-b", "--since=-60s", "--no-pager", "-q", "-u", "steersman-*"]
        )
        words = ("expired", "certificate is over", "CERTIFICATE_VERIFY_FAILED", "certificate verify failed")
        scene.effects[Effect.CERTIFICATES_REFUSED] += sum(said.count(word) for word in words)


async def restart_in_turn(scene: Scene) -> None:
    """Restart everything of ours on one machine after the other, in order."""
    for machine in scene.rng.sample(scene.site.machines, len(scene.site.machines)):
        scene.say(f"restarting everything on {machine.name}")
        before = scene.site.units(machine)
        services = [f"steersman-{name}.service" for name in UNITS]
        await asyncio.to_thread(machine.run, ["systemctl", "restart", *services], timeout_s=90)
        after = scene.site.units(machine)
        scene.effects[Effect.UNITS_RESTARTED] += sum(after[name][1] != before[name][1] for name in after)
        await _until(lambda: _answers(scene.site, scene.site.machines), "the stores")
        await scene.hold()


async def upgrade_in_turn(scene: Scene) -> None:
    """Take one machine after the other to another version with `steer upgrade`, and in a later round back."""
    folders = " ".join(FOLDERS)
    for machine in scene.site.machines:
        before = await asyncio.to_thread(machine.run, ["readlink", "/opt/steersman/current"])
        here = before.strip() == OTHER_VERSION
        target = FIRST_VERSION if here else OTHER_VERSION
        scene.say(f"upgrading {machine.name} from {before.strip()} to {target}")
        if not here:
            await asyncio.to_thread(machine.run, ["sh", "-ec", MAKE_OTHER_VERSION, "sh", folders], timeout_s=60)
        command = [f"/opt/steersman/{target}/bin/steer", "upgrade"]
        await asyncio.to_thread(machine.run, command, timeout_s=240)
        after = await asyncio.to_thread(machine.run, ["readlink", "/opt/steersman/current"])
        scene.effects[Effect.VERSIONS_CHANGED] += after != before
        await scene.hold()


async def reboot(scene: Scene) -> None:
    """Reboot a machine in order."""
    machine = scene.one()
    scene.hit.add(machine.name)
    scene.say(f"rebooting {machine.name}")
    first = machine.pid()
    await asyncio.to_thread(machine.try_run, ["systemctl", "reboot"], timeout_s=30)

    async def is_another() -> bool:
        pid = await asyncio.to_thread(machine.pid)
        return pid not in (None, first)

    await _until(is_another, f"{machine.name} booting again", within_s=REBOOT_WITHIN_S)
    await asyncio.to_thread(machine.await_boot)
    scene.effects[Effect.MACHINES_BOOTED] += 1


Injection = Callable[[Scene], Awaitable[None]]
INJECTIONS: dict[str, Injection] = {
    function.__name__.replace("_", "-"): function
    for function in (
        kill_store_leader, kill_stores_in_turn, kill_all_stores, hang_store_leader, partition_leading_machine,
        deafen_leading_machine, mute_machine, power_cut, power_cut_leader, power_cut_all, lose_machine, lose_quorum,
        full_machine_disk, slow_machine_disk, clock_skew, certificates_expired, hang_apiserver, kill_apiservers,
        kill_kubelet, kill_controllers, restart_in_turn, upgrade_in_turn, reboot,
    )
}  # fmt: skip


# -- how


def _root(machine: Machine) -> Path:
    return Path(f"/proc/{machine.pid()}/root")


async def _kill_units(scene: Scene, machines: Sequence[Machine], names: tuple[str, ...]) -> None:
    scene.say(f"kill -9 of {' and '.join(names)} on {each_of(machines)}")
    before = {machine.name: scene.site.units(machine, *names) for machine in machines}
    services = [f"steersman-{name}.service" for name in names]
    command = ["systemctl", "kill", "--kill-whom=main", "--signal=KILL", *services]
    await asyncio.gather(*(asyncio.to_thread(machine.run, command) for machine in machines))
    await scene.hold()

    async def are_back() -> bool:
        for machine in machines:
            now = await asyncio.to_thread(scene.site.units, machine, *names)
            if any(state != "active" or pid == before[machine.name][name][1] for name, (state, pid, _) in now.items()):
                return False
        return True

    await _until(are_back, f"{' and '.join(names)} started again")
    scene.effects[Effect.UNITS_RESTARTED] += len(names) * len(machines)


async def _pause(scene: Scene, machine: Machine, unit: str) -> None:
    scene.say(f"SIGSTOP of {unit} on {machine.name}")
    pid = await asyncio.to_thread(scene.site.host_pid, machine, unit)
    os.kill(pid, signal.SIGSTOP)
    try:
        await scene.hold()
        scene.effects[Effect.PAUSES_SEEN] += is_paused(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):  # systemd's watchdog may have been quicker
            os.kill(pid, signal.SIGCONT)


async def _cut(scene: Scene, machine: Machine, others: Sequence[Machine], *, incoming: bool, outgoing: bool) -> None:
    ways = {(True, True): "both ways", (True, False): "hears nobody", (False, True): "is heard by nobody"}
    scene.hit.add(machine.name)
    scene.say(f"cutting {machine.name} off: {ways[incoming, outgoing]}")
    lab = scene.site.lab
    names = [other.name for other in others if other is not machine]
    try:
        await asyncio.to_thread(lab.cut, machine.name, names, incoming=incoming, outgoing=outgoing)
        await scene.hold()
    finally:
        scene.effects[Effect.PACKETS_DROPPED] += await asyncio.to_thread(lab.wire.heal)


@asynccontextmanager
async def _without_power(scene: Scene, machines: Sequence[Machine]) -> AsyncIterator[None]:
    scene.hit.update(machine.name for machine in machines)
    scene.say(f"cutting the power of {each_of(machines)}")
    lab = scene.site.lab
    await asyncio.to_thread(lab.power_off, machines)
    try:
        yield
    finally:
        scene.say(f"power on again: {each_of(machines)}")
        await asyncio.to_thread(lab.power_on, machines)
        scene.effects[Effect.MACHINES_BOOTED] += len(machines)


@asynccontextmanager
async def _other_clock(scene: Scene, machine: Machine, offset: str) -> AsyncIterator[None]:
    """Start a machine's processes again with another clock, as libfaketime gives it to them."""
    scene.say(f"the clock of {machine.name}'s processes goes {offset}")
    library = await asyncio.to_thread(machine.run, ["sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1"])
    drop_in = (
        f"[Service]\nEnvironment=LD_PRELOAD={library.strip()} FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1 "
        "FAKETIME_DISABLE_SHM=1\n"
    )
    before = scene.site.units(machine, *CLOCK_UNITS)
    services = [f"steersman-{name}.service" for name in CLOCK_UNITS]

    async def restart(write: bool) -> None:
        for service in services:
            directory = _root(machine) / f"run/systemd/system/{service}.d"
            if write:
                directory.mkdir(parents=True, exist_ok=True)
                (directory / CLOCK_DROP_IN).write_text(drop_in)
            else:
                (directory / CLOCK_DROP_IN).unlink(missing_ok=True)
        await asyncio.to_thread(machine.run, ["systemctl", "daemon-reload"])
        await asyncio.to_thread(machine.run, ["systemctl", "reset-failed", *services])
        # Not waited for: with certificates that are over, some of them cannot get ready.
        await asyncio.to_thread(machine.run, ["systemctl", "restart", "--no-block", *services])

    try:
        await restart(write=True)
        yield
        now = await asyncio.to_thread(scene.site.units, machine, *CLOCK_UNITS)
        scene.effects[Effect.UNITS_RESTARTED] += sum(now[name][1] != before[name][1] for name in now)
        for name in ("store", "apiserver"):
            with contextlib.suppress(Exception):
                pid = await asyncio.to_thread(scene.site.host_pid, machine, name)
                scene.effects[Effect.CLOCKS_SHIFTED] += _has_other_clock(pid)
    finally:
        await restart(write=False)


def _has_other_clock(pid: int) -> bool:
    """Whether a process runs with libfaketime."""
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    return b"FAKETIME=" in environment and "libfaketime" in Path(f"/proc/{pid}/maps").read_text()


def _fill(path: Path) -> None:
    """Take all space of the filesystem `path` is on."""
    with path.open("wb") as file:
        size = 1 << 30
        offset = 0
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), offset, size)
                offset += size
            except OSError:
                size //= 2


def _ask_without_quorum(scene: Scene, machine: Machine, ask: tuple[str, str, bytes, Effect]) -> None:
    method, path, body, meant = ask
    identity = scene.site.admin_identity
    tls = ssl.create_default_context(cafile=str(identity.ca))
    tls.load_cert_chain(identity.cert, identity.key)
    connection = http.client.HTTPSConnection(str(machine.address), REST_PORT, timeout=20, context=tls)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        scene.findings.append(f"without quorum, {method} {path} was not answered: {type(error).__name__}")
        return
    finally:
        connection.close()
    if answer.status == 200 if meant is Effect.CACHE_ANSWERED else answer.status == 503 and b"quorum" in said:
        scene.effects[meant] += 1
    else:
        shown = said[:200].decode(errors="replace")
        scene.findings.append(f"without quorum, {method} {path} was answered {answer.status}: {shown}")


async def _answers(site: Site, machines: Sequence[Machine]) -> bool:
    samples = await site.look()
    return all(machine.name in samples and samples[machine.name].leader for machine in machines)


async def _until(is_so: Callable[[], Awaitable[bool]], what: str, within_s: float = BACK_WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not await is_so():
        if time.monotonic() > deadline:
            raise CannotDo(f"{what} did not come within {within_s:.0f} s")
        await asyncio.sleep(0.1)


def no_effects() -> Effects:
    """Return an empty count."""
    return Counter()
