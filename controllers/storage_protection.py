"""Lets volumes and claims that are being deleted go once nothing uses them any more.

Both are born with a finalizer. A claim is in use while a pod that has a node mentions it, also through an ephemeral
volume; a volume while it is bound. Before a claim goes, pods are listed live: one that was bound to a node a moment ago
must be able to mount it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volume_matching import claims_of
from api.errors import NotFound
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Patch, Plan
from controllers.runner import Context, Controller, Dialogue, Listers, Watch

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
BY_CLAIM = "claim"


def index_pods_by_claim(pod: Pod) -> Iterable[str]:
    """Index pods by the claims they mention."""
    return [f"{pod.metadata.namespace}/{name}" for name in claims_of(pod).values()]


def is_in_use(name: str, found: Iterable[Pod]) -> bool:
    """Return whether a pod that has a node mentions the claim; one without cannot start with a claim that is going."""
    return any(pod.spec.node_name and name in claims_of(pod).values() for pod in found)


def finalizer_change(obj: Any, finalizer: str, *, is_held: bool) -> Any:
    """Return the merge patch that adds a missing hold, or takes off one that is not needed; None if all is well."""
    metadata = obj.metadata
    present = finalizer in metadata.finalizers
    if metadata.deletion_timestamp and present and not is_held:
        rest: Sequence[str] = [name for name in metadata.finalizers if name != finalizer]
    elif not metadata.deletion_timestamp and not present:
        rest = [*metadata.finalizers, finalizer]
    else:
        return None
    change = {"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": list(rest) or None}
    return {"metadata": change}


async def reconcile_claim(key: ObjectKey, context: Context) -> float | None:
    """Hold a claim, or let it go."""
    claim = context.listers[claims.RESOURCE].get(key)
    if claim is None:
        return None
    held = is_in_use(key.name, context.listers[pods.RESOURCE].by_index(BY_CLAIM, str(key)))
    change = finalizer_change(claim, CLAIM_FINALIZER, is_held=held)
    if change is None:
        return None
    if claim.metadata.deletion_timestamp and is_in_use(
        key.name, (await context.client.list(pods.RESOURCE, key.namespace)).items
    ):
        return None  # The cache will show the pod, and later tell that it is gone.
    try:
        await context.client.patch(claims.RESOURCE, key, change)
    except NotFound:
        return None
    return None


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to the claims it mentions."""
    return [ObjectKey(pod.metadata.namespace, name) for name in claims_of(pod).values()]


def observe_volume(key: ObjectKey, listers: Listers) -> PersistentVolume | None:
    """Read the volume."""
    return listers[volumes.RESOURCE].get(key)


def reconcile_volume(observed: PersistentVolume, now: float) -> Plan:
    """Hold a volume, or let it go."""
    change = finalizer_change(observed, VOLUME_FINALIZER, is_held=observed.status.phase == "Bound")
    return Plan((Patch(volumes.RESOURCE, key_of(observed), change),)) if change is not None else NOTHING


CLAIMS: Dialogue[PersistentVolumeClaim] = Dialogue(
    name="pvc-protection-controller",
    resource=claims.RESOURCE,
    reconcile=reconcile_claim,
    watches=(Watch(resource=pods.RESOURCE, keys=keys_of_pod, indexes={BY_CLAIM: index_pods_by_claim}),),
    workers=2,
)
VOLUMES: Controller[PersistentVolume, PersistentVolume] = Controller(
    name="pv-protection-controller",
    resource=volumes.RESOURCE,
    observe=observe_volume,
    reconcile=reconcile_volume,
    workers=2,
)
