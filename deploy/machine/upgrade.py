"""`steer upgrade`: this machine goes to the version that runs the command, its processes one after the other.

One machine at a time: the cluster keeps who is at it, and a control-plane machine begins only while every other is
well, so that a majority stands throughout. Versions may be one minor apart, and no node is newer than any API server
(Kubernetes' version skew policy). Each process must be ready again before the next one is touched; if one is not, the
former version, its units and its settings come back and everything is started again with them. Going back on purpose
is the same verb, run by the older version.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.verbs import Client
from component.serve import Identity
from deploy.machine import build, cluster, credentials, host, install
from deploy.machine.build import Site
from deploy.machine.cluster import Common
from deploy.machine.plan import SECURE_PORT, STORE_CLIENT_PORT, Machine, Role, service, units
from deploy.report import CannotDo, Report
from store.client import StoreClient, Unavailable

LOCK_LASTS_S = 900
ANSWER_WITHIN_S = 5.0
_NUMBER = re.compile(r"(\d+)\.(\d+)\.")


@dataclass(frozen=True, slots=True, order=True)
class Number:
    """A version's number, as far as skew is about it."""

    major: int
    minor: int


def number_of(version: str) -> Number:
    """Return the number of a full version such as 0.1.0-1a2b3c.

    Raises:
        CannotDo: it has none.
    """
    found = _NUMBER.match(version)
    if not found:
        raise CannotDo(f"{version!r} is no version of Steersman")
    return Number(int(found[1]), int(found[2]))


def skew_problem(target: str, present: str, others: Mapping[str, str], role: Role) -> str | None:
    """Return why this machine may not go from `present` to `target`, the control plane's `others` being what they are.

    Pure. None if it may.
    """
    wanted, now = number_of(target), number_of(present)
    if wanted.major != now.major or abs(wanted.minor - now.minor) > 1:
        return (
            f"from {present} to {target} is more than one minor version: go to {now.major}."
            f"{now.minor + (1 if wanted > now else -1)} first"
        )
    for name, version in sorted(others.items()):
        other = number_of(version)
        if other.major != wanted.major or abs(other.minor - wanted.minor) > 1:
            return f"{name} runs {version}, more than one minor version from {target}: upgrade it first"
        if role == "worker" and wanted > other:
            return (
                f"{name} of the control plane runs {version}, and no node may be newer than {target}: upgrade it first"
            )
    return None


def lock(name: str, now_s: int) -> Callable[[Common | None], Common]:
    """Return the change by which the machine `name` becomes the one that is upgraded.

    It raises CannotDo while another one is.
    """

    def change(common: Common | None) -> Common:
        if common is None:
            raise CannotDo("the cluster does not say which machines it has: kube-system/steersman-machines is gone")
        held = common.upgrading and common.upgrading != name and now_s - common.upgrading_since_s < LOCK_LASTS_S
        if held:
            raise CannotDo(
                f"{common.upgrading} is being upgraded: one machine at a time; if it is not, try again in "
                f"{LOCK_LASTS_S - (now_s - common.upgrading_since_s)} s"
            )
        common.upgrading, common.upgrading_since_s = name, now_s
        return common

    return change


def unlock(name: str, version: str) -> Callable[[Common | None], Common]:
    """Return the change that ends the upgrade of the machine `name`, which runs `version` now."""

    def change(common: Common | None) -> Common:
        assert common is not None
        if common.upgrading == name:
            common.upgrading, common.upgrading_since_s = "", 0
        if name in {member.name for member in common.members}:
            common.versions = {**common.versions, name: version}
        return common

    return change


