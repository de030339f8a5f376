"""Two pods cannot have the same port of one node."""

from __future__ import annotations

from scheduler.framework import SKIP, SUCCESS, ClusterEvent, CycleState, Status, unschedulable
from scheduler.snapshot import NodeView, PodView, Snapshot


class NodePorts:
    """Honours hostPort of Pod spec.containers[*].ports; a pod on the host's network takes all its ports there."""

    name = "NodePorts"
    helped_by = ClusterEvent.NODE_ADDED | ClusterEvent.POD_GONE

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        return SUCCESS if pod.host_ports else SKIP

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if any(wanted.conflicts_with(taken) for wanted in pod.host_ports for taken in node.host_ports):
            return unschedulable("node(s) didn't have free ports for the requested pod ports")
        return SUCCESS
