"""Which claims a StatefulSet's pods have, and who owns them, so that they go when they should (KEP-1847). Pure.

A claim that shall go with the set is owned by the set, one that shall go with a pod that is scaled away by that pod,
from when it is condemned; the garbage collector does the rest. Claims that somebody else controls are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from api.apps.statefulset import StatefulSet
from api.core import persistentvolumeclaim as claims
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.meta import ObjectMeta, OwnerReference
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Create, Emit, Patch
from controllers.ownership import controller_of, reference_as_controller
from controllers.statefulset.identity import claim_name, pod_name

Claims = Mapping[str, PersistentVolumeClaim]
"""Claims of one namespace, by name."""


def names_of(sts: StatefulSet, ordinal: int) -> list[str]:
    """Return the names of a pod's claims."""
    return [claim_name(sts, each.metadata.name, ordinal) for each in sts.spec.volume_claim_templates]


def missing(sts: StatefulSet, ordinal: int, present: Claims) -> Iterator[Create]:
    """Yield the creation of every claim of a pod that is not there."""
    pod = pod_name(sts, ordinal)
    labels = sts.spec.selector.match_labels if sts.spec.selector is not None else {}
    for template in sts.spec.volume_claim_templates:
        name = claim_name(sts, template.metadata.name, ordinal)
        if name in present:
            continue
        metadata = ObjectMeta(
            name=name,
            namespace=sts.metadata.namespace,
            labels={**template.metadata.labels, **labels},
            annotations=template.metadata.annotations,
            finalizers=template.metadata.finalizers,
            owner_references=template.metadata.owner_references,
        )
        claim = PersistentVolumeClaim(metadata=metadata, spec=template.spec)
        text = f"create Claim {name} Pod {pod} in StatefulSet {sts.metadata.name}"
        yield Create(
            claims.RESOURCE,
            claim,
            done=lambda made, text=text: Emit(sts, NORMAL, "SuccessfulCreate", f"{text} success"),  # type: ignore[misc]
            failed=lambda error, text=text: Emit(  # type: ignore[misc]
                sts, WARNING, "FailedCreate", f"{text} failed error: {error.message}"
            ),
        )


def is_leaving(sts: StatefulSet, ordinal: int, present: Claims) -> bool:
    """Return whether a claim of a pod not yet made is going, or goes with an earlier pod of that name: wait for it."""
    for name in names_of(sts, ordinal):
        claim = present.get(name)
        if claim is None:
            continue
        owners = claim.metadata.owner_references
        if claim.metadata.deletion_timestamp or any(
            (each.kind, each.name) == ("Pod", pod_name(sts, ordinal)) for each in owners
        ):
            return True
    return False


def retention(sts: StatefulSet, ordinal: int, pod: Pod, present: Claims, *, is_condemned: bool) -> Iterator[Patch]:
    """Yield the patches that make a pod's claims belong to whom the retention policy says."""
    policy = sts.spec.persistent_volume_claim_retention_policy
    with_set = policy is not None and policy.when_deleted == "Delete"
    with_pod = policy is not None and policy.when_scaled == "Delete" and is_condemned
    for name in names_of(sts, ordinal):
        claim = present.get(name)
        if claim is None or claim.metadata.deletion_timestamp:
            continue
        ours = {sts.metadata.uid, pod.metadata.uid}
        controller = controller_of(claim)
        if controller is not None and controller.uid not in ours:
            continue
        present_owners = claim.metadata.owner_references
        owner = pod if with_pod else sts if with_set else None
        owners = [each for each in present_owners if each.uid not in ours]
        owners += [reference_as_controller(owner)] if owner is not None else []
        if _by_uid(owners) != _by_uid(present_owners):
            metadata = {
                "uid": claim.metadata.uid,
                "resourceVersion": claim.metadata.resource_version,
                "ownerReferences": msgspec.to_builtins(owners) or None,
            }
            yield Patch(claims.RESOURCE, key_of(claim), {"metadata": metadata})


def _by_uid(owners: list[OwnerReference]) -> dict[str, bool]:
    return {each.uid: bool(each.controller) for each in owners}
