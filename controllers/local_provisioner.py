"""Makes volumes for claims of classes whose provisioner is the cluster's own: directories on the node that the pod got.

The object is made here, the directory by that node's kubelet when a pod first mounts it; so nothing has to be undone
when this process ends half way. When the claim goes, `volume_reclaim.py` deletes the object, and the kubelet, whose
finalizer holds it, the directory. A node that was deleted takes its directories along: then that is done here.
Events are those of upstream's external provisioners. Decision 84.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.core import node as nodes
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.local_volumes import (
    CLASS_PATH,
    NODE,
    PROVISIONED_BY,
    PROVISIONER,
    is_to_be_deleted,
    node_of,
    path_on,
)
from api.core.node import Node
from api.core.persistentvolume import LocalVolumeSource, PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference
from api.core.volume_matching import SELECTED_NODE, class_of
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.storage import storageclass as classes
from api.storage.storageclass import StorageClass
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import NOTHING, Create, Emit, Patch, Plan
from controllers.runner import Controller, Listers, Watch

HOSTNAME = "kubernetes.io/hostname"
MODES = ("ReadWriteOnce", "ReadWriteOncePod")
RETRY_S = 15.0
BY_NODE = "node of the directory"


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """A claim without a volume, of a class that is provisioned here."""

    claim: PersistentVolumeClaim
    storage_class: StorageClass
    node: Node | None
    """The one that was chosen for its first pod."""
    volume: PersistentVolume | None
    """What was made for it already."""


def observe_claim(key: ObjectKey, listers: Listers) -> ObservedClaim | None:
    """Read the claim, if it is to be provisioned here."""
    claim = listers[claims.RESOURCE].get(key)
    if claim is None or claim.metadata.deletion_timestamp or claim.spec.volume_name:
        return None
    found = listers[classes.RESOURCE].get(ObjectKey("", class_of(claim))) if class_of(claim) else None
    if found is None or found.provisioner != PROVISIONER:
        return None
    node = listers[nodes.RESOURCE].get(ObjectKey("", claim.metadata.annotations.get(SELECTED_NODE, "")))
    volume = listers[volumes.RESOURCE].get(ObjectKey("", volume_name(claim)))
    return ObservedClaim(claim, found, node, volume)


def reconcile_claim(observed: ObservedClaim, now: float) -> Plan:
    """Make the volume, or say why there will be none."""
    claim, storage_class = observed.claim, observed.storage_class
    if observed.volume is not None:
        return NOTHING
    selected = claim.metadata.annotations.get(SELECTED_NODE)
    if not selected and storage_class.volume_binding_mode == "WaitForFirstConsumer":
        return NOTHING
    why = refusal(claim, storage_class)
    if not why and not selected:
        why = "configuration error, no node was specified: the class must have volumeBindingMode WaitForFirstConsumer"
    if why:
        message = f'failed to provision volume with StorageClass "{storage_class.metadata.name}": {why}'
        return Plan((Emit(claim, WARNING, "ProvisioningFailed", message),), requeue_after_s=RETRY_S)
    if observed.node is None:
        # It is gone: the scheduler must choose anew.
        marks = {"uid": claim.metadata.uid, "annotations": {SELECTED_NODE: None}}
        return Plan((Patch(claims.RESOURCE, key_of(claim), {"metadata": marks}),))
    begun = f'External provisioner is provisioning volume for claim "{key_of(claim)}"'
    made = volume_for(claim, storage_class, observed.node)
    done = Emit(claim, NORMAL, "ProvisioningSucceeded", f"Successfully provisioned volume {made.metadata.name}")
    return Plan(
        (
            Emit(claim, NORMAL, "Provisioning", begun),
            Create(volumes.RESOURCE, made, done=lambda _: done),
        )
    )


def refusal(claim: PersistentVolumeClaim, storage_class: StorageClass) -> str:
    """Return why no directory can be what a claim asks for; empty if one can."""
    other = next((mode for mode in claim.spec.access_modes if mode not in MODES), "")
    if other:
        return f"only support {' and '.join(MODES)} access modes, not {other}"
    if claim.spec.volume_mode == "Block":
        return "only support volumeMode Filesystem"
    if claim.spec.selector is not None:
        return "claim.Spec.Selector is not supported"
    if claim.spec.data_source is not None or claim.spec.data_source_ref is not None:
        return "a volume cannot be made from a data source"
    if not storage_class.parameters.get(CLASS_PATH, "").startswith("/"):
        return f'the class must have a parameter "{CLASS_PATH}": a directory on the nodes, from the root'
    unknown = sorted(storage_class.parameters.keys() - {CLASS_PATH})
    return f"the class has parameters that are not known: {', '.join(unknown)}" if unknown else ""


def volume_name(claim: PersistentVolumeClaim) -> str:
    """Return the name of the volume that is made for a claim: a second attempt meets the first one's."""
    return f"pvc-{claim.metadata.uid}"


