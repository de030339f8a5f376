"""Which ReplicaSet stands for a Deployment's present template, its name, and the revisions of all of them.

A ReplicaSet belongs to the template that it was made from: templates are compared without the pod-template-hash label,
so that undoing a rollout finds the old ReplicaSet and gives it a new, highest revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from api.apps.deployment import Deployment
from api.apps.replicaset import ReplicaSet
from api.core.pod import PodTemplateSpec
from controllers.short_hash import short_hash

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    )
)
_HISTORY_LENGTH_MAX = 2000


def template_hash(template: PodTemplateSpec, collision_count: int) -> str:
    """Return the short name of a template; `collision_count` gives another one if a name was taken."""
    return short_hash(_canonical(template), collision_count)


def replica_set_name(deployment: Deployment, hash: str) -> str:
    """Return the name of a Deployment's ReplicaSet."""
    return f"{deployment.metadata.name}-{hash}"


def _canonical(template: PodTemplateSpec) -> bytes:
    labels = template.metadata.labels
    if HASH_LABEL in labels:
        rest = {name: value for name, value in labels.items() if name != HASH_LABEL}
        metadata = msgspec.structs.replace(template.metadata, labels=rest)
        template = msgspec.structs.replace(template, metadata=metadata)
    return msgspec.json.encode(template, order="sorted")


def find_new(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """Return the oldest ReplicaSet with the Deployment's template, or None."""
    wanted = _canonical(deployment.spec.template)
    return next((rs for rs in by_age(replica_sets) if _canonical(rs.spec.template) == wanted), None)


def by_age(replica_sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Sort oldest first."""
    return sorted(replica_sets, key=lambda rs: (rs.metadata.creation_timestamp, rs.metadata.name))


def revision_of(rs: ReplicaSet) -> int:
    """Return a ReplicaSet's revision; 0 when it says none that can be read."""
    text = rs.metadata.annotations.get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def next_revision(old: Sequence[ReplicaSet]) -> int:
    """Return the revision of the ReplicaSet in use: one more than any other's."""
    return max(map(revision_of, old), default=0) + 1


def replica_annotations(replicas: int, max_surge: int) -> dict[str, str]:
    """Return the annotations by which a later change of size finds out what the size was."""
    return {DESIRED_REPLICAS: str(replicas), MAX_REPLICAS: str(replicas + max_surge)}


def annotations_from(deployment: Deployment) -> dict[str, str]:
    """Return the Deployment's annotations that its ReplicaSets carry too, such as the cause of the change."""
    return {name: value for name, value in deployment.metadata.annotations.items() if name not in _NOT_COPIED}


def annotation_changes(deployment: Deployment, rs: ReplicaSet, revision: int) -> dict[str, str]:
    """Return the annotations to set on the ReplicaSet in use so that it carries `revision`; empty when it does."""
    present: Mapping[str, str] = rs.metadata.annotations
    wanted = annotations_from(deployment)
    before = revision_of(rs)
    if before < revision:
        wanted[REVISION] = str(revision)
        if before > 0:
            past = [*filter(None, present.get(REVISION_HISTORY, "").split(",")), str(before)]
            while len(",".join(past)) > _HISTORY_LENGTH_MAX:
                past.pop(0)
            wanted[REVISION_HISTORY] = ",".join(past)
    return {name: value for name, value in wanted.items() if present.get(name) != value}
