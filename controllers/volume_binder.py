"""Binds claims to volumes: each claim gets the smallest volume that will do, and each volume one claim.

Two controllers: one looks at a claim and finds it a volume, the other at a volume and says in its phase what became of
its claim. A binding is written in an order that can be taken up after a crash: the volume names the claim first
(guarded by its resourceVersion, so two claims never get one volume), then the claim names the volume. A class whose
volumes wait for their first consumer is bound once a scheduler has put `volume.kubernetes.io/selected-node` on the
claim, or has named the claim in a volume. Making volumes is left to provisioners, which are told of by an event and an
annotation. Rules: "Persistent Volumes" in Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api import quantity
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.resource import ObjectKey
from api.selectors import of_label_selector
from api.storage import storageclass as classes
from api.storage.storageclass import StorageClass
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import NOTHING, Action, Emit, Patch, Plan, difference
from controllers.runner import Controller, Listers, Watch

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONERS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
RETRY_S = 15.0
BY_CLASS = "class"
BY_CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """A claim, and the volumes that matter to it."""

    claim: PersistentVolumeClaim
    volume: PersistentVolume | None
    """The one it names."""
    candidates: Sequence[PersistentVolume]
    """Those that name it, and, while it names none, those of its class."""
    storage_class: StorageClass | None


def class_of(obj: Any) -> str:
    """Return the name of the class of a claim or volume; empty for none."""
    return obj.metadata.annotations.get(OLD_CLASS) or obj.spec.storage_class_name or ""


def observe_claim(key: ObjectKey, listers: Listers) -> ObservedClaim | None:
    """Read the claim and the volumes."""
    claim = listers[claims.RESOURCE].get(key)
    if claim is None:
        return None
    store = listers[volumes.RESOURCE]
    name = claim.spec.volume_name
    found = [*store.by_index(BY_CLAIM, str(key))]
    if not name:
        found += [each for each in store.by_index(BY_CLASS, class_of(claim)) if each.spec.claim_ref is None]
    storage_class = listers[classes.RESOURCE].get(ObjectKey("", class_of(claim))) if class_of(claim) else None
    return ObservedClaim(claim, store.get(ObjectKey("", name)) if name else None, found, storage_class)


def reconcile_claim(observed: ObservedClaim, now: float) -> Plan:
    """Bind the claim, or say why it is not bound."""
    claim, volume = observed.claim, observed.volume
    if claim.metadata.deletion_timestamp and not claim.spec.volume_name:
        return NOTHING
    if BIND_COMPLETED in claim.metadata.annotations:
        if volume is None or (volume.spec.claim_ref is not None and not _names(volume, claim)):
            return _lost(claim)
        return _bind(claim, volume)
    if claim.spec.volume_name:
        is_free = volume is not None and (volume.spec.claim_ref is None or _names(volume, claim))
        return _bind(claim, volume) if volume is not None and is_free else NOTHING
    best = select_volume(claim, observed.candidates, is_waiting=_is_waiting(observed))
    if best is not None:
        return _bind(claim, best)
    return _wait(observed)


def select_volume(
    claim: PersistentVolumeClaim, candidates: Iterable[PersistentVolume], *, is_waiting: bool = False
) -> PersistentVolume | None:
    """Return the volume that names the claim already, else (unless waiting) the smallest that will do."""
    fitting = [volume for volume in candidates if _fits(claim, volume)]
    named = [volume for volume in fitting if _names(volume, claim)]
    if named or is_waiting:
        return named[0] if named else None
    return min(fitting, key=lambda volume: (quantity.parse(_size(volume)), volume.metadata.name), default=None)


def _size(volume: PersistentVolume) -> str:
    return volume.spec.capacity.get("storage", "0")


def _fits(claim: PersistentVolumeClaim, volume: PersistentVolume) -> bool:
    wanted = claim.spec.resources.requests.get("storage", "0")
    is_taken = volume.spec.claim_ref is not None and not _names(volume, claim)
    if is_taken or volume.metadata.deletion_timestamp or volume.status.phase in ("Released", "Failed"):
        return False
    if (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
        return False
    if class_of(volume) != class_of(claim) or not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return False
    if claim.spec.selector is not None and not of_label_selector(claim.spec.selector).matches(volume.metadata.labels):
        return False
    return quantity.compare(_size(volume), wanted) >= 0


def _names(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    ref, metadata = volume.spec.claim_ref, claim.metadata
    if ref is None or (ref.namespace, ref.name) != (metadata.namespace, metadata.name):
        return False
    return ref.uid in ("", metadata.uid)


def _bind(claim: PersistentVolumeClaim, volume: PersistentVolume) -> Plan:
    """Return the writes that are missing to a binding, in order."""
    actions: list[Action] = []
    metadata, ref = claim.metadata, volume.spec.claim_ref
    if ref is None or not ref.uid:
        wanted = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        }
        marks: dict[str, Any] = {"resourceVersion": volume.metadata.resource_version}
        if ref is None:
            marks["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
        actions.append(Patch(volumes.RESOURCE, key_of(volume), {"metadata": marks, "spec": {"claimRef": wanted}}))
    if claim.spec.volume_name != volume.metadata.name or BIND_COMPLETED not in metadata.annotations:
        annotations = {BIND_COMPLETED: "yes"}
        if not claim.spec.volume_name:
            annotations[BOUND_BY_CONTROLLER] = "yes"
        change = {
            "metadata": {"uid": metadata.uid, "annotations": annotations},
            "spec": {"volumeName": volume.metadata.name},
        }
        actions.append(Patch(claims.RESOURCE, key_of(claim), change))
    old = claim.status
    before = {"phase": old.phase, "accessModes": list(old.access_modes), "capacity": dict(old.capacity)}
    after = {"phase": "Bound", "accessModes": list(volume.spec.access_modes), "capacity": dict(volume.spec.capacity)}
    if old.phase == "Bound":
        after["capacity"] = before["capacity"]  # A volume that grew is told of by whoever made it grow.
    change = difference(before, after)
    if change:
        # A step like the others, not the plan's status: that is written even if the volume went to another claim.
        actions.append(Patch(claims.RESOURCE, key_of(claim), {"status": change}, "status"))
    return Plan(tuple(actions))


def _lost(claim: PersistentVolumeClaim) -> Plan:
    if claim.status.phase == "Lost":
        return NOTHING
    why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    status = Patch(claims.RESOURCE, key_of(claim), {"status": {"phase": "Lost"}}, "status")
    return Plan((Emit(claim, WARNING, "ClaimLost", why),), status=status)


def _is_waiting(observed: ObservedClaim) -> bool:
    found = observed.storage_class
    waits = found is not None and found.volume_binding_mode == "WaitForFirstConsumer"
    return waits and SELECTED_NODE not in observed.claim.metadata.annotations


def _wait(observed: ObservedClaim) -> Plan:
    claim, found = observed.claim, observed.storage_class
    if _is_waiting(observed):
        why = "waiting for first consumer to be created before binding"
        return Plan((Emit(claim, NORMAL, "WaitForFirstConsumer", why),), requeue_after_s=RETRY_S)
    if not class_of(claim):
        why = "no persistent volumes available for this claim and no storage class is set"
        return Plan((Emit(claim, NORMAL, "FailedBinding", why),), requeue_after_s=RETRY_S)
    if found is None:
        why = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return Plan((Emit(claim, WARNING, "ProvisioningFailed", why),), requeue_after_s=RETRY_S)
    if found.provisioner == NO_PROVISIONER:
        return Plan(requeue_after_s=RETRY_S)
    actions: list[Action] = []
    wanted = dict.fromkeys(PROVISIONERS, found.provisioner)
    if not wanted.items() <= claim.metadata.annotations.items():
        actions.append(Patch(claims.RESOURCE, key_of(claim), {"metadata": {"annotations": wanted}}))
    why = (
        f"Waiting for a volume to be created either by the external provisioner '{found.provisioner}' or manually by "
        "the system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    return Plan((*actions, Emit(claim, NORMAL, "ExternalProvisioning", why)), requeue_after_s=RETRY_S)


@dataclass(frozen=True, slots=True)
class ObservedVolume:
    """A volume, and the claim it names."""

    volume: PersistentVolume
    claim: PersistentVolumeClaim | None


def observe_volume(key: ObjectKey, listers: Listers) -> ObservedVolume | None:
    """Read the volume and its claim."""
    volume = listers[volumes.RESOURCE].get(key)
    if volume is None:
        return None
    ref = volume.spec.claim_ref
    claim = listers[claims.RESOURCE].get(ObjectKey(ref.namespace, ref.name)) if ref is not None else None
    return ObservedVolume(volume, claim)


def compute_phase(observed: ObservedVolume) -> str:
    """Return what a volume's phase should be."""
    ref, claim = observed.volume.spec.claim_ref, observed.claim
    if ref is None or not ref.uid:
        return "Available"
    if claim is None or claim.metadata.uid != ref.uid:
        return "Released"
    is_theirs = claim.spec.volume_name in ("", observed.volume.metadata.name)
    return "Bound" if is_theirs else "Released"