def volume_for(claim: PersistentVolumeClaim, storage_class: StorageClass, node: Node) -> PersistentVolume:
    """Return the volume of a claim on a node, set aside for it."""
    name, key = volume_name(claim), key_of(claim)
    path = path_on(storage_class.parameters[CLASS_PATH], node.metadata.name, name, str(key))
    hostname = node.metadata.labels.get(HOSTNAME, node.metadata.name)
    here = NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[hostname])
    return PersistentVolume(
        metadata=ObjectMeta(name=name, annotations={PROVISIONED_BY: PROVISIONER, NODE: node.metadata.name}),
        spec=PersistentVolumeSpec(
            capacity={"storage": claim.spec.resources.requests.get("storage", "0")},
            access_modes=list(claim.spec.access_modes),
            claim_ref=ObjectReference(
                api_version="v1",
                kind="PersistentVolumeClaim",
                namespace=key.namespace,
                name=key.name,
                uid=claim.metadata.uid,
                resource_version=claim.metadata.resource_version,
            ),
            persistent_volume_reclaim_policy=storage_class.reclaim_policy or "Delete",
            storage_class_name=storage_class.metadata.name,
            volume_mode="Filesystem",
            local=LocalVolumeSource(path=path),
            node_affinity=VolumeNodeAffinity(
                required=NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=[here])])
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class ObservedVolume:
    """A volume that waits for its directory to be deleted."""

    volume: PersistentVolume
    has_node: bool


def observe_volume(key: ObjectKey, listers: Listers) -> ObservedVolume | None:
    """Read the volume, if nothing but its directory holds it."""
    volume = listers[volumes.RESOURCE].get(key)
    if volume is None or not node_of(volume) or not is_to_be_deleted(volume):
        return None
    return ObservedVolume(volume, listers[nodes.RESOURCE].get(ObjectKey("", node_of(volume))) is not None)


def reconcile_volume(observed: ObservedVolume, now: float) -> Plan:
    """Let a volume go whose node is gone for good."""
    if observed.has_node:
        return NOTHING
    metadata = observed.volume.metadata
    change = {"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": []}
    return Plan((Patch(volumes.RESOURCE, key_of(observed.volume), {"metadata": change}),))


def claims_of_class(found: StorageClass, listers: Listers) -> Iterable[ObjectKey]:
    """Map a class to the claims that ask for it."""
    return [key_of(each) for each in listers[claims.RESOURCE].list() if class_of(each) == found.metadata.name]


def claims_of_volume(volume: PersistentVolume, listers: Listers) -> Iterable[ObjectKey]:
    """Map a volume to the claim that it was made for."""
    ref = volume.spec.claim_ref
    return [ObjectKey(ref.namespace, ref.name)] if ref is not None and node_of(volume) else []


def volumes_of_node(node: Node, listers: Listers) -> Iterable[ObjectKey]:
    """Map a node to the volumes that have their directories there."""
    return [key_of(each) for each in listers[volumes.RESOURCE].by_index(BY_NODE, node.metadata.name)]


def index_by_node(volume: PersistentVolume) -> Iterable[str]:
    """Index volumes by the node that has their directory."""
    return [name for name in (node_of(volume),) if name]


def _came_or_went(old: Node, new: Node) -> bool:
    return False


PROVISION: Controller[PersistentVolumeClaim, ObservedClaim] = Controller(
    name="local-provisioner",
    resource=claims.RESOURCE,
    observe=observe_claim,
    reconcile=reconcile_claim,
    watches=(
        Watch(resource=classes.RESOURCE, keys=claims_of_class),
        Watch(resource=volumes.RESOURCE, keys=claims_of_volume),
        Watch(resource=nodes.RESOURCE),
    ),
)
RELEASE: Controller[PersistentVolume, ObservedVolume] = Controller(
    name="local-volume-release",
    resource=volumes.RESOURCE,
    observe=observe_volume,
    reconcile=reconcile_volume,
    indexes={BY_NODE: index_by_node},
    watches=(Watch(resource=nodes.RESOURCE, keys=volumes_of_node, is_news=_came_or_went),),
)
