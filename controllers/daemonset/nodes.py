"""Where daemon pods belong, and what one looks like that is bound for a node. Pure.

A pod reaches its node through the scheduler: a node affinity for the node's name (`matchFields`), in place of the
template's own required terms, leaves it one node to go to. Tolerations keep it there while the node is in trouble.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from api.apps.daemonset import DaemonSet, template_generation
from api.core.node import Node
from api.core.node_matching import selects, tolerates
from api.core.placement import Affinity, NodeAffinity, Toleration
from api.core.pod import Pod, PodSpec
from api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from controllers.pod_making import pod_of
from controllers.pods import is_finished
from controllers.revisions import HASH_LABEL

GENERATION_LABEL = "pod-template-generation"
_NODE_NAME = "metadata.name"
_TROUBLES = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
_NO_NETWORK = ("network-unavailable", "NoSchedule")


def tolerations_of(spec: PodSpec) -> list[Toleration]:
    """Return the template's tolerations and those of every daemon pod."""
    found = list(spec.tolerations)
    for name, effect in (*_TROUBLES, _NO_NETWORK) if spec.host_network else _TROUBLES:
        key = f"node.kubernetes.io/{name}"
        wanted = Toleration(key=key, operator="Exists", effect=effect)
        same = [each for each in found if (each.key, each.operator, each.effect) == (key, "Exists", effect)]
        # One that is there for a limited time is made to hold for ever.
        found = [wanted if each in same else each for each in found] if same else [*found, wanted]
    return found


def where(ds: DaemonSet, node: Node) -> tuple[bool, bool]:
    """Return whether a daemon pod should be started on `node`, and whether one that is there may stay.

    A taint that only keeps pods from being scheduled drives none away.
    """
    spec = ds.spec.template.spec
    if spec.node_name not in ("", node.metadata.name) or not selects(spec, node):
        return False, False
    tolerated = tolerations_of(spec)
    effects = {taint.effect for taint in node.spec.taints if not tolerates(tolerated, taint)}
    return not effects & {"NoSchedule", "NoExecute"}, "NoExecute" not in effects


def daemon_pod(ds: DaemonSet, hash: str, node_name: str) -> Pod:
    """Return a new pod bound for a node."""
    made = pod_of(ds, ds.spec.template)
    made.metadata.labels[HASH_LABEL] = hash
    generation = template_generation(ds)
    if generation:
        made.metadata.labels[GENERATION_LABEL] = str(generation)
    spec = ds.spec.template.spec
    made.spec = msgspec.structs.replace(
        spec, affinity=_only_on(spec.affinity, node_name), tolerations=tolerations_of(spec)
    )
    return made


def _only_on(affinity: Affinity | None, node_name: str) -> Affinity:
    affinity = affinity or Affinity()
    requirement = NodeSelectorRequirement(key=_NODE_NAME, operator="In", values=[node_name])
    required = NodeSelector(node_selector_terms=[NodeSelectorTerm(match_fields=[requirement])])
    nodes = msgspec.structs.replace(
        affinity.node_affinity or NodeAffinity(), required_during_scheduling_ignored_during_execution=required
    )
    return msgspec.structs.replace(affinity, node_affinity=nodes)


def node_of(pod: Pod) -> str:
    """Return the node a daemon pod is on or bound for; empty if it does not say."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    for term in required.node_selector_terms if required else ():
        for each in term.match_fields:
            if (each.key, each.operator, len(each.values)) == (_NODE_NAME, "In", 1):
                return each.values[0]
    return ""


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """Return pods by node, the bound before the unbound and the oldest first.

    A pod that has finished and is being deleted is gone already: what is left of it may need a long time.
    """
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        if not (is_finished(pod) and pod.metadata.deletion_timestamp):
            found.setdefault(node_of(pod), []).append(pod)
    for each in found.values():
        each.sort(key=_age)
    return found


def _age(pod: Pod) -> tuple[bool, str, str]:
    return not pod.spec.node_name, pod.metadata.creation_timestamp, pod.metadata.name


def is_node_news(old: Node, new: Node) -> bool:
    """Return whether a node changed in anything that decides where daemon pods belong; its status does not."""

    def facts(node: Node) -> Sequence[object]:
        metadata = node.metadata
        return metadata.uid, metadata.labels, node.spec.taints, node.spec.unschedulable

    return facts(old) != facts(new)
