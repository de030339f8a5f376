"""Gives each node a range of pod addresses of its own: the lowest free subnet of the cluster's range.

Nodes are looked at together, under one key, so that no two get the same range; a range that is written on a node is
never changed, so ranges survive restarts. Reads and writes Nodes only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from api.core import node as nodes
from api.core.ip_addresses import parse_cidr
from api.core.node import Node
from api.resource import ObjectKey
from client.events import NORMAL
from client.verbs import key_of
from controllers.actions import Action, Emit, Patch, Plan
from controllers.runner import Controller, Listers

ALL_NODES = ObjectKey("", "all-nodes")
RETRY_FULL_S = 30.0


@dataclass(frozen=True, slots=True)
class Observed:
    """Every node, and the range to share out."""

    nodes: Sequence[Node]
    cluster: ipaddress.IPv4Network
    prefix_length: int
    """Of one node's range."""


def reconcile(observed: Observed, now: float) -> Plan:
    """Give the lowest free subnets to nodes that have none, in order of name."""
    waiting = [node for node in observed.nodes if not node.spec.pod_cidr and not node.metadata.deletion_timestamp]
    if not waiting:
        return Plan()
    base, size = int(observed.cluster.network_address), 2 ** (32 - observed.prefix_length)
    count = 2 ** (observed.prefix_length - observed.cluster.prefixlen)
    taken: set[int] = set()
    for node in observed.nodes:
        for text in {node.spec.pod_cidr, *node.spec.pod_cidrs} - {""}:
            network = parse_cidr(text)
            if network is not None and network.version == 4 and network.overlaps(observed.cluster):
                first = (int(network.network_address) - base) // size
                last = (int(network.broadcast_address) - base) // size
                taken.update(range(max(0, first), min(count - 1, last) + 1))
    free = (number for number in range(count) if number not in taken)
    actions: list[Action] = []
    full = False
    for node in waiting:
        number = next(free, None)
        if number is None:
            full = True
            message = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
            actions.append(Emit(node, NORMAL, "CIDRNotAvailable", message))
            continue
        subnet = f"{ipaddress.IPv4Address(base + number * size)}/{observed.prefix_length}"
        # Checked against the uid: a node made again under the same name may have had time to get another.
        patch = {"metadata": {"uid": node.metadata.uid}, "spec": {"podCIDR": subnet, "podCIDRs": [subnet]}}
        actions.append(Patch(nodes.RESOURCE, key_of(node), patch))
    return Plan(tuple(actions), requeue_after_s=RETRY_FULL_S if full else None)


def keys_of_node(node: Node, listers: Listers) -> Iterable[ObjectKey]:
    """Map every node to the one key under which all are looked at."""
    return (ALL_NODES,)


def controller(cluster_cidr: str, prefix_length: int) -> Controller[Node, Observed]:
    """Return the controller that shares out `cluster_cidr` in subnets of `prefix_length`.

    Raises:
        ValueError: the range is none, or too small for one subnet; the message says so.
    """
    try:
        cluster = ipaddress.IPv4Network(cluster_cidr)
    except ValueError as error:
        raise ValueError(f"the cluster's range {error}: expected one such as 10.244.0.0/16") from None
    if not cluster.prefixlen <= prefix_length <= 30:
        raise ValueError(f"a node's /{prefix_length} does not fit into {cluster}: take {cluster.prefixlen} to 30")

    def observe(key: ObjectKey, listers: Listers) -> Observed:
        return Observed(listers[nodes.RESOURCE].list(), cluster, prefix_length)

    return Controller(
        name="node-ipam-controller",
        resource=nodes.RESOURCE,
        observe=observe,
        reconcile=reconcile,
        keys=keys_of_node,
        workers=1,
    )
