"""Says on each node for how many seconds its kubelet may keep what it read, longer the more nodes there are.

The annotation `node.alpha.kubernetes.io/ttl` is upstream's TTL controller's. Our kubelets watch and need no such
advice; it is kept for whoever reads it. Nodes are looked at together, under one key, and the steps overlap: a cluster
whose size swings about a boundary does not have all its nodes written again and again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from api.core import node as nodes
from api.core.node import Node
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import Patch, Plan
from controllers.node_ipam import keys_of_node
from controllers.runner import Controller, Listers

ANNOTATION: Final = "node.alpha.kubernetes.io/ttl"
TTLS_S: Final = (0, 15, 30, 60, 300)
FEWEST: Final = (0, 90, 450, 900, 1800)
"""Nodes that keep a cluster at each step; with fewer it falls to the one before."""
MOST: Final = (100, 500, 1000, 2000)
"""Nodes above which it rises to the next."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Every node."""

    nodes: Sequence[Node]


def reconcile(observed: Observed, now: float) -> Plan:
    """Write what suits the cluster's size on nodes that say something else."""
    wanted = str(ttl_s(observed.nodes))
    change = {"metadata": {"annotations": {ANNOTATION: wanted}}}
    return Plan(
        tuple(
            Patch(nodes.RESOURCE, key_of(node), change)
            for node in observed.nodes
            if node.metadata.annotations.get(ANNOTATION) != wanted and not node.metadata.deletion_timestamp
        )
    )


def ttl_s(everyone: Sequence[Node]) -> int:
    """Return what all should say: what most say by now, or the nearest step that their number allows."""
    said = Counter(node.metadata.annotations.get(ANNOTATION, "") for node in everyone)
    most = max(range(len(TTLS_S)), key=lambda step: (said[str(TTLS_S[step])], -step))
    step = next(step for step in itertools.count(most) if step == len(MOST) or len(everyone) <= MOST[step])
    while len(everyone) < FEWEST[step]:
        step -= 1
    return TTLS_S[step]


def observe(key: ObjectKey, listers: Listers) -> Observed:
    """Read the nodes."""
    return Observed(listers[nodes.RESOURCE].list())


CONTROLLER: Controller[Node, Observed] = Controller(
    name="ttl-controller",
    resource=nodes.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    keys=keys_of_node,
    workers=1,
)
