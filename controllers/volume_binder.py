"""Binds claims to volumes: each claim gets the volume that will do best, and each volume one claim.

A binding is written in an order that can be taken up after a crash: the volume names the claim first (guarded by its
resourceVersion, so two claims never get one volume), then the claim names the volume. For a class whose volumes wait
for their first consumer the scheduler chooses: it names the claim in a volume, or puts
`volume.kubernetes.io/selected-node` on the claim, for a provisioner to make a volume within that node's reach. Making
volumes is left to provisioners (ours is `local_provisioner.py`), which are told of by an event and an annotation. What
becomes of volumes afterwards is `volume_reclaim.py`'s. Rules: "Persistent Volumes" in Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volume_matching import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    NO_PROVISIONER,
    SELECTED_NODE,
    class_of,
    mismatch,
    names,
    select_volume,
    waits_for_consumer,
)
from api.resource import ObjectKey
from api.storage import storageclass as classes
from api.storage.storageclass import StorageClass
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import NOTHING, Action, Emit, Patch, Plan, difference
from controllers.runner import Controller, Listers, Watch
from controllers.storage_protection import index_pods_by_claim, keys_of_pod

PROVISIONERS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
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
    waiting_pods: Sequence[str] = ()
    """Pods without a node that use it."""


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
    users = listers[pods.RESOURCE].by_index(BY_CLAIM, str(key))
    waiting = sorted(pod.metadata.name for pod in users if not pod.spec.node_name)
    return ObservedClaim(claim, store.get(ObjectKey("", name)) if name else None, found, storage_class, waiting)


def reconcile_claim(observed: ObservedClaim, now: float) -> Plan:
    """Bind the claim, or say why it is not bound."""
    claim, volume = observed.claim, observed.volume
    if claim.metadata.deletion_timestamp and not claim.spec.volume_name:
        return NOTHING
    if BIND_COMPLETED in claim.metadata.annotations:
        if volume is None or (volume.spec.claim_ref is not None and not names(volume, claim)):
            return _lost(claim)
        return _bind(claim, volume)
    if claim.spec.volume_name:
        return _bind_named(claim, volume)
    best = select_volume(claim, observed.candidates, only_named=waits_for_consumer(observed.storage_class))
    if best is not None:
        return _bind(claim, best)
    return _wait(observed)


def _bind_named(claim: PersistentVolumeClaim, volume: PersistentVolume | None) -> Plan:
    """Bind a claim to the volume that its user named, once that is there, free and good for it."""
    if volume is None:
        return NOTHING
    if volume.spec.claim_ref is not None and not names(volume, claim):
        why = f'volume "{volume.metadata.name}" already bound to a different claim.'
        return Plan((Emit(claim, WARNING, "FailedBinding", why),), requeue_after_s=RETRY_S)
    why = mismatch(claim, volume)
    if why:
        why = f'Cannot bind to requested volume "{volume.metadata.name}": {why}'
        return Plan((Emit(claim, WARNING, "VolumeMismatch", why),), requeue_after_s=RETRY_S)
    return _bind(claim, volume)


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


def _wait(observed: ObservedClaim) -> Plan:
    claim, found = observed.claim, observed.storage_class
    if waits_for_consumer(found) and SELECTED_NODE not in claim.metadata.annotations:
        reason, why = "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
        if observed.waiting_pods:
            plural = "s" if len(observed.waiting_pods) > 1 else ""
            reason, why = (
                "WaitForPodScheduled",
                f"waiting for pod{plural} {','.join(observed.waiting_pods)} to be scheduled",
            )
        return Plan((Emit(claim, NORMAL, reason, why),), requeue_after_s=RETRY_S)
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


def index_by_class(obj: Any) -> Iterable[str]:
    """Index claims and volumes by class."""
    return (class_of(obj),)


def index_by_claim(volume: PersistentVolume) -> Iterable[str]:
    """Index volumes by the claim they name."""
    ref = volume.spec.claim_ref
    return (f"{ref.namespace}/{ref.name}",) if ref is not None else ()


def _is_scheduled(old: Pod, new: Pod) -> bool:
    return old.spec.node_name != new.spec.node_name


VOLUME_INDEXES = {BY_CLASS: index_by_class, BY_CLAIM: index_by_claim}

CLAIMS: Controller[PersistentVolumeClaim, ObservedClaim] = Controller(
    name="persistentvolume-controller",
    resource=claims.RESOURCE,
    observe=observe_claim,
    reconcile=reconcile_claim,
    indexes={BY_CLASS: index_by_class},
    watches=(
        Watch(resource=volumes.RESOURCE, keys=keys_of_volume, indexes=VOLUME_INDEXES),
        Watch(resource=classes.RESOURCE),
        Watch(resource=pods.RESOURCE, keys=keys_of_pod, indexes={BY_CLAIM: index_pods_by_claim}, is_news=_is_scheduled),
    ),
    workers=1,
)
