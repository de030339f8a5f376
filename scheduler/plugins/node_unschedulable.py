"""Keeps new pods off cordoned nodes."""

from __future__ import annotations

from api.core.node import Taint
from api.core.node_matching import tolerates
from scheduler.framework import SUCCESS, ClusterEvent, CycleState, Status, unresolvable
from scheduler.snapshot import NodeView, PodView

_CORDONED = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")


class NodeUnschedulable:
    """Honours Node spec.unschedulable, which `kubectl cordon` sets; daemon pods tolerate it as a taint."""

    name = "NodeUnschedulable"
    helped_by = ClusterEvent.NODE_ADDED | ClusterEvent.NODE_TAINTS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if node.node.spec.unschedulable and not tolerates(pod.pod.spec.tolerations, _CORDONED):
            return unresolvable("node(s) were unschedulable")
        return SUCCESS
