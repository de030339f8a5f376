"""`steer join`: a further machine, as a node or as a member of the control plane.

Both come to trust the cluster by a bootstrap token (`discovery`). A node asks for its certificates, which the cluster
approves for its own name. A control-plane machine fetches the CAs' keys (`upload`) and issues its own; its store is
taken in as a member without a vote, catches up, and votes from then on (`deploy.store_members`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.core import node
from api.core.node import Node
from api.errors import AlreadyExists, ApiError
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client import certificates
from client.certificates import NotIssued, Wanted
from client.verbs import Client
from component.files import write_private
from deploy import store_members
from deploy.machine import cluster, credentials, discovery, drain, host, install, upload
from deploy.machine.build import Site, base_steps, finish_steps, record_step, start_steps, unit_steps
from deploy.machine.cluster import MACHINES, Common
from deploy.machine.invite import Invitation
from deploy.machine.plan import (
    CONTROL_PLANE,
    NODE,
    STORE_CLIENT_PORT,
    STORE_PEER_PORT,
    Layout,
    Machine,
    Member,
    Role,
    service,
)
from deploy.machine.rest import Rest
from deploy.machine.steps import Step, never
from deploy.pki import expiry
from deploy.report import CannotDo, Report
from store.client import StoreClient, StoreMember


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What is known of a machine before it has talked to the cluster."""

    name: str
    address: str
    role: Role
    names: tuple[str, ...] = ()

    def machine(self, common: Common) -> Machine:
        """Return what it is in the cluster that has `common`. Pure."""
        own = [Member(name=self.name, address=self.address)] if self.role == "control-plane" else []
        others = [member for member in common.members if member.name != self.name]
        founder = common.founder
        if founder == self.name and others:
            # It began the cluster once, and left: now it joins as any other, and must not begin a store of its own.
            founder = others[0].name
        return Machine(
            name=self.name,
            address=self.address,
            role=self.role,
            members=sorted([*others, *own], key=lambda member: member.name),
            founder=founder,
            failover="fast" if common.failover == "fast" else "default",
            names=list(dict.fromkeys([*common.names, *self.names])),
        )


def outline(newcomer: Newcomer) -> Machine:
    """Return what a newcomer will be, as far as it is known before the cluster was asked. Pure."""
    return Machine(name=newcomer.name, address=newcomer.address, role=newcomer.role, members=[])


def check(newcomer: Newcomer, common: Common) -> None:
    """Raise CannotDo if another machine of the cluster has the newcomer's name or address. Pure."""
    for member in common.members:
        if (member.name == newcomer.name) != (member.address == newcomer.address):
            raise CannotDo(
                f"the cluster has a control-plane machine {member.name} at {member.address} already: "
                f"this one cannot be {newcomer.name} at {newcomer.address}; give another --name or --address, or run "
                f"`steer leave` there first"
            )


def meet(invitation: Invitation, newcomer: Newcomer, layout: Layout, *, keep: bool) -> Machine:
    """Come to trust the cluster and return what this machine is in it; what was learnt before is not asked again.

    With `keep` it is written down, and the CAs with it.

    Raises:
        CannotDo: the cluster cannot be believed, or this machine is something else already.
    """
    existing = host.read_machine(layout)
    if existing is not None:
        same = (existing.name, existing.address, existing.role) == (newcomer.name, newcomer.address, newcomer.role)
        if not same or existing.founder == existing.name:
            raise CannotDo(
                f"this machine is {existing.name} at {existing.address}, a {existing.role} machine of a cluster: "
                "`steer leave` or `steer reset` comes first"
            )
        if (layout.pki / "cluster" / "ca.crt").exists():
            return existing
    found = discovery.discover(invitation.address, invitation.token, invitation.ca_hash)
    rest = _rest(found, invitation)
    path = f"/api/v1/namespaces/{MACHINES.namespace}/configmaps/{MACHINES.name}"
    common = msgspec.json.decode(rest.get(path)["data"]["machines.json"], type=Common)
    check(newcomer, common)
    machine = newcomer.machine(common)
    if keep:
        if newcomer.role == "control-plane":
            upload.download(rest, layout, invitation.certificate_key)
        authority = layout.pki / "cluster" / "ca.crt"
        authority.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(authority, found.authority)
        host.write_machine(layout, machine)
    return machine


def _rest(found: discovery.Found, invitation: Invitation) -> Rest:
    context = ssl.create_default_context(cadata=found.authority.decode())
    # The address given is the one that is known to be reachable; the certificate names it, or the CA's hash is wrong.
    return Rest(f"https://{invitation.address}", context, str(invitation.token))


def steps(site: Site, invitation: Invitation, report: Report) -> list[Step]:
    """Return the steps after `meet`: from a machine that trusts the cluster to one that is Ready in it."""
    if site.machine.is_control_plane:
        return _control_plane_steps(site, report)
    return _node_steps(site, invitation)


def _control_plane_steps(site: Site, report: Report) -> list[Step]:
    machine, layout = site.machine, site.layout

    return [
        *base_steps(site),
        record_step(site),
        Step("issue certificates", never, lambda: credentials.issue(layout, machine)),
        *unit_steps(site),
        Step("take this machine's store into the cluster's", never, lambda: asyncio.run(_join_store(site, report))),
        *start_steps(site, CONTROL_PLANE[1:2]),
        Step("wait for the API server", never, lambda: site.await_ready("apiserver")),
        *start_steps(site, (*NODE, *CONTROL_PLANE[2:])),
        cluster.announce_step(layout, machine, install.running_version()),
        *finish_steps(site),
        cluster.ready_step(layout, machine, install.running_version()),
    ]


