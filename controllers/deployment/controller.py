"""Decides the next step of a Deployment: which ReplicaSets to make, resize, relabel or delete, and what to say.

Reads the Deployment and its ReplicaSets (and, for Recreate, how many old pods are left); writes ReplicaSets and
status, never pods. One turn does one kind of thing: the new ReplicaSet's revision, then a change of size, then a step
of the rollout. The informer brings the turn after that. Sizes are written under the resourceVersion they were
computed from, so no step is taken on counts that have changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from api import selectors
from api.apps import deployment as deployments
from api.apps import replicaset as replicasets
from api.apps.deployment import Deployment
from api.apps.replicaset import ReplicaSet, ReplicaSetSpec
from api.core import pod as pods
from api.core.pod import Pod
from api.errors import ApiError
from api.meta import LabelSelector, ObjectMeta
from api.resource import ObjectKey
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Action, Create, Delete, Emit, Patch, Plan, update_status
from controllers.deployment import revisions, rolling, scaling, status
from controllers.deployment.rolling import replicas_of
from controllers.deployment.status import Progress
from controllers.ownership import (
    BY_CONTROLLER,
    candidates,
    claim,
    controller_of,
    index_by_controller,
    reference_as_controller,
)
from controllers.pods import is_finished
from controllers.runner import Controller, Listers, Watch, watch_owned


@dataclass(frozen=True, slots=True)
class Observed:
    """A Deployment and what there is of it."""

    deployment: Deployment
    candidates: Sequence[ReplicaSet]
    """ReplicaSets it controls, and orphans of its namespace."""
    name_holder: ReplicaSet | None
    """Who has the name that a new ReplicaSet would get."""
    pods: dict[str, int]
    """Pods that have not finished, those being deleted included, by their ReplicaSet's uid. Only for Recreate."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """What all steps of one turn need."""

    deployment: Deployment
    new: ReplicaSet | None
    old: Sequence[ReplicaSet]
    observed: Observed
    now: float

    @property
    def everything(self) -> list[ReplicaSet]:
        return [*self.old, self.new] if self.new is not None else list(self.old)


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the Deployment, its ReplicaSets, and for Recreate their pods."""
    deployment = listers[deployments.RESOURCE].get(key)
    if deployment is None:
        return None
    store = listers[replicasets.RESOURCE]
    mine = store.by_index(BY_CONTROLLER, deployment.metadata.uid)
    counts: dict[str, int] = {}
    if not rolling.is_rolling(deployment):
        for rs in mine:
            left = listers[pods.RESOURCE].by_index(BY_CONTROLLER, rs.metadata.uid)
            counts[rs.metadata.uid] = sum(not is_finished(pod) for pod in left)
    name = revisions.replica_set_name(deployment, _hash(deployment))
    return Observed(
        deployment,
        candidates(store, deployment),
        store.get(ObjectKey(key.namespace, name)),
        counts,
    )


def reconcile(observed: Observed, now: float) -> Plan:
    """Decide one step of the rollout."""
    deployment = observed.deployment
    selector = selectors.of_label_selector(deployment.spec.selector)
    if selector.matches_everything or selector.matches_nothing:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        return Plan((Emit(deployment, WARNING, "SelectingAll", message),))
    claimed = claim(deployments.RESOURCE, deployment, selector, replicasets.RESOURCE, observed.candidates)
    if claimed.patches:
        return Plan(tuple(claimed.patches))
    new = revisions.find_new(deployment, claimed.owned)
    old = [rs for rs in claimed.owned if rs is not new]
    turn = _Turn(deployment, new, old, observed, now)
    if deployment.metadata.deletion_timestamp:
        return _plan(turn, (), rollout=False)
    said = status.pause_progress(deployment)
    if said is not None:
        return _plan(turn, (), said, rollout=False)
    if new is not None:
        changes = _renew(turn, new)
        if changes:
            return _plan(turn, changes, _found(turn, new), rollout=False)
    if deployment.spec.paused or scaling.is_scaling(deployment, turn.everything):
        sizes = scaling.scaled_sizes(deployment, new, old)
        actions: list[Action] = [step for rs in turn.everything for step in _resize(turn, rs, sizes)]
        if deployment.spec.paused and not actions:
            actions = list(_cleanup(turn))
        return _plan(turn, actions, rollout=False)
    if rolling.is_rolling(deployment):
        return _roll(turn)
    return _recreate(turn)


def _roll(turn: _Turn) -> Plan:
    """Grow the new ReplicaSet as far as maxSurge lets it; when it cannot, shrink old ones within maxUnavailable."""
    if turn.new is None:
        return _create(turn)
    size = rolling.new_size(turn.deployment, turn.everything, turn.new)
    grown = _resize(turn, turn.new, {turn.new.metadata.uid: size}) if size != replicas_of(turn.new) else []
    if grown:
        return _plan(turn, grown, _found(turn, turn.new))
    sizes = rolling.old_sizes(turn.deployment, turn.new, turn.old)
    shrunk = [step for rs in turn.old for step in _resize(turn, rs, sizes)]
    return _plan(turn, shrunk or _cleanup(turn), _found(turn, turn.new))


def _recreate(turn: _Turn) -> Plan:
    """Let all old pods go, wait until the last is gone, then start the new ones."""
    shrunk = [step for rs in turn.old if replicas_of(rs) > 0 for step in _resize(turn, rs, {rs.metadata.uid: 0})]
    if shrunk:
        return _plan(turn, shrunk)
    if any(rs.status.replicas > 0 or turn.observed.pods.get(rs.metadata.uid) for rs in turn.old):
        return _plan(turn, ())
    if turn.new is None:
        return _create(turn)
    size = replicas_of(turn.deployment)
    grown = _resize(turn, turn.new, {turn.new.metadata.uid: size}) if size != replicas_of(turn.new) else []
    return _plan(turn, grown or _cleanup(turn), _found(turn, turn.new))


def _create(turn: _Turn) -> Plan:
    """Make the ReplicaSet of the present template, under a name that tells which template."""
    deployment = turn.deployment
    if turn.observed.name_holder is not None:
        # Another template, or somebody else's: find another name.
        wanted = status.compute_counts(deployment, None, turn.old, turn.now)
        wanted.collision_count = (deployment.status.collision_count or 0) + 1
        return Plan(status=update_status(deployments.RESOURCE, deployment, wanted))
    made = make_replica_set(deployment, turn.old)
    size = replicas_of(made)
    name = made.metadata.name

    def scaled(_: object) -> Emit:
        return Emit(deployment, NORMAL, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")

    def failed(step: Create | Patch | Delete, error: ApiError) -> Patch | None:
        message = f'Failed to create new replica set "{name}": {error.message}'
        return _plan(turn, (), Progress("False", status.CREATE_FAILED, message)).status

    create = Create(
        replicasets.RESOURCE,
        made,
        done=scaled if size else None,
        failed=lambda error: Emit(
            deployment, WARNING, "ReplicaSetCreateError", f'Failed to create new replica set "{name}": {error.message}'
        ),
    )
    said = Progress("True", status.CREATED, f'Created new replica set "{name}"')
    plan = _plan(turn, (create, *_tell_revision(deployment, revisions.next_revision(turn.old))), said)
    return dataclasses.replace(plan, status_after_failure=failed)


def make_replica_set(deployment: Deployment, old: Sequence[ReplicaSet]) -> ReplicaSet:
    """Return the ReplicaSet of a Deployment's present template, at the size it may start with."""
    hash = _hash(deployment)
    template = deployment.spec.template
    labels = {**template.metadata.labels, revisions.HASH_LABEL: hash}
    selector = deployment.spec.selector
    assert selector is not None
    annotations = revisions.annotations_from(deployment)
    annotations[revisions.REVISION] = str(revisions.next_revision(old))
    annotations |= revisions.replica_annotations(replicas_of(deployment), rolling.max_surge(deployment))
    return ReplicaSet(
        metadata=ObjectMeta(
            name=revisions.replica_set_name(deployment, hash),
            namespace=deployment.metadata.namespace,
            labels=labels,
            annotations=annotations,
            owner_references=[reference_as_controller(deployment)],
        ),
        spec=ReplicaSetSpec(
            replicas=rolling.new_size(deployment, old, None),
            min_ready_seconds=deployment.spec.min_ready_seconds,
            selector=LabelSelector(
                match_labels={**selector.match_labels, revisions.HASH_LABEL: hash},
                match_expressions=selector.match_expressions,
            ),
            template=msgspec.structs.replace(
                template, metadata=msgspec.structs.replace(template.metadata, labels=labels)
            ),
        ),
    )


