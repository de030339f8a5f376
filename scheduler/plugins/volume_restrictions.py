"""Some claims may be used by one pod only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scheduler.framework import SKIP, SUCCESS, ClusterEvent, CycleState, Status, unschedulable
from scheduler.snapshot import NodeView, PodView, Snapshot


@dataclass(frozen=True, slots=True)
class _Conflict:
    is_used: bool
    """Whether a pod somewhere uses one of the claims that are for one pod alone."""


class VolumeRestrictions:
    """Honours the access mode ReadWriteOncePod of claims (KEP-2485): while one pod uses them, no other is placed."""

    counts_pods: Literal[True] = True
    name = "VolumeRestrictions"
    helped_by = ClusterEvent.POD_GONE | ClusterEvent.CLAIM

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        claims = snapshot.around.claims
        alone = {
            key
            for key in pod.claims
            if (claim := claims.get(key)) is not None and "ReadWriteOncePod" in claim.spec.access_modes
        }
        if not alone:
            return SKIP
        used = (
            not alone.isdisjoint(other.claims)
            for node in snapshot.nodes.values()
            for other in node.pods.values()
            if other.uid != pod.uid
        )
        state.put(_Conflict(any(used)))
        return SUCCESS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if state.get(_Conflict).is_used:
            return unschedulable(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            )
        return SUCCESS
