"""Which volumes would do for a claim, and where: for the binder, the scheduler and the kubelet. Pure.

Rules: "Persistent Volumes" in Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from api import quantity
from api.core.node import Node
from api.core.node_matching import matches_term
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.selectors import of_label_selector
from api.storage.storageclass import StorageClass

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
_OTHER_CLASS: Final = "storageClassName does not match"
_OLD_CLASS: Final = "volume.beta.kubernetes.io/storage-class"


def claims_of(pod: Pod) -> dict[str, str]:
    """Return the claims a pod mentions: the claim's name by the volume's, those of ephemeral volumes included."""
    names = {}
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            names[volume.name] = volume.persistent_volume_claim.claim_name
        elif volume.ephemeral is not None:
            names[volume.name] = ephemeral_claim(pod, volume.name)
    return names


def ephemeral_claim(pod: Pod, volume: str) -> str:
    """Return the name of the claim that is made for an ephemeral volume (KEP-1698)."""
    return f"{pod.metadata.name}-{volume}"


def is_made_for(claim: PersistentVolumeClaim, pod: Pod) -> bool:
    """Return whether a claim of an ephemeral volume's name was made for this very pod."""
    return any(owner.controller and owner.uid == pod.metadata.uid for owner in claim.metadata.owner_references)


def class_of(obj: Any) -> str:
    """Return the name of the class of a claim or volume; empty for none."""
    return obj.metadata.annotations.get(_OLD_CLASS) or obj.spec.storage_class_name or ""


def is_bound(claim: PersistentVolumeClaim) -> bool:
    """Return whether a claim has its volume for good."""
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def waits_for_consumer(storage_class: StorageClass | None) -> bool:
    """Return whether claims of a class are bound only when a pod that uses them is scheduled."""
    return storage_class is not None and storage_class.volume_binding_mode == "WaitForFirstConsumer"


def names(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Return whether a volume is set aside for this claim."""
    ref, metadata = volume.spec.claim_ref, claim.metadata
    if ref is None or (ref.namespace, ref.name) != (metadata.namespace, metadata.name):
        return False
    return ref.uid in ("", metadata.uid)


def mismatch(claim: PersistentVolumeClaim, volume: PersistentVolume) -> str:
    """Return why a volume would not do for a claim that asks for it by name; empty if it would."""
    if quantity.compare(_size(volume), claim.spec.resources.requests.get("storage", "0")) < 0:
        return "requested PV is too small"
    if (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    if class_of(volume) != class_of(claim):
        return _OTHER_CLASS
    return ""


def select_volume(
    claim: PersistentVolumeClaim,
    candidates: Iterable[PersistentVolume],
    *,
    only_named: bool = False,
    node: Node | None = None,
) -> PersistentVolume | None:
    """Return the volume that is set aside for the claim, else the one that will do best.

    Best is the one with the fewest access modes, then the smallest.

    Args:
        claim: what is to be bound.
        candidates: volumes, whoever they belong to.
        only_named: whether nothing but a volume set aside will do.
        node: from where it must be within reach; None for anywhere.
    """
    fitting = [volume for volume in candidates if _fits(claim, volume) and (node is None or is_reachable(volume, node))]
    named = [volume for volume in fitting if names(volume, claim)]
    if named or only_named:
        return named[0] if named else None
    return min(fitting, key=_cost, default=None)


def is_reachable(volume: PersistentVolume, node: Node) -> bool:
    """Return whether a volume's node affinity takes `node`; one without is within everybody's reach."""
    required = volume.spec.node_affinity.required if volume.spec.node_affinity is not None else None
    return required is None or any(matches_term(term, node) for term in required.node_selector_terms)


def _cost(volume: PersistentVolume) -> tuple[int, Any, str]:
    return len(volume.spec.access_modes), quantity.parse(_size(volume)), volume.metadata.name


def _size(volume: PersistentVolume) -> str:
    return volume.spec.capacity.get("storage", "0")


def _fits(claim: PersistentVolumeClaim, volume: PersistentVolume) -> bool:
    is_taken = volume.spec.claim_ref is not None and not names(volume, claim)
    if is_taken or volume.metadata.deletion_timestamp or volume.status.phase in ("Released", "Failed"):
        return False
    if claim.spec.selector is not None and not of_label_selector(claim.spec.selector).matches(volume.metadata.labels):
        return False
    why = mismatch(claim, volume)
    # Whoever sets a volume aside for a claim need not name the class again.
    return not why or (why == _OTHER_CLASS and names(volume, claim))