def _renew(turn: _Turn, new: ReplicaSet) -> list[Action]:
    """Bring the revision, copied annotations and minReadySeconds of the ReplicaSet in use up to date."""
    deployment = turn.deployment
    revision = max(revisions.next_revision(turn.old), revisions.revision_of(new))
    annotations = revisions.annotation_changes(deployment, new, revision)
    patch: dict[str, object] = {}
    if annotations:
        patch["metadata"] = {"annotations": annotations}
    if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
        patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
    steps: list[Action] = [Patch(replicasets.RESOURCE, key_of(new), patch)] if patch else []
    return [*steps, *_tell_revision(deployment, revision)]


def _tell_revision(deployment: Deployment, revision: int) -> list[Action]:
    if deployment.metadata.annotations.get(revisions.REVISION) == str(revision):
        return []
    patch = {"metadata": {"annotations": {revisions.REVISION: str(revision)}}}
    # As a status: its generation also counts annotations.
    return [Patch(deployments.RESOURCE, key_of(deployment), patch, "status")]


def _resize(turn: _Turn, rs: ReplicaSet, sizes: dict[str, int]) -> list[Action]:
    """Return the step that gives `rs` its size in `sizes`, and the annotations that go with it."""
    deployment = turn.deployment
    before, after = replicas_of(rs), sizes.get(rs.metadata.uid, replicas_of(rs))
    noted = revisions.replica_annotations(replicas_of(deployment), rolling.max_surge(deployment))
    outdated = any(rs.metadata.annotations.get(name) != value for name, value in noted.items())
    if before == after and not (outdated and after > 0):
        return []
    patch = {
        "metadata": {"resourceVersion": rs.metadata.resource_version, "annotations": noted},
        "spec": {"replicas": after},
    }
    told = None
    if before != after:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {rs.metadata.name} from {before} to {after}"
        told = Emit(deployment, NORMAL, "ScalingReplicaSet", message)
    return [Patch(replicasets.RESOURCE, key_of(rs), patch, done=told)]