def reconcile_volume(observed: ObservedVolume, now: float) -> Plan:
    """Write the phase."""
    phase = compute_phase(observed)
    if observed.volume.status.phase == phase:
        return NOTHING
    return Plan(status=Patch(volumes.RESOURCE, key_of(observed.volume), {"status": {"phase": phase}}, "status"))


def keys_of_volume(volume: PersistentVolume, listers: Listers) -> Iterable[ObjectKey]:
    """Map a volume to the claim it names, or to those that it could be for."""
    ref = volume.spec.claim_ref
    if ref is not None:
        return [ObjectKey(ref.namespace, ref.name)]
    return [
        key_of(claim)
        for claim in listers[claims.RESOURCE].by_index(BY_CLASS, class_of(volume))
        if claim.spec.volume_name in ("", volume.metadata.name)
    ]


def keys_of_claim(claim: PersistentVolumeClaim, listers: Listers) -> Iterable[ObjectKey]:
    """Map a claim to the volumes that name it."""
    return [key_of(volume) for volume in listers[volumes.RESOURCE].by_index(BY_CLAIM, str(key_of(claim)))]


def index_by_class(obj: Any) -> Iterable[str]:
    """Index claims and volumes by class."""
    return (class_of(obj),)


def index_by_claim(volume: PersistentVolume) -> Iterable[str]:
    """Index volumes by the claim they name."""
    ref = volume.spec.claim_ref
    return (f"{ref.namespace}/{ref.name}",) if ref is not None else ()


_VOLUME_INDEXES = {BY_CLASS: index_by_class, BY_CLAIM: index_by_claim}

CLAIMS: Controller[PersistentVolumeClaim, ObservedClaim] = Controller(
    name="persistentvolume-binder",
    resource=claims.RESOURCE,
    observe=observe_claim,
    reconcile=reconcile_claim,
    indexes={BY_CLASS: index_by_class},
    watches=(
        Watch(resource=volumes.RESOURCE, keys=keys_of_volume, indexes=_VOLUME_INDEXES),
        Watch(resource=classes.RESOURCE),
    ),
    workers=1,
)
VOLUMES: Controller[PersistentVolume, ObservedVolume] = Controller(
    name="persistentvolume-phase",
    resource=volumes.RESOURCE,
    observe=observe_volume,
    reconcile=reconcile_volume,
    indexes=_VOLUME_INDEXES,
    watches=(Watch(resource=claims.RESOURCE, keys=keys_of_claim),),
    workers=1,
)
