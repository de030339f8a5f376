"""Volumes with zones in their labels are within reach of nodes of those zones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.core.volume_matching import is_bound
from api.resource import ObjectKey
from scheduler.framework import SKIP, SUCCESS, ClusterEvent, CycleState, Status, unresolvable
from scheduler.snapshot import NodeView, PodView, Snapshot

_KEYS = {
    "topology.kubernetes.io/zone": "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region": "failure-domain.beta.kubernetes.io/region",
}
_KEYS |= {old: new for new, old in _KEYS.items()}
"""Each label's name, and the name it has or had elsewhere."""
_SEPARATOR = "__"
"""Between the zones of a volume that is in several."""


@dataclass(frozen=True, slots=True)
class _Zones:
    wanted: Sequence[tuple[str, frozenset[str]]]
    """Labels that a node must have, with the values that will do."""


class VolumeZone:
    """Honours zone and region labels of bound PersistentVolumes; newer volumes have a node affinity instead."""

    name = "VolumeZone"
    helped_by = ClusterEvent.NODE_ADDED | ClusterEvent.NODE_LABELS | ClusterEvent.CLAIM | ClusterEvent.VOLUME

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        wanted = []
        for key in pod.claims:
            claim = snapshot.around.claims.get(key)
            if claim is None or not is_bound(claim):
                continue
            volume = snapshot.around.volumes.get(ObjectKey("", claim.spec.volume_name))
            labels = volume.metadata.labels if volume is not None else {}
            wanted += [(label, frozenset(value.split(_SEPARATOR))) for label, value in labels.items() if label in _KEYS]
        if not wanted:
            return SKIP
        state.put(_Zones(wanted))
        return SUCCESS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        labels = node.node.metadata.labels
        for label, values in state.get(_Zones).wanted:
            if labels.get(label, labels.get(_KEYS[label])) not in values:
                return unresolvable("node(s) had no available volume zone")
        return SUCCESS
