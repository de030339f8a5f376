"""What the machines of a cluster tell each other through the API: who they are, and how newcomers get in.

`steersman-machines` in kube-system names the control-plane machines and what they have in common. Everything here is
written as the cluster's administrator and is safe to repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from api.core import configmap, node, serviceaccount
from api.core.configmap import ConfigMap
from api.errors import AlreadyExists, ApiError, Conflict, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.transport import GrpcTransport
from client.verbs import Client
from component.serve import Identity
from deploy import addons
from deploy.machine import credentials, discovery
from deploy.machine.plan import METRICS_PORT, Layout, Machine, Member, endpoints, server_url
from deploy.machine.steps import Step, never
from deploy.report import CannotDo

MACHINES = ObjectKey("kube-system", "steersman-machines")
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
VERSION_ANNOTATION = "steersman.io/version"
READY_WITHIN_S = 120.0
POLL_S = 0.2
T = TypeVar("T")


NEWS_WITHIN_S = 5.0
"""How long a command waits to hear of machines that it may not know of."""


class Common(msgspec.Struct, kw_only=True, rename="camel"):
    """What all machines of a cluster have in common, as its ConfigMap keeps it."""

    members: list[Member]
    founder: str
    failover: str = "default"
    names: list[str] = []
    versions: dict[str, str] = {}
    """What each control-plane machine runs."""
    upgrading: str = ""
    """The machine that is being upgraded; no other is meanwhile."""
    upgrading_since_s: int = 0


def ask(work: Callable[[Client], Coroutine[Any, Any, T]], layout: Layout, machine: Machine) -> T:
    """Run `work` as the administrator of this machine's cluster.

    Raises:
        CannotDo: the API server refuses or does not answer.
    """

    async def run() -> T:
        async with administrator(layout, machine) as client:
            return await work(client)

    try:
        return talk(run())
    except CannotDo as error:
        # What ended on this machine keeps it from being believed, and is the likelier reason.
        found = credentials.certificates(layout, machine)
        advice = credentials.ended_advice(found, is_control_plane=machine.is_control_plane)
        raise CannotDo("\n".join([str(error), *advice])) from error


def talk(work: Coroutine[Any, Any, T]) -> T:
    """Run what talks to an API server; raises CannotDo where that refuses or does not answer."""
    try:
        return asyncio.run(work)
    except ApiError as error:
        raise CannotDo(f"the API server says: {error.message}") from error


def administrator(layout: Layout, machine: Machine) -> contextlib.AbstractAsyncContextManager[Client]:
    """Give a client that may do everything; for control-plane machines."""
    return _client(machine, credentials.admin_identity(layout))


def own_client(layout: Layout, machine: Machine) -> contextlib.AbstractAsyncContextManager[Client]:
    """Give a client that is this machine's node."""
    return _client(machine, credentials.node_identity(layout))


@contextlib.asynccontextmanager
async def _client(machine: Machine, identity: Identity) -> AsyncIterator[Client]:
    client = Client(GrpcTransport(endpoints(machine), identity))
    try:
        yield client
    finally:
        await client.close()


async def read_common(client: Client) -> Common | None:
    """Return what the machines have in common; None before the first machine wrote it."""
    try:
        found = await client.get(configmap.RESOURCE, MACHINES)
    except NotFound:
        return None
    return msgspec.json.decode(found.data["machines.json"], type=Common)


def newest_members(layout: Layout, machine: Machine) -> list[Member]:
    """Return the control-plane machines as the cluster knows them; as `machine` does where it does not answer soon.

    A machine learns of others within a minute only (`steer machine sync`), and a store that was restored knows more.
    """

    async def read() -> Common | None:
        async with asyncio.timeout(NEWS_WITHIN_S), administrator(layout, machine) as client:
            return await read_common(client)

    try:
        common = asyncio.run(read())
    except (ApiError, TimeoutError):
        common = None
    if common is None or not common.members:
        return machine.members
    others = {member.name for member in common.members}
    own = [member for member in machine.members if member.name == machine.name and member.name not in others]
    return [*own, *common.members]


async def change_common(client: Client, change: Callable[[Common | None], Common]) -> Common:
    """Change what the machines have in common, again and again until nobody else changed it meanwhile."""
    while True:
        try:
            found = await client.get(configmap.RESOURCE, MACHINES)
        except NotFound:
            common = change(None)
            made = ConfigMap(metadata=ObjectMeta(name=MACHINES.name, namespace=MACHINES.namespace), data=_data(common))
            with contextlib.suppress(AlreadyExists):
                await client.create(configmap.RESOURCE, made)
                return common
            continue
        common = change(msgspec.json.decode(found.data["machines.json"], type=Common))
        if found.data == _data(common):
            return common
        found.data = _data(common)
        with contextlib.suppress(Conflict):
            await client.update(configmap.RESOURCE, found)
            return common