def upgrade(site: Site, report: Report) -> tuple[str, str]:
    """Take this machine to the running version; return the versions it came from and is at.

    Raises:
        CannotDo: it may not go there, or could not and went back.
    """
    layout, machine = site.layout, site.machine
    target, present = install.running_version(), install.current_version(layout)
    if present is None:
        raise CannotDo("no version is installed here: `steer init` and `steer join` install one")
    if target == present:
        raise CannotDo(f"{machine.name} runs {present} already: run the other version's own `steer upgrade`")
    versions = cluster.talk(_read_versions(site))
    others = {name: version for name, version in versions.items() if name != machine.name}
    if (problem := skew_problem(target, present, others, machine.role)) is not None:
        raise CannotDo(problem)
    report(f"install {target}")
    directory = install.install(layout, target)
    if not machine.is_control_plane:
        _swap(site, directory, present, report)
        return present, target
    now_s = int(credentials.now().timestamp())
    cluster.ask(lambda client: cluster.change_common(client, lock(machine.name, now_s)), layout, machine)
    at = present
    try:
        if found := asyncio.run(_others_problems(machine, credentials.store_identity(layout))):
            raise CannotDo("\n".join([*found, "one machine at a time: mend that first"]))
        _swap(site, directory, present, report)
        at = target
    finally:
        cluster.ask(lambda client: _finish(client, machine, at), layout, machine)
    return present, target


async def _finish(client: Client, machine: Machine, version: str) -> None:
    await cluster.change_common(client, unlock(machine.name, version))
    await cluster.mark_node(client, machine, version)


async def _read_versions(site: Site) -> dict[str, str]:
    async with cluster.own_client(site.layout, site.machine) as client:
        return (await cluster.members_by_nodes(client))[1]


async def _others_problems(machine: Machine, identity: Identity) -> list[str]:
    """Return what is wrong with the other control-plane machines; without them there is no majority meanwhile."""
    found = []
    for member in machine.members:
        if member.name == machine.name:
            continue
        client = StoreClient([f"{member.address}:{STORE_CLIENT_PORT}"], identity)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                status = await client.status()
            if not status.leader:
                found.append(f"the store of {member.name} has no leader")
        except (Unavailable, TimeoutError):
            found.append(f"the store of {member.name} does not answer")
        finally:
            await client.close()
        if not await host.listens(member.address, SECURE_PORT, ANSWER_WITHIN_S):
            found.append(f"the API server of {member.name} does not answer")
    return found


def _swap(site: Site, directory: str, present: str, report: Report) -> None:
    """Go to the version in `directory`, and back to `present` if a process does not get ready with it.

    Raises:
        CannotDo: it went back; the message says why.
    """
    layout = site.layout
    former = install.directory_of(layout, present)
    kept = layout.data / "before-upgrade"
    _keep(site, kept)
    try:
        install.use(layout, directory)
        before = _contents(site)
        build.write_settings(site)
        build.install_units(site)
        _roll(site, _concerned(site, before), report)
    except CannotDo as error:
        if former is None:
            raise
        report(f"going back to {present}: {error}")
        install.use(layout, former)
        _bring_back(site, kept)
        _roll(site, _names(site), report)
        if directory != former:
            shutil.rmtree(layout.prefix / directory, ignore_errors=True)
        raise CannotDo(f"{error}\nwent back to {present}") from error
    install.prune(layout, present)


def _names(site: Site) -> list[str]:
    return [unit.name for unit in units(site.machine, site.layout)]


def _concerned(site: Site, before: Mapping[Path, bytes]) -> list[str]:
    """Return what must be started again: all that runs our code, and containerd if its unit changed."""
    changed = {path.name for path, content in _contents(site).items() if before.get(path) != content}
    return [*(["containerd"] if service("containerd") in changed else []), *_names(site)]


def _contents(site: Site) -> dict[Path, bytes]:
    files = [site.layout.units / name for name in build.unit_files(site.machine)]
    return {path: path.read_bytes() for path in files if path.exists()}


def _roll(site: Site, names: Sequence[str], report: Report) -> None:
    for name in names:
        report(f"restart {service(name)}")
        site.systemd.restart(service(name))
        if name != "containerd":
            site.await_ready(name)


def _keep(site: Site, place: Path) -> None:
    """Copy units and settings aside, to be brought back."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    files = [*_contents(site), *(site.layout.settings(name) for name in _names(site))]
    for path in files:
        if path.exists():
            target = place / path.relative_to(site.layout.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _bring_back(site: Site, place: Path) -> None:
    for path in place.rglob("*"):
        if path.is_file():
            host.replace(site.layout.root / path.relative_to(place), path.read_bytes())
    site.systemd.reload()
