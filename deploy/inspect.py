"""What only the cluster itself can tell `steer status`: the store's state, and the nodes as the API shows them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.core import node, pod
from api.errors import ApiError
from client.transport import GrpcTransport
from client.verbs import Client
from component.serve import Identity
from deploy.local import admin_identity, store_identity
from deploy.plan import Cluster, component_endpoints, store_endpoints
from store.client import StoreClient

ANSWER_WITHIN_S = 5.0


@dataclass(slots=True)
class View:
    """Inside knowledge; `problem` says what could not be learnt."""

    store: dict[str, Any] | None = None
    nodes: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def look(cluster: Cluster) -> View:
    """Ask the store and the API server; never raises for one that does not answer."""
    stores, servers = store_endpoints(cluster), component_endpoints(cluster)
    return look_at(stores, store_identity(cluster), servers, admin_identity(cluster))


def look_at(stores: Sequence[str], for_store: Identity, servers: Sequence[str], admin: Identity) -> View:
    """Do the same by addresses: of the store's members, and of API servers' component API."""
    return asyncio.run(_look(_store(stores, for_store), _nodes(servers, admin)))


async def _look(store: Coroutine[Any, Any, dict[str, Any]], nodes: Coroutine[Any, Any, list[dict[str, Any]]]) -> View:
    view = View()
    problems = []
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            view.store = await store
    except Exception as error:  # whatever is wrong with it is what the reader wants to know
        problems.append(f"the store does not answer: {error or type(error).__name__}")
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            view.nodes = await nodes
    except (ApiError, TimeoutError) as error:
        problems.append(f"the API server does not answer: {error or type(error).__name__}")
    view.problem = "; ".join(problems)
    return view


async def _store(endpoints: Sequence[str], identity: Identity) -> dict[str, Any]:
    client = StoreClient(endpoints, identity)
    try:
        found = await client.status()
        members = {member.id: member for member in await client.members()}
    finally:
        await client.close()
    leader = members.get(found.leader)
    learners = [member.name or "(starting)" for member in members.values() if member.is_learner]
    shown = {"leader": leader.name if leader else "none", "members": len(members), "term": found.raft_term}
    if learners:
        shown["learners"] = ", ".join(learners)
    return shown | {"revision": found.revision}


async def _nodes(endpoints: Sequence[str], identity: Identity) -> list[dict[str, Any]]:
    client = Client(GrpcTransport(endpoints, identity))
    try:
        nodes = await client.list(node.RESOURCE, resource_version="0")
        pods = await client.list(pod.RESOURCE, resource_version="0")
    finally:
        await client.close()
    count = Counter(found.spec.node_name for found in pods.items)
    shown = []
    for found in nodes.items:
        ready = next((condition for condition in found.status.conditions if condition.type == "Ready"), None)
        address = next((a.address for a in found.status.addresses if a.type == "InternalIP"), "")
        state = "Ready" if ready and ready.status == "True" else f"NotReady ({ready.reason if ready else 'no status'})"
        name = found.metadata.name
        shown.append({"name": name, "state": state, "address": address, "pods": count[name]})
    return shown