def _data(common: Common) -> dict[str, str]:
    return {"machines.json": msgspec.json.format(msgspec.json.encode(common)).decode()}


def add_member(machine: Machine, version: str) -> Callable[[Common | None], Common]:
    """Return the change that makes `machine` known to all."""

    def change(common: Common | None) -> Common:
        if common is None:
            common = Common(members=[], founder=machine.founder, failover=machine.failover, names=machine.names)
        others = [member for member in common.members if member.name != machine.name]
        common.members = sorted(
            [*others, Member(name=machine.name, address=machine.address)], key=lambda member: member.name
        )
        common.versions = {**common.versions, machine.name: version}
        return common

    return change


def remove_member(name: str) -> Callable[[Common | None], Common]:
    """Return the change after which nobody knows the machine `name`."""

    def change(common: Common | None) -> Common:
        if common is None:
            raise CannotDo("the cluster does not say which machines it has: kube-system/steersman-machines is gone")
        common.members = [member for member in common.members if member.name != name]
        common.versions = {key: value for key, value in common.versions.items() if key != name}
        return common

    return change


def announce_step(layout: Layout, machine: Machine, version: str) -> Step:
    """Return the step that makes a control-plane machine known, and puts the add-ons in place.

    Those are DNS, the metrics API, a class of storage, the rights of nodes and newcomers, and `cluster-info`, which
    newcomers know the cluster by.
    """

    async def work(client: Client) -> None:
        await change_common(client, add_member(machine, version))
        await addons.apply_dns(client, machine.address, dns_slice(machine.name))
        ca = layout.pki / "cluster" / "ca.crt"
        await addons.apply_metrics(client, machine.address, METRICS_PORT, ca, metrics_slice(machine.name))
        await addons.make_default_class(client, layout.volumes)
        await addons.apply(client, "machines.yaml")
        await discovery.publish(client, server_url(machine), layout.pki / "cluster" / "ca.crt")

    return Step(
        "tell the cluster of this machine, and put the add-ons in place", never, lambda: ask(work, layout, machine)
    )


def ready_step(layout: Layout, machine: Machine, version: str) -> Step:
    """Return the step that waits until a control-plane machine's node is Ready and pods can run on it."""

    async def work(client: Client) -> None:
        await await_node(client, machine)
        await mark_node(client, machine, version)
        await await_default_account(client)

    return Step(f"wait for node {machine.name} to be Ready", never, lambda: ask(work, layout, machine))


def dns_slice(machine: str) -> str:
    """Return the name of the EndpointSlice that leads to a machine's DNS server."""
    return f"kube-dns-{machine}"


def metrics_slice(machine: str) -> str:
    """Return the name of the EndpointSlice that leads to a machine's metrics server."""
    return f"steer-metrics-{machine}"


async def members_by_nodes(client: Client) -> tuple[list[Member], dict[str, str]]:
    """Return the control-plane machines and their versions, as their Nodes say: what a node may read."""
    found = (await client.list(node.RESOURCE, label_selector=CONTROL_PLANE_LABEL)).items
    members, versions = [], {}
    for each in found:
        address = next((entry.address for entry in each.status.addresses if entry.type == "InternalIP"), "")
        if address:
            members.append(Member(name=each.metadata.name, address=address))
            versions[each.metadata.name] = each.metadata.annotations.get(VERSION_ANNOTATION, "")
    return sorted(members, key=lambda member: member.name), {name: text for name, text in versions.items() if text}


async def mark_node(client: Client, machine: Machine, version: str) -> None:
    """Say on a control-plane machine's Node that it is one, and of which version; for nodes to read, and people."""
    about = {"labels": {CONTROL_PLANE_LABEL: ""}, "annotations": {VERSION_ANNOTATION: version}}
    await client.patch(node.RESOURCE, ObjectKey("", machine.name), {"metadata": about})


async def await_node(client: Client, machine: Machine) -> None:
    """Wait until the machine's Node is Ready; raises CannotDo."""
    key, problem = ObjectKey("", machine.name), "it has not registered"
    deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(NotFound):
            found = await client.get(node.RESOURCE, key)
            ready = next((each for each in found.status.conditions if each.type == "Ready"), None)
            if ready is not None and ready.status == "True":
                return
            problem = ready.message if ready else "it says nothing yet"
        await asyncio.sleep(POLL_S)
    raise CannotDo(
        f"node {machine.name} did not get Ready in {READY_WITHIN_S:.0f} s: {problem}; "
        "see journalctl -u steersman-kubelet -u steersman-kubeproxy"
    )


async def await_default_account(client: Client) -> None:
    """Wait for the ServiceAccount without which the first pod would be refused; raises CannotDo."""
    deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(NotFound):
            await client.get(serviceaccount.RESOURCE, ObjectKey("default", "default"))
            return
        await asyncio.sleep(POLL_S)
    raise CannotDo("the controllers made no ServiceAccount default/default: see journalctl -u steersman-controllers")
