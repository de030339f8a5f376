"""The last steps of `steer up`, which the API server carries out: nodes Ready, and what every cluster comes with."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future

from api.core import node, serviceaccount
from api.core.node import Node
from api.errors import NotFound
from api.resource import ObjectKey
from client.transport import GrpcTransport
from client.verbs import Client
from component.serve import Identity
from deploy import addons, supervision, system_pods
from deploy.plan import Addresses, Cluster, Paths, component_endpoints
from deploy.report import CannotDo, Report

POLL_S = 0.05


async def finish(
    cluster: Cluster,
    addresses: Addresses,
    admin: Identity,
    image: Future[str] | None,
    report: Report,
    *,
    within_s: float,
    check_not_stopped: Callable[[], None],
) -> None:
    """Put the add-ons in place, and wait for the nodes and for the cluster's own pods.

    Args:
        cluster: what is brought up.
        addresses: of this machine.
        admin: may do everything.
        image: the one of our programs, once every node has it; None: no containers are run.
        report: told what is waited for.
        within_s: how long each thing is waited for.
        check_not_stopped: raises CannotDo when the cluster is brought down meanwhile.

    Raises:
        CannotDo: something did not get ready.
    """
    client = Client(GrpcTransport(component_endpoints(cluster), admin))
    try:
        ca = Paths(cluster.directory).pki / "cluster" / "ca.crt"
        await addons.make_default_class(client, Paths(cluster.directory).volumes)
        await addons.apply_cluster_info(client, f"https://{addresses.gateway}:{cluster.port}", ca)
        nodes = await _await_nodes(client, cluster, report, within_s, check_not_stopped)
        if image is not None:
            # With every node there is, so that the scheduler spreads them.
            made = await system_pods.apply(client, cluster, addresses, await asyncio.wrap_future(image))
            # Pods of nodes that were switched off move in their own time, and none come to nodes that are cordoned.
            if made and not cluster.powered_off and not any(each.spec.unschedulable for each in nodes):
                report(f"waiting for {' and '.join(key.name for key in made)}")
                await system_pods.await_available(client, made, within_s, check_not_stopped)
        await _await_default_account(client, within_s)
    finally:
        await client.close()


async def _await_nodes(
    client: Client, cluster: Cluster, report: Report, within_s: float, check_not_stopped: Callable[[], None]
) -> list[Node]:
    wanted = [name for name in cluster.node_names if name not in cluster.powered_off]
    report(f"waiting for {len(wanted)} node{'s' if len(wanted) != 1 else ''} to be Ready")
    deadline = time.monotonic() + within_s
    waiting: dict[str, str] = {}
    while time.monotonic() < deadline:
        listed = {found.metadata.name: found for found in (await client.list(node.RESOURCE)).items}
        waiting = {}
        for name in wanted:
            found = listed.get(name)
            ready = next((c for c in found.status.conditions if c.type == "Ready"), None) if found else None
            if ready is None or ready.status != "True":
                waiting[name] = ready.message if ready else "it has not registered"
        if not waiting:
            return list(listed.values())
        for name, problem in supervision.read_state(Paths(cluster.directory)).node_problems.items():
            raise CannotDo(f"node {name} does not boot: {problem}")
        check_not_stopped()
        await asyncio.sleep(POLL_S)
    name, why = next(iter(waiting.items()))
    logs = Paths(cluster.directory).logs
    raise CannotDo(f"node {name} did not get Ready in {within_s:.0f} s: {why}; see {logs}/kubelet-{name}.log")


async def _await_default_account(client: Client, within_s: float) -> None:
    """Wait for the ServiceAccount without which the first pod of the namespace `default` would be refused."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(NotFound):
            await client.get(serviceaccount.RESOURCE, ObjectKey("default", "default"))
            return
        await asyncio.sleep(POLL_S)
    raise CannotDo(f"the controllers made no ServiceAccount default/default in {within_s:.0f} s: see their log")
