"""A pod goes where its volumes can be reached, and gets volumes for claims that waited for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api import quantity
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.references import TopologySelectorTerm
from api.core.volume_matching import (
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    SELECTED_NODE,
    class_of,
    ephemeral_claim,
    is_bound,
    is_made_for,
    is_reachable,
    select_volume,
    waits_for_consumer,
)
from api.resource import ObjectKey
from api.storage.storageclass import StorageClass
from client.verbs import key_of
from scheduler.framework import (
    SKIP,
    SUCCESS,
    ClusterEvent,
    Context,
    CycleState,
    NodeGivenUp,
    Status,
    unresolvable,
)
from scheduler.snapshot import NodeView, PodView, Snapshot, Surroundings

BIND_S_MAX = 600.0
"""How long a pod's claims may take to be bound, volumes being made included."""
_LOOK_S = 0.1
_LOOK_S_MAX = 1.0

_GONE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_UNREACHABLE = "node(s) had volume node affinity conflict"
_NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"


@dataclass(frozen=True, slots=True)
class _Decision:
    """What the claims that wait get if the pod goes to one node."""

    bind: Sequence[tuple[PersistentVolumeClaim, PersistentVolume]] = ()
    make: Sequence[PersistentVolumeClaim] = ()
    """Claims for which a provisioner makes volumes."""


@dataclass(frozen=True, slots=True)
class _Claims:
    """The pod's claims, and what was decided about them."""

    around: Surroundings
    bound: Sequence[PersistentVolumeClaim]
    waiting: Sequence[PersistentVolumeClaim]
    """Those bound only now; the smallest first, so that it does not take a larger one's volume."""
    by_node: dict[str, _Decision] = field(default_factory=dict)


class VolumeBinding:
    """Honours nodeAffinity of PersistentVolumes and volumeBindingMode of StorageClasses (KEP-490).

    Claims of a class that waits for its first consumer are bound here: either to a volume within the chosen node's
    reach, or by naming that node for a provisioner.
    """

    name = "VolumeBinding"
    helped_by = (
        ClusterEvent.NODE_ADDED
        | ClusterEvent.NODE_LABELS
        | ClusterEvent.CLAIM
        | ClusterEvent.VOLUME
        | ClusterEvent.STORAGE_CLASS
    )

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status:
        if not pod.claims:
            return SKIP
        around = snapshot.around
        found: list[PersistentVolumeClaim] = []
        for key in pod.claims:
            claim = around.claims.get(key)
            is_ephemeral = any(
                volume.ephemeral is not None and ephemeral_claim(pod.pod, volume.name) == key.name
                for volume in pod.pod.spec.volumes
            )
            why = _why_useless(pod, key, claim, is_ephemeral=is_ephemeral)
            if claim is None or why:
                return unresolvable(why)
            found.append(claim)
        unbound = [claim for claim in found if not is_bound(claim)]
        for claim in unbound:
            if claim.spec.volume_name or not waits_for_consumer(_class(around, claim)):
                return unresolvable("pod has unbound immediate PersistentVolumeClaims")
        unbound.sort(key=lambda claim: quantity.parse(claim.spec.resources.requests.get("storage", "0")))
        state.put(_Claims(around, [claim for claim in found if is_bound(claim)], unbound))
        return SUCCESS

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status:
        note = state.get(_Claims)
        reasons = []
        for claim in note.bound:
            volume = note.around.volumes.get(ObjectKey("", claim.spec.volume_name))
            if volume is None:
                reasons.append(_GONE)
            elif not is_reachable(volume, node.node):
                reasons.append(_UNREACHABLE)
        decision = _decide(note, node.node)
        if decision is None:
            reasons.append(_NOTHING_TO_BIND)
        if decision is None or reasons:
            return unresolvable(*dict.fromkeys(reasons))
        note.by_node[node.name] = decision
        return SUCCESS

    def reserve(self, state: CycleState, pod: PodView, node_name: str) -> None:
        note = state.find(_Claims)
        if note is None:
            return
        for claim, volume in note.by_node[node_name].bind:
            note.around.promises.promise(claim, node_name, volume)
        for claim in note.by_node[node_name].make:
            note.around.promises.promise(claim, node_name, None)

    def unreserve(self, state: CycleState, pod: PodView, node_name: str) -> None:
        note = state.find(_Claims)
        if note is not None:
            for claim in note.waiting:
                note.around.promises.end(claim)

    async def pre_bind(self, state: CycleState, pod: PodView, node_name: str, context: Context) -> None:
        note = state.find(_Claims)
        if note is None or not note.waiting:
            return
        for claim, volume in note.by_node[node_name].bind:
            await _set_aside(context, claim, volume)
        for claim in note.by_node[node_name].make:
            metadata = {"uid": claim.metadata.uid, "annotations": {SELECTED_NODE: node_name}}
            await context.client.patch(claims.RESOURCE, key_of(claim), {"metadata": metadata})
        await self._wait(note, pod, node_name, context)
        for claim in note.waiting:
            note.around.promises.end(claim)

    async def _wait(self, note: _Claims, pod: PodView, node_name: str, context: Context) -> None:
        deadline = context.clock.monotonic() + BIND_S_MAX
        pause = _LOOK_S
        made = {claim.metadata.uid for claim in note.by_node[node_name].make}
        has_node = False
        while not all(_came_true(context, claim, node_name) for claim in note.waiting):
            there = context.pods.get(pod.key)
            if there is None or there.metadata.uid != pod.uid or there.metadata.deletion_timestamp:
                raise NodeGivenUp("the pod does not exist any more")
            asked = [context.around.claims.get(key_of(claim)) for claim in note.waiting if claim.metadata.uid in made]
            names_node = all(each is None or SELECTED_NODE in each.metadata.annotations for each in asked)
            if has_node and not names_node:
                # A provisioner that cannot make a volume there takes the node's name off, to ask for another node.
                raise NodeGivenUp("provisioning failed: no volume can be made within reach of the node")
            has_node = has_node or names_node
            if context.clock.monotonic() >= deadline:
                raise NodeGivenUp("timed out waiting for the condition")
            await context.clock.sleep(pause)
            pause = min(pause * 2, _LOOK_S_MAX)


