"""Makes a claim for each generic ephemeral volume of a pod; it is the pod's, and goes with it (KEP-1698)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volume_matching import claims_of, ephemeral_claim, is_made_for
from api.errors import ApiError
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.events import WARNING
from controllers.actions import NOTHING, Action, Create, Emit, Plan
from controllers.ownership import reference_as_controller
from controllers.runner import Controller, Listers, Watch
from controllers.storage_protection import BY_CLAIM, index_pods_by_claim


@dataclass(frozen=True, slots=True)
class Observed:
    """A pod, and the claims that are there of those its ephemeral volumes need, by name."""

    pod: Pod
    present: Mapping[str, PersistentVolumeClaim]


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the pod and its claims."""
    pod = listers[pods.RESOURCE].get(key)
    if pod is None or not any(volume.ephemeral is not None for volume in pod.spec.volumes):
        return None
    store = listers[claims.RESOURCE]
    found = {name: store.get(ObjectKey(key.namespace, name)) for name in claims_of(pod).values()}
    return Observed(pod, {name: claim for name, claim in found.items() if claim is not None})


def reconcile(observed: Observed, now: float) -> Plan:
    """Make the claims that are missing; one that is somebody else's is left alone, and the pod waits."""
    pod = observed.pod
    if pod.metadata.deletion_timestamp or pod.status.phase in ("Succeeded", "Failed"):
        return NOTHING
    actions: list[Action] = []
    for volume in pod.spec.volumes:
        template = volume.ephemeral.volume_claim_template if volume.ephemeral is not None else None
        if template is None:
            continue
        name = ephemeral_claim(pod, volume.name)
        present = observed.present.get(name)
        if present is not None:
            if not is_made_for(present, pod):
                where = f"{pod.metadata.namespace}/{name} was not created for pod "
                why = f"PVC {where}{pod.metadata.namespace}/{pod.metadata.name} (pod is not owner)"
                actions.append(Emit(pod, WARNING, "FailedBinding", f"ephemeral volume {volume.name}: {why}"))
            continue
        metadata = ObjectMeta(
            name=name,
            namespace=pod.metadata.namespace,
            labels=template.metadata.labels,
            annotations=template.metadata.annotations,
            owner_references=[reference_as_controller(pod)],
        )
        claim = PersistentVolumeClaim(metadata=metadata, spec=template.spec)
        actions.append(Create(claims.RESOURCE, claim, failed=lambda error: _failed(pod, error)))
    return Plan(tuple(actions)) if actions else NOTHING


def _failed(pod: Pod, error: ApiError) -> Emit:
    return Emit(pod, WARNING, "FailedCreate", f"error creating PersistentVolumeClaim: {error.message}")


def keys_of_claim(claim: PersistentVolumeClaim, listers: Listers) -> Iterable[ObjectKey]:
    """Map a claim to the pods that need one of its name."""
    key = f"{claim.metadata.namespace}/{claim.metadata.name}"
    found = listers[pods.RESOURCE].by_index(BY_CLAIM, key)
    return [ObjectKey(pod.metadata.namespace, pod.metadata.name) for pod in found]


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to itself if it has such a volume: most have none."""
    if any(volume.ephemeral is not None for volume in pod.spec.volumes):
        return [ObjectKey(pod.metadata.namespace, pod.metadata.name)]
    return []


CONTROLLER: Controller[Pod, Observed] = Controller(
    name="ephemeral_volume",
    resource=pods.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    keys=keys_of_pod,
    indexes={BY_CLAIM: index_pods_by_claim},
    watches=(Watch(resource=claims.RESOURCE, keys=keys_of_claim, only_deleted=True),),
    workers=2,
)