def _cleanup(turn: _Turn) -> list[Action]:
    """Delete the oldest empty ReplicaSets beyond revisionHistoryLimit, once the rollout is done."""
    limit = turn.deployment.spec.revision_history_limit
    counts = status.compute_counts(turn.deployment, turn.new, turn.everything, turn.now)
    if limit is None or limit == status.NO_DEADLINE:
        return []
    if not turn.deployment.spec.paused and not status.is_complete(turn.deployment, counts):
        return []
    alive = [rs for rs in turn.old if not rs.metadata.deletion_timestamp]
    doomed = sorted(alive, key=revisions.revision_of)[: max(0, len(alive) - limit)]
    return [
        Delete(
            replicasets.RESOURCE,
            key_of(rs),
            rs.metadata.uid,
            propagation="Background",
            resource_version=rs.metadata.resource_version,
        )
        for rs in doomed
        if rs.status.replicas == replicas_of(rs) == 0 and rs.status.observed_generation >= rs.metadata.generation
    ]


def _found(turn: _Turn, new: ReplicaSet) -> Progress | None:
    if status.condition_of(turn.deployment.status, "Progressing") is not None:
        return None
    return Progress("True", status.FOUND, f'Found new replica set "{new.metadata.name}"')


def _plan(turn: _Turn, actions: Iterable[Action], said: Progress | None = None, *, rollout: bool = True) -> Plan:
    """Return the plan of `actions` and the status that goes with what is observed."""
    deployment = turn.deployment
    wanted = status.compute_counts(deployment, turn.new, turn.everything, turn.now)
    if rollout:
        status.add_progress(deployment, wanted, turn.new, turn.everything, said, turn.now)
    elif said is not None and status.has_deadline(deployment):
        status.set_condition(wanted, "Progressing", said.status, said.reason, said.message, turn.now)
    steps = tuple(actions)
    # What changes the Deployment itself leaves no version to check the status against.
    changed = any(isinstance(step, Patch) and step.resource is deployments.RESOURCE for step in steps)
    return Plan(
        steps,
        status=update_status(deployments.RESOURCE, deployment, wanted, checked=False if changed else None),
        requeue_after_s=status.next_look_s(deployment, wanted, turn.now) if rollout else None,
    )


def _hash(deployment: Deployment) -> str:
    return revisions.template_hash(deployment.spec.template, deployment.status.collision_count or 0)


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod that is gone to a Deployment that waits for that: one that recreates."""
    owner = controller_of(pod)
    if owner is None or owner.kind != "ReplicaSet":
        return
    rs = listers[replicasets.RESOURCE].get(ObjectKey(pod.metadata.namespace, owner.name))
    parent = controller_of(rs) if rs is not None else None
    if parent is not None and parent.kind == "Deployment":
        key = ObjectKey(pod.metadata.namespace, parent.name)
        deployment = listers[deployments.RESOURCE].get(key)
        if deployment is not None and not rolling.is_rolling(deployment):
            yield key


CONTROLLER: Controller[Deployment, Observed] = Controller(
    name="deployment-controller",
    resource=deployments.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(
        watch_owned(replicasets.RESOURCE, deployments.RESOURCE),
        Watch(resource=pods.RESOURCE, keys=keys_of_pod, indexes={BY_CONTROLLER: index_by_controller}),
    ),
)
