"""`steer machine sync`, every minute by a timer: what a machine owes its cluster and cannot do at once.

Level-triggered: it looks at what is and does what is missing. On every machine it takes over which API servers there
are, renews certificates that are about to end, and gives processes another chance that systemd gave up. Control-plane
machines also take the DNS servers of lost machines out of service.
"""

from __future__ import annotations

import asyncio

from api.core import node
from api.core.node import Node
from api.discovery import endpointslice
from api.errors import ApiError, NotFound
from api.resource import ObjectKey
from client.verbs import Client
from deploy.machine import build, certs, cluster, credentials, host
from deploy.machine.build import Site
from deploy.machine.cluster import Common
from deploy.machine.plan import Machine, Member, service, service_names
from deploy.report import CannotDo, Report

ANSWER_WITHIN_S = 20.0
HANDS_OFF = ("store",)
"""Processes whose settings may change without a restart: a store knows its members from its own log."""


def sync(site: Site, report: Report) -> None:
    """Do all there is to do; what fails is reported and tried again next time.

    Raises:
        CannotDo: the cluster does not answer; what needs no cluster was done.
    """
    concerned = credentials.issue(site.layout, site.machine) if site.machine.is_control_plane else []
    certs.hand_out(site, concerned, report)
    revive(site, report)
    try:
        members = asyncio.run(_talk(site))
    except (ApiError, TimeoutError) as error:
        raise CannotDo(f"the cluster does not answer: {error or 'in time'}") from None
    changed = updated(site.machine, members)
    if changed is not None:
        site.machine = changed
        host.write_machine(site.layout, changed)
        names = [name for name in build.write_settings(site) if name not in HANDS_OFF]
        _restart(site, names, "the machines of the cluster changed", report)


def updated(machine: Machine, members: list[Member]) -> Machine | None:
    """Return `machine` as it is in view of the control plane's `members`; None if that is as before. Pure."""
    if not members or members == machine.members:
        return None  # nobody left to ask is no news to act on
    if machine.is_control_plane and machine.name not in {member.name for member in members}:
        return None  # taken out by `steer leave`: whoever runs that stops this machine too
    return Machine(
        name=machine.name,
        address=machine.address,
        role=machine.role,
        members=members,
        founder=machine.founder,
        failover=machine.failover,
        names=machine.names,
    )


def revive(site: Site, report: Report) -> None:
    """Start what failed too often for systemd to go on."""
    for name in service_names(site.machine.role):
        if site.systemd.state(service(name)).active == "failed":
            report(f"starting {service(name)}, which had failed")
            site.systemd.start(service(name))


def _restart(site: Site, names: list[str], why: str, report: Report) -> None:
    for name in names:
        if site.systemd.is_active(service(name)):
            report(f"restarting {service(name)}: {why}")
            site.systemd.restart(service(name))
            site.await_ready(name)


async def _talk(site: Site) -> list[Member]:
    """Return the control-plane machines, and do what there is to do through the API."""
    layout, machine = site.layout, site.machine
    async with asyncio.timeout(ANSWER_WITHIN_S):
        if not machine.is_control_plane:
            async with cluster.own_client(layout, machine) as client:
                return (await cluster.members_by_nodes(client))[0]
        async with cluster.administrator(layout, machine) as client:
            common = await cluster.read_common(client)
            if common is None:
                return []
            await _mark_slices(client, common)
            return common.members


async def _mark_slices(client: Client, common: Common) -> None:
    """Have the DNS Service and the metrics API lead only to machines whose node is Ready; to all, if none is."""
    nodes = {found.metadata.name: found for found in (await client.list(node.RESOURCE)).items}
    ready = {member.name: is_ready(nodes.get(member.name)) for member in common.members}
    slices = [(cluster.dns_slice(name), good) for name, good in ready.items()]
    slices += [(cluster.metrics_slice(name), good) for name, good in ready.items()]
    for slice_name, good in slices:
        key = ObjectKey("kube-system", slice_name)
        try:
            found = await client.get(endpointslice.RESOURCE, key)
        except NotFound:
            continue
        good = good or not any(ready.values())
        if any(endpoint.conditions.ready is not good for endpoint in found.endpoints):
            for endpoint in found.endpoints:
                endpoint.conditions.ready = good
            await client.update(endpointslice.RESOURCE, found)


def is_ready(found: Node | None) -> bool:
    """Whether a Node says that it is Ready. Pure."""
    return found is not None and any(each.type == "Ready" and each.status == "True" for each in found.status.conditions)