def check_own_member(present: Sequence[StoreMember], name: str, address: str, *, has_data: bool) -> None:
    """Raise CannotDo if the store has a member at our address that had data which is not here any more. Pure.

    A member that lost what it voted for may not come back under its id: it must be removed, and added anew.
    """
    own = next((member for member in present if store_members.address_of(member) == address), None)
    if own is not None and own.name and not has_data:
        raise CannotDo(
            f"the cluster still has the store of {name}, whose data is gone from this machine: "
            f"`steer leave {name}` on another control-plane machine first, then join again"
        )


async def _join_store(site: Site, report: Report) -> None:
    machine = site.machine
    known = {member.name: f"{member.address}:{STORE_PEER_PORT}" for member in machine.members}
    addresses = [f"{member.address}:{STORE_CLIENT_PORT}" for member in machine.members if member.name != machine.name]
    own = f"{machine.address}:{STORE_CLIENT_PORT}"
    client = StoreClient([*addresses, own], credentials.store_identity(site.layout))

    async def start(name: str) -> None:
        await asyncio.to_thread(site.systemd.start, service("store"))

    async def stop(name: str) -> None:
        raise CannotDo(f"joining does not remove {name}")

    try:
        present = await client.members()
        check_own_member(present, machine.name, known[machine.name], has_data=(site.layout.data / "store/log").exists())
        # Only this machine's member is our business: whatever else there is stays.
        wanted = [(member.name, store_members.address_of(member)) for member in present]
        wanted = [(name, address) for name, address in wanted if address != known[machine.name]]
        steps = store_members.plan_steps(present, [*wanted, (machine.name, known[machine.name])])
        own_steps = [step for step in steps if step.member == machine.name]
        await store_members.carry_out(own_steps, client, report, start=start, stop=stop)
    finally:
        await client.close()
    await start(machine.name)


def _node_steps(site: Site, invitation: Invitation) -> list[Step]:
    machine, layout = site.machine, site.layout
    return [
        *base_steps(site),
        record_step(site),
        Step(
            "get the node's certificate",
            lambda: _is_good(layout, "client"),
            lambda: _bootstrap(site, invitation),
        ),
        Step(
            "get the certificate of the node's server",
            lambda: _is_good(layout, "serving"),
            lambda: asyncio.run(_obtain_serving(layout, machine)),
        ),
        *unit_steps(site),
        *start_steps(site, NODE),
        *finish_steps(site),
        Step(f"wait for node {machine.name} to be Ready", never, lambda: asyncio.run(_await_own_node(layout, machine))),
    ]


def _is_good(layout: Layout, stem: str) -> bool:
    ends = expiry(layout.kubelet_pki / f"{stem}.pem")
    return ends is not None and ends > credentials.now()


def _keep(layout: Layout, stem: str, key: bytes, certificate: bytes) -> None:
    """Keep one of the node's certificates with its key, where the kubelet will renew it."""
    layout.kubelet_pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(layout.kubelet_pki / f"{stem}.pem", key + certificate)


def _bootstrap(site: Site, invitation: Invitation) -> None:
    """Get the node's first certificate, showing the token."""
    authority = (site.layout.pki / "cluster" / "ca.crt").read_bytes()
    rest = _rest(discovery.Found("", authority), invitation)
    key = certificates.make_key()
    wanted = Wanted(certificates.CLIENT_SIGNER, site.machine.name)
    collection = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    asked = _decode(rest.create(collection, msgspec.json.encode(certificates.request(wanted, key))))
    issued: bytes | None = None

    def look() -> bool:
        nonlocal issued
        try:
            issued = certificates.outcome(_decode(rest.get(f"{collection}/{asked.metadata.name}")))
        except NotIssued as error:
            raise CannotDo(str(error)) from None
        return issued is not None

    if not host.wait_until(look, certificates.WAIT_S) or issued is None:
        raise CannotDo(
            f"nobody approved {asked.metadata.name} in {certificates.WAIT_S:.0f} s: on a machine of the control plane, "
            f"`kubectl certificate approve {asked.metadata.name}`; then join again"
        )
    _keep(site.layout, "client", certificates.key_pem(key), issued)


def _decode(answer: dict[str, Any]) -> CertificateSigningRequest:
    return msgspec.json.decode(json.dumps(answer).encode(), type=CertificateSigningRequest)


async def _introduce(client: Client, machine: Machine) -> None:
    """Make the Node, with its address: the certificate of its server is approved only for what its Node says."""
    with contextlib.suppress(AlreadyExists):
        await client.create(node.RESOURCE, Node(metadata=ObjectMeta(name=machine.name)))
    addresses = [
        {"type": "InternalIP", "address": machine.address},
        {"type": "Hostname", "address": machine.name},
    ]
    found = await client.get(node.RESOURCE, ObjectKey("", machine.name))
    if machine.address not in {each.address for each in found.status.addresses}:
        key = ObjectKey("", machine.name)
        await client.patch(node.RESOURCE, key, {"status": {"addresses": addresses}}, subresource="status")
    await drain.undo(client, machine.name)


async def _obtain_serving(layout: Layout, machine: Machine) -> None:
    wanted = Wanted(certificates.SERVING_SIGNER, machine.name, (machine.name, machine.address))
    async with cluster.own_client(layout, machine) as client:
        try:
            await _introduce(client, machine)
            key, certificate = await certificates.obtain(client, wanted)
        except (NotIssued, ApiError) as error:
            raise CannotDo(f"no certificate for the node's server: {error}") from None
    _keep(layout, "serving", key, certificate)


async def _await_own_node(layout: Layout, machine: Machine) -> None:
    async with cluster.own_client(layout, machine) as client:
        await cluster.await_node(client, machine)
