"""`steer leave`: a machine goes for good, and the cluster forgets it; also for one that is lost and never returns.

Its pods go elsewhere first (`drain`). Of a control-plane machine the store's member is removed then, while a majority
is there to agree; nobody is told of the machine any more, and its Node is deleted. A worker cannot delete its own Node
(NodeRestriction): that is for whoever administers the cluster, `steer leave NAME` on a control-plane machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from api.core import node
from api.discovery import endpointslice
from api.errors import NotFound
from api.resource import ObjectKey
from client.verbs import Client
from deploy import store_members
from deploy.machine import cluster, credentials, drain
from deploy.machine.build import Site
from deploy.machine.plan import STORE_CLIENT_PORT, STORE_PEER_PORT, Machine, Member, service
from deploy.machine.steps import Step, never
from deploy.report import CannotDo, Report
from deploy.store_members import address_of
from store.client import StoreClient, StoreMember, Unavailable


def check_last(machine: Machine, name: str) -> None:
    """Raise CannotDo if `name` is the last of the control plane: there would be no cluster left. Pure."""
    members = {member.name for member in machine.members}
    if members == {name}:
        raise CannotDo(f"{name} is the cluster's only control-plane machine: `steer reset` ends the cluster")


def steps(site: Site, name: str, report: Report) -> list[Step]:
    """Return the steps that make the cluster forget the machine `name`; run on any control-plane machine."""
    machine = site.machine
    is_member = any(member.name == name for member in machine.members)
    found = []
    if is_member:
        found += [
            Step(
                f"take {name}'s store out of the cluster's",
                never,
                lambda: asyncio.run(_leave_store(site, name, report)),
            ),
            Step("tell the other machines", never, lambda: _forget(site, name)),
        ]
    return [*found, Step(f"delete node {name}", never, lambda: _delete_node(site, name))]


def drain_step(site: Site, name: str, timeout_s: float, report: Report, *, force: bool) -> Step:
    """Return the step that has the pods of the machine `name` run elsewhere; one that is lost has none to ask."""
    machine, layout = site.machine, site.layout

    async def work(client: Client) -> None:
        problem = await _why_not_drained(client, site, name)
        if not problem:
            await drain.drain(client, name, timeout_s, report, force=force)
        else:
            report(f"{problem}: its pods are given up, not moved")

    async def as_node() -> None:
        async with cluster.own_client(layout, machine) as client:
            await work(client)

    def do() -> None:
        try:
            if machine.is_control_plane:
                cluster.ask(work, layout, _asking_others(machine, name))
            else:
                cluster.talk(as_node())
        except CannotDo as error:
            # Another machine's pods are given up only by somebody who was answered: else nothing after this can work.
            if not force or name != machine.name:
                raise
            report(f"going on, as --force says: {error}")

    return Step(f"have the pods of {name} run elsewhere", never, do)


async def _why_not_drained(client: Client, site: Site, name: str) -> str:
    """Return why the pods of a machine cannot be moved any more; empty if they can.

    Raises:
        CannotDo: there is no such machine.
    """
    known = {found.metadata.name for found in (await client.list(node.RESOURCE)).items}
    if name == site.machine.name:
        # This very machine: what its Node says may be of a moment ago.
        runs = site.systemd.is_active(service("kubelet"))
        return "" if runs and name in known else f"the kubelet of {name} does not run"
    if name not in known | {member.name for member in site.machine.members}:
        raise CannotDo(f"the cluster has no machine {name}; there are {', '.join(sorted(known))}")
    return await drain.why_lost(client, name)


def others(machine: Machine, name: str) -> list[Member]:
    """Return the control-plane machines but `name`, those to be asked while it goes. Pure."""
    return [member for member in machine.members if member.name != name]


async def _leave_store(site: Site, name: str, report: Report) -> None:
    machine = site.machine
    leaving = next(member for member in machine.members if member.name == name)
    asked = [f"{member.address}:{STORE_CLIENT_PORT}" for member in others(machine, name)]
    client = StoreClient(asked, credentials.store_identity(site.layout))

    async def start(_: str) -> None:
        raise CannotDo("leaving adds nobody")

    async def stop(_: str) -> None:
        if name == machine.name:
            await asyncio.to_thread(site.systemd.stop, service("store"))

    try:
        present = await client.members()
        address = f"{leaving.address}:{STORE_PEER_PORT}"
        wanted = [(each.name, address_of(each)) for each in present if address_of(each) != address]
        await _check_quorum(present, address, site)
        removals = [step for step in store_members.plan_steps(present, wanted) if step.verb == "remove"]
        await store_members.carry_out(removals, client, report, start=start, stop=stop)
    except Unavailable as error:
        raise CannotDo(f"the store has no majority to agree on it ({error}): see docs/disaster.md") from None
    finally:
        await client.close()


async def _check_quorum(present: Sequence[StoreMember], leaving: str, site: Site) -> None:
    """Raise CannotDo if those that stay would not be enough to go on."""
    staying = [each for each in present if address_of(each) != leaving and not each.is_learner]
    identity = credentials.store_identity(site.layout)
    answering = 0
    for member in staying:
        address = address_of(member).rpartition(":")[0]
        client = StoreClient([f"{address}:{STORE_CLIENT_PORT}"], identity)
        try:
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(3.0):
                    await client.status()
                answering += 1
        finally:
            await client.close()
    if answering < len(staying) // 2 + 1:
        raise CannotDo(
            f"of the {len(staying)} store members that would stay only {answering} answer: "
            "without a majority of them the cluster would stand still; mend those first"
        )


def _forget(site: Site, name: str) -> None:
    async def work(client: Client) -> None:
        common = await cluster.change_common(client, cluster.remove_member(name))
        site.machine.members = common.members
        for slice_name in (cluster.dns_slice(name), cluster.metrics_slice(name)):
            with contextlib.suppress(NotFound):
                await client.delete(endpointslice.RESOURCE, ObjectKey("kube-system", slice_name))

    cluster.ask(work, site.layout, _asking_others(site.machine, name))


def _delete_node(site: Site, name: str) -> None:
    async def work(client: Client) -> None:
        with contextlib.suppress(NotFound):
            await client.delete(node.RESOURCE, ObjectKey("", name))

    cluster.ask(work, site.layout, _asking_others(site.machine, name))


def _asking_others(machine: Machine, name: str) -> Machine:
    """Return `machine` as one that asks only the API servers that stay. Pure."""
    return Machine(name="", address=machine.address, role=machine.role, members=others(machine, name))
