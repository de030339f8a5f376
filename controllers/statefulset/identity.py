"""What each pod of a StatefulSet is called, and what it looks like. Pure."""

from __future__ import annotations

import re

import msgspec

from api.apps.statefulset import StatefulSet
from api.core.pod import Pod, PodTemplateSpec
from api.core.volumes import PersistentVolumeClaimVolumeSource, Volume
from controllers.pod_making import pod_of
from controllers.revisions import HASH_LABEL

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(?P<parent>.+)-(?P<ordinal>0|[1-9][0-9]*)")


def first_ordinal(sts: StatefulSet) -> int:
    """Return the number of the first pod."""
    return sts.spec.ordinals.start if sts.spec.ordinals is not None else 0


def wanted(sts: StatefulSet) -> int:
    """Return how many pods there shall be."""
    return 1 if sts.spec.replicas is None else sts.spec.replicas


def ordinals(sts: StatefulSet) -> range:
    """Return the numbers of the pods there shall be."""
    return range(first_ordinal(sts), first_ordinal(sts) + wanted(sts))


def pod_name(sts: StatefulSet, ordinal: int) -> str:
    """Return the name of a pod."""
    return f"{sts.metadata.name}-{ordinal}"


def ordinal_of(sts: StatefulSet, pod: Pod) -> int | None:
    """Return a pod's number; None if its name is not one that the StatefulSet gives."""
    match = _NAME.fullmatch(pod.metadata.name)
    return int(match["ordinal"]) if match is not None and match["parent"] == sts.metadata.name else None


def revision_of(pod: Pod) -> str:
    """Return the name of the revision a pod was made from."""
    return pod.metadata.labels.get(HASH_LABEL, "")


def identity_labels(sts: StatefulSet, ordinal: int) -> dict[str, str]:
    """Return the labels by which a Service can pick one pod."""
    return {NAME_LABEL: pod_name(sts, ordinal), INDEX_LABEL: str(ordinal)}


def claim_name(sts: StatefulSet, template_name: str, ordinal: int) -> str:
    """Return the name of a pod's claim: it stays with the pod's name, not with the pod."""
    return f"{template_name}-{pod_name(sts, ordinal)}"


def make_pod(sts: StatefulSet, template: PodTemplateSpec, revision: str, ordinal: int) -> Pod:
    """Return the pod of that number, of a template."""
    made = pod_of(sts, template)
    made.metadata.name = pod_name(sts, ordinal)
    made.metadata.labels |= {**identity_labels(sts, ordinal), HASH_LABEL: revision}
    own = [_volume(sts, claim.metadata.name, ordinal) for claim in sts.spec.volume_claim_templates]
    taken = {volume.name for volume in own}
    made.spec = msgspec.structs.replace(
        template.spec,
        hostname=made.metadata.name,
        subdomain=sts.spec.service_name,
        volumes=[*own, *(volume for volume in template.spec.volumes if volume.name not in taken)],
    )
    return made


def _volume(sts: StatefulSet, template_name: str, ordinal: int) -> Volume:
    source = PersistentVolumeClaimVolumeSource(claim_name=claim_name(sts, template_name, ordinal))
    return Volume(name=template_name, persistent_volume_claim=source)
