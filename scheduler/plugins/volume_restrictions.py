"""Some claims may be used by one pod only."""

from __future__ import annotations

from dataclasses import dataclass

from api.resource import ObjectKey
from scheduler.framework import SKIP, SUCCESS, ClusterEvent, CycleState, Status, unschedulable
from scheduler.snapshot import NodeView, PodView, Snapshot


@dataclass(frozen=True, slots=True)
class _Conflict:
    claims: frozenset[ObjectKey]
    """Those of the pod's claims that are for one pod alone."""
    users: int
    """How many other pods use one of them, wherever they are."""


class VolumeRestrictions:
    """Honours the access mode ReadWriteOncePod of claims (KEP-2485): while one pod uses them, no other is placed."""

    name = "VolumeRestrictions"
    helped_by = ClusterEvent.POD_GONE | ClusterEvent.CLAIM

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        claims = snapshot.around.claims
        alone = frozenset(
            key
            for key in pod.claims
            if (claim := claims.get(key)) is not None and "ReadWriteOncePod" in claim.spec.access_modes
        )
        if not alone:
            return SKIP
        state.put(_Conflict(alone, sum(_users(alone, pod, node) for node in snapshot.nodes.values())))
        return SUCCESS

    def recount(self, state: CycleState, pod: PodView, before: NodeView, after: NodeView) -> Status:
        note = state.find(_Conflict)
        if note is None:
            return SKIP
        change = _users(note.claims, pod, after) - _users(note.claims, pod, before)
        state.put(_Conflict(note.claims, note.users + change))
        return SUCCESS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        if state.get(_Conflict).users:
            return unschedulable(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            )
        return SUCCESS


def _users(claims: frozenset[ObjectKey], pod: PodView, node: NodeView) -> int:
    return sum(not claims.isdisjoint(other.claims) for other in node.pods.values() if other.uid != pod.uid)
