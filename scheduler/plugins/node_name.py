"""Holds a pod to the node its spec names."""

from __future__ import annotations

from scheduler.framework import SUCCESS, ClusterEvent, CycleState, Status, unresolvable
from scheduler.snapshot import NodeView, PodView


class NodeName:
    """Honours Pod spec.nodeName. Such pods never reach the queue; the rule answers for the kubelet's admission."""

    name = "NodeName"
    helped_by = ClusterEvent.NODE_ADDED

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if pod.pod.spec.node_name not in ("", node.name):
            return unresolvable("node(s) didn't match the requested node name")
        return SUCCESS
