"""A rollout followed turn by turn, with ReplicaSets that keep up as they please."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from api import timestamps
from api.apps.deployment import Deployment
from api.apps.replicaset import ReplicaSet
from api.resource import ObjectKey
from controllers.actions import Create, Plan
from controllers.deployment import revisions
from controllers.deployment.controller import Observed, reconcile
from controllers.deployment.rolling import max_surge, max_unavailable, replicas_of
from tests.unit.controllers.carry_out import Objects, carry_out, of, steps_of

NOW = timestamps.parse("2024-01-02T00:00:00Z")
WEB = ("deployments", ObjectKey("default", "web"))


def deployment(replicas: int = 3, **spec: Any) -> Deployment:
    body = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u-web", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }
    return msgspec.convert(body, Deployment)


class Rollout:
    """A Deployment and its ReplicaSets, moved by hand."""

    def __init__(self, made: Deployment) -> None:
        self.objects: Objects = {WEB: made}
        self.now = NOW

    @property
    def deployment(self) -> Deployment:
        return self.objects[WEB]

    @property
    def sets(self) -> list[ReplicaSet]:
        return of(self.objects, "replicasets")

    def turn(self) -> Plan:
        self.now += 1
        observed = self.observe()
        plan = reconcile(observed, self.now)
        carry_out(plan, self.objects)
        return plan

    def observe(self) -> Observed:
        web = self.deployment
        hash = revisions.template_hash(web.spec.template, web.status.collision_count or 0)
        holder = self.objects.get(("replicasets", ObjectKey("default", f"web-{hash}")))
        return Observed(web, self.sets, holder, {rs.metadata.uid: rs.status.replicas for rs in self.sets})

    def change(self, patch: dict[str, Any]) -> None:
        from api.apps import deployment as deployments
        from controllers.actions import Patch

        carry_out(Plan((Patch(deployments.RESOURCE, WEB[1], patch),)), self.objects)

    def set_image(self, image: str) -> None:
        self.change({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})

    def keep_up(self, rs: ReplicaSet, available: int) -> None:
        """Let a ReplicaSet have all its pods, so many of them available."""
        from api.apps import replicaset as replicasets
        from controllers.actions import Patch

        size = replicas_of(rs)
        ready = min(available, size)
        status = {
            "replicas": size,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "observedGeneration": rs.metadata.generation,
        }
        key = ObjectKey("default", rs.metadata.name)
        carry_out(Plan((Patch(replicasets.RESOURCE, key, {"status": status}, "status"),)), self.objects)

    def settle(self) -> None:
        for _ in range(200):
            for rs in self.sets:
                self.keep_up(rs, replicas_of(rs))
            if not list(steps_of(self.turn())):
                return
        raise AssertionError("it never settles")

    def reason(self, type: str) -> str:
        return next((c.reason for c in self.deployment.status.conditions if c.type == type), "")


def test_the_first_replica_set_is_made_under_the_name_of_its_template():
    at = Rollout(deployment())
    at.turn()
    (rs,) = at.sets
    hash = rs.metadata.labels["pod-template-hash"]
    assert rs.metadata.name == f"web-{hash}"
    assert rs.spec.selector.match_labels == {"app": "web", "pod-template-hash": hash}
    assert rs.spec.template.metadata.labels["pod-template-hash"] == hash
    assert rs.metadata.annotations == {
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert at.reason("Progressing") == "NewReplicaSetCreated"


def test_a_replica_set_that_is_made_without_room_for_a_pod_is_not_said_to_have_been_scaled():
    at = Rollout(deployment())
    at.turn()
    (first,) = at.sets
    at.set_image("web:2")
    at.turn()
    at.turn()
    at.set_image("web:3")
    (made,) = (step for step in steps_of(at.turn()) if isinstance(step, Create))
    assert (replicas_of(made.object), made.done) == (0, None)
    assert replicas_of(first) == 3


def test_a_rollout_settles_and_says_so():
    at = Rollout(deployment())
    at.settle()
    status = at.deployment.status
    assert (status.replicas, status.updated_replicas, status.available_replicas) == (3, 3, 3)
    assert at.reason("Progressing") == "NewReplicaSetAvailable"
    assert at.reason("Available") == "MinimumReplicasAvailable"
    assert list(steps_of(at.turn())) == []


def test_an_undone_rollout_reuses_the_old_replica_set_under_a_new_revision():
    at = Rollout(deployment())
    for image in ("web:1", "web:2", "web:1"):
        at.set_image(image)
        at.settle()
    found = {revisions.revision_of(rs): rs for rs in at.sets}
    assert sorted(found) == [2, 3]
    assert found[3].metadata.annotations[revisions.REVISION_HISTORY] == "1"
    assert replicas_of(found[3]) == 3
    assert at.deployment.metadata.annotations[revisions.REVISION] == "3"


def test_a_name_that_is_taken_is_avoided_by_counting_the_collision():
    at = Rollout(deployment())
    hash = revisions.template_hash(at.deployment.spec.template, 0)
    stranger = msgspec.convert(
        {"metadata": {"name": f"web-{hash}", "namespace": "default", "uid": "x", "resourceVersion": "1"}}, ReplicaSet
    )
    at.objects["replicasets", ObjectKey("default", f"web-{hash}")] = stranger
    at.turn()
    assert at.deployment.status.collision_count == 1
    at.turn()
    assert len(at.sets) == 2


def test_old_replica_sets_beyond_the_limit_are_deleted_oldest_first():
    at = Rollout(deployment(revisionHistoryLimit=1))
    for image in ("web:1", "web:2", "web:3", "web:4"):
        at.set_image(image)
        at.settle()
    assert sorted(map(revisions.revision_of, at.sets)) == [3, 4]


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion():
    at = Rollout(
        deployment(10, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    )
    at.settle()
    at.set_image("web:2")
    for _ in range(6):
        at.turn()
        for rs in at.sets:
            # The new pods never become available: the rollout stands at 8 old and 5 new.
            at.keep_up(rs, replicas_of(rs) if revisions.revision_of(rs) == 1 else 0)
    assert sorted(map(replicas_of, at.sets)) == [5, 8]
    at.change({"spec": {"replicas": 15}})
    at.turn()
    assert sorted(map(replicas_of, at.sets)) == [7, 11]


def test_a_paused_rollout_only_scales():
    at = Rollout(deployment())
    at.settle()
    at.change({"spec": {"paused": True}})
    at.set_image("web:2")
    at.change({"spec": {"replicas": 5}})
    at.settle()
    (rs,) = at.sets
    assert replicas_of(rs) == 5
    assert at.reason("Progressing") == "DeploymentPaused"
    at.change({"spec": {"paused": None}})
    at.settle()
    assert len(at.sets) == 2
    assert at.reason("Progressing") == "NewReplicaSetAvailable"


def test_a_rollout_that_stands_still_exceeds_its_deadline():
    at = Rollout(deployment(progressDeadlineSeconds=60))
    plan = at.turn()
    assert plan.requeue_after_s is not None and 60 < plan.requeue_after_s < 63
    (rs,) = at.sets
    at.keep_up(rs, 0)
    at.turn()
    at.now += 61
    at.turn()
    assert at.reason("Progressing") == "ProgressDeadlineExceeded"
    at.settle()
    assert at.reason("Progressing") == "NewReplicaSetAvailable"


def test_a_restart_annotation_alone_is_a_new_template():
    at = Rollout(deployment())
    at.settle()
    stamp = {"kubectl.kubernetes.io/restartedAt": "2024-01-02T00:00:00Z"}
    at.change({"spec": {"template": {"metadata": {"annotations": stamp}}}})
    at.settle()
    assert len(at.sets) == 2


amounts = st.one_of(st.integers(0, 4), st.sampled_from(["0%", "10%", "25%", "34%", "50%", "100%"]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), amounts, amounts, st.data())
def test_a_rollout_never_breaks_its_bounds_and_always_ends(replicas, surge, unavailable, data):
    bounds = {"maxSurge": surge, "maxUnavailable": unavailable}
    at = Rollout(deployment(replicas, strategy={"type": "RollingUpdate", "rollingUpdate": bounds}))
    at.settle()
    at.set_image("web:2")
    total_max = replicas + max_surge(at.deployment)
    available_min = replicas - max_unavailable(at.deployment)
    for number in range(data.draw(st.integers(1, 12))):
        if number and data.draw(st.booleans()) and number % 4 == 0:
            at.set_image(f"web:{data.draw(st.integers(1, 3))}")
        before = sum(min(rs.status.available_replicas, replicas_of(rs)) for rs in at.sets)
        at.turn()
        assert sum(map(replicas_of, at.sets)) <= total_max
        after = sum(min(rs.status.available_replicas, replicas_of(rs)) for rs in at.sets)
        assert after >= min(before, available_min)
        for rs in at.sets:
            if data.draw(st.booleans()):
                at.keep_up(rs, data.draw(st.integers(0, replicas_of(rs))))
    at.settle()
    assert at.deployment.status.updated_replicas == replicas
    assert list(steps_of(at.turn())) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 3)), min_size=1, max_size=5), st.data())
def test_any_series_of_scales_and_images_ends_in_the_last(wishes, data):
    at = Rollout(deployment(3))
    for replicas, image in wishes:
        at.change({"spec": {"replicas": replicas}})
        at.set_image(f"web:{image}")
        for _ in range(data.draw(st.integers(0, 4))):
            at.turn()
            for rs in at.sets:
                at.keep_up(rs, data.draw(st.integers(0, replicas_of(rs))))
    at.settle()
    running = [rs for rs in at.sets if replicas_of(rs)]
    replicas, image = wishes[-1]
    assert sum(map(replicas_of, running)) == replicas
    assert all(rs.spec.template.spec.containers[0].image == f"web:{image}" for rs in running)


def test_what_a_replica_set_is_made_of_does_not_change_the_deployment():
    made = deployment()
    before = msgspec.json.encode(made)
    (create,) = [step for step in steps_of(reconcile(Observed(made, (), None, {}), NOW)) if isinstance(step, Create)]
    assert create.object.metadata.labels != made.spec.template.metadata.labels
    assert msgspec.json.encode(made) == before