def _why_useless(pod: PodView, key: ObjectKey, claim: PersistentVolumeClaim | None, *, is_ephemeral: bool) -> str:
    """Return why a claim keeps the pod from running anywhere; empty if it does not."""
    if claim is None and is_ephemeral:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{key.name}"'
    if claim is None:
        return f'persistentvolumeclaim "{key.name}" not found'
    if claim.status.phase == "Lost":
        lost = claim.spec.volume_name
        return f'persistentvolumeclaim "{key.name}" bound to non-existent persistentvolume "{lost}"'
    if claim.metadata.deletion_timestamp:
        return f'persistentvolumeclaim "{key.name}" is being deleted'
    if is_ephemeral and not is_made_for(claim, pod.pod):
        return f"PVC {key} was not created for pod {pod.key} (pod is not owner)"
    return ""


def _class(around: Surroundings, claim: PersistentVolumeClaim) -> StorageClass | None:
    name = class_of(claim)
    return around.classes.get(ObjectKey("", name)) if name else None


def _decide(note: _Claims, node: Node) -> _Decision | None:
    """Return what the waiting claims would get with the pod on `node`; None if one would get nothing."""
    around, promises = note.around, note.around.promises
    taken = set(promises.volumes())
    bind: list[tuple[PersistentVolumeClaim, PersistentVolume]] = []
    make: list[PersistentVolumeClaim] = []
    for claim in note.waiting:
        selected = promises.node_of(claim) or claim.metadata.annotations.get(SELECTED_NODE, "")
        if selected:
            if selected != node.metadata.name:
                return None
            make.append(claim)
            continue
        promised = promises.volume_of(claim)
        candidates = [
            volume
            for volume in around.volumes.list()
            if (volume.metadata.name == promised if promised else volume.metadata.name not in taken)
        ]
        volume = select_volume(claim, candidates, node=node)
        if volume is not None:
            taken.add(volume.metadata.name)
            bind.append((claim, volume))
        elif not promised and _can_be_made(around, claim, node):
            make.append(claim)
        else:
            return None
    return _Decision(bind, make)


def _can_be_made(around: Surroundings, claim: PersistentVolumeClaim, node: Node) -> bool:
    found = _class(around, claim)
    if found is None or found.provisioner in ("", NO_PROVISIONER):
        return False
    allowed = found.allowed_topologies
    return not allowed or any(_is_in(term, node) for term in allowed)


def _is_in(term: TopologySelectorTerm, node: Node) -> bool:
    labels = node.metadata.labels
    return all(labels.get(each.key) in each.values for each in term.match_label_expressions)


async def _set_aside(context: Context, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
    """Name the claim in the volume; the binder does the rest. Raises Conflict if the volume has changed."""
    ref = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.metadata.namespace,
        "name": claim.metadata.name,
        "uid": claim.metadata.uid,
        "resourceVersion": claim.metadata.resource_version,
    }
    metadata: dict[str, object] = {"resourceVersion": volume.metadata.resource_version}
    if volume.spec.claim_ref is None:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
    change = {"metadata": metadata, "spec": {"claimRef": ref}}
    await context.client.patch(volumes.RESOURCE, key_of(volume), change)


def _came_true(context: Context, claim: PersistentVolumeClaim, node_name: str) -> bool:
    """Return whether a claim is bound by now, to a volume that the node can reach."""
    now = context.around.claims.get(key_of(claim))
    if now is None or now.metadata.uid != claim.metadata.uid:
        raise NodeGivenUp(f'persistentvolumeclaim "{claim.metadata.name}" not found')
    if not is_bound(now):
        return False
    volume = context.around.volumes.get(ObjectKey("", now.spec.volume_name))
    if volume is None:
        return False
    node = context.nodes.get(ObjectKey("", node_name))
    if node is not None and not is_reachable(volume, node):
        raise NodeGivenUp(f'pv "{volume.metadata.name}" node affinity doesn\'t match node "{node_name}"')
    return True
