from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api import timestamps
from api.apps.controllerrevision import ControllerRevision
from api.apps.statefulset import StatefulSet
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.resource import ObjectKey
from controllers.actions import Burst, Create, Delete, Emit, Patch, Plan
from controllers.revisions import HASH_LABEL, data_of, name_of
from controllers.statefulset.controller import Observed, reconcile
from controllers.statefulset.identity import identity_labels, ordinal_of
from tests.unit.controllers.carry_out import Objects, carry_out, of, steps_of

NOW = timestamps.parse("2024-01-02T00:00:00Z")
OWNER = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u-db", "controller": True}
DATA = {"metadata": {"name": "data", "labels": {"tier": "slow"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}
RETAIN = {"whenDeleted": "Retain", "whenScaled": "Retain"}


def stateful_set(
    replicas: int = 3, *, pod: Any = None, partition: int = 0, current: str = "", **spec: Any
) -> StatefulSet:
    body = {
        "metadata": {"name": "db", "namespace": "default", "uid": "u-db", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": pod or {}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
            "persistentVolumeClaimRetentionPolicy": RETAIN,
            **spec,
        },
        "status": {"currentRevision": current},
    }
    return msgspec.convert(body, StatefulSet)


def revision(sts: StatefulSet, number: int = 1, name: str = "") -> ControllerRevision:
    name = name or name_of(sts)
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"u-{name}",
        "labels": {"app": "db"},
        "ownerReferences": [OWNER],
    }
    return msgspec.convert(
        {"metadata": metadata, "data": data_of(sts.spec.template), "revision": number}, ControllerRevision
    )


def pod(sts: StatefulSet, ordinal: int, *, of: str = "", ready: bool = True, **more: Any) -> Pod:
    name = f"db-{ordinal}"
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"u-{name}",
        "resourceVersion": "5",
        "labels": {"app": "db", **identity_labels(sts, ordinal), HASH_LABEL: of or name_of(sts)},
        "ownerReferences": more.pop("owners", [OWNER]),
    }
    if more.pop("deleted", False):
        metadata["deletionTimestamp"] = "2024-01-01T23:00:00Z"
    since = more.pop("since", "2024-01-01T12:00:00Z")
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
    status = {"phase": more.pop("phase", "Running"), "conditions": [condition]}
    return msgspec.convert({"metadata": metadata, "status": status}, Pod)


def claim(ordinal: int, *owners: tuple[str, str, str], **metadata: Any) -> PersistentVolumeClaim:
    references = [
        {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": True} for kind, name, uid in owners
    ]
    name = f"data-db-{ordinal}"
    body = {"name": name, "namespace": "default", "uid": f"u-{name}", "ownerReferences": references, **metadata}
    return msgspec.convert({"metadata": body}, PersistentVolumeClaim)


def plan(
    sts: StatefulSet,
    pods: Sequence[Pod] = (),
    revisions: Sequence[ControllerRevision] | None = None,
    claims: Sequence[PersistentVolumeClaim] = (),
) -> Plan:
    known = [revision(sts)] if revisions is None else revisions
    return reconcile(Observed(sts, pods, known, None, {each.metadata.name: each for each in claims}), NOW)


def created(made: Plan) -> list[str]:
    return [step.object.metadata.name for step in steps_of(made) if isinstance(step, Create)]


def deleted(made: Plan) -> list[str]:
    return [step.key.name for step in steps_of(made) if isinstance(step, Delete)]


def status(made: Plan) -> dict[str, Any]:
    assert made.status is not None
    found: dict[str, Any] = made.status.patch["status"]
    return found


# Coming up


def test_pods_come_one_by_one_each_after_the_one_before_is_available():
    sts = stateful_set()
    assert created(plan(sts)) == ["db-0"]
    assert created(plan(sts, [pod(sts, 0, ready=False)])) == []
    assert created(plan(sts, [pod(sts, 0)])) == ["db-1"]
    assert created(plan(sts, [pod(sts, 1)])) == ["db-0"]


def test_min_ready_seconds_delay_the_next_pod():
    sts = stateful_set(minReadySeconds=10)
    made = plan(sts, [pod(sts, 0, since="2024-01-01T23:59:55Z")])
    assert created(made) == []
    assert made.requeue_after_s is not None and 5 <= made.requeue_after_s <= 5.2
    assert (status(made)["readyReplicas"], status(made).get("availableReplicas", 0)) == (1, 0)


def test_parallel_pods_come_at_once():
    sts = stateful_set(podManagementPolicy="Parallel", ordinals={"start": 2})
    assert created(plan(sts)) == ["db-2", "db-3", "db-4"]


def test_a_pod_knows_its_name_service_number_and_claims():
    template = {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]}
    sts = stateful_set(pod=template, volumeClaimTemplates=[DATA])
    claims, pods = plan(sts).actions
    assert isinstance(claims, Burst) and isinstance(pods, Burst)
    wanted, made = claims.steps[0], pods.steps[0]
    assert isinstance(wanted, Create) and isinstance(made, Create)
    assert wanted.object.metadata.name == "data-db-0"
    assert wanted.object.metadata.labels == {"tier": "slow", "app": "db"}
    assert not wanted.object.metadata.owner_references
    spec, labels = made.object.spec, made.object.metadata.labels
    assert (spec.hostname, spec.subdomain) == ("db-0", "db")
    assert labels["statefulset.kubernetes.io/pod-name"] == "db-0"
    assert labels["apps.kubernetes.io/pod-index"] == "0"
    assert labels[HASH_LABEL] == name_of(sts)
    assert [volume.name for volume in spec.volumes] == ["data", "other"]
    assert spec.volumes[0].persistent_volume_claim.claim_name == "data-db-0"
    assert [volume.name for volume in sts.spec.template.spec.volumes] == ["data", "other"]


def test_a_finished_pod_is_deleted_and_everything_behind_it_waits():
    sts = stateful_set()
    for phase, reason in (("Failed", "RecreatingFailedPod"), ("Succeeded", "RecreatingTerminatedPod")):
        made = plan(sts, [pod(sts, 0, phase=phase), pod(sts, 1)])
        assert (created(made), deleted(made)) == ([], ["db-0"])
        assert [each.reason for each in made.actions if isinstance(each, Emit)] == [reason]


def test_a_pending_pods_claim_is_made_again_if_it_is_gone():
    sts = stateful_set(1, volumeClaimTemplates=[DATA])
    assert created(plan(sts, [pod(sts, 0, phase="Pending", ready=False)])) == ["data-db-0"]
    assert created(plan(sts, [pod(sts, 0, phase="Pending", ready=False)], claims=[claim(0)])) == []


def test_labels_that_somebody_changed_are_put_right():
    sts = stateful_set(1)
    odd = pod(sts, 0)
    odd.metadata.labels.pop("apps.kubernetes.io/pod-index")
    (fix,) = [step for step in steps_of(plan(sts, [odd])) if isinstance(step, Patch) and not step.subresource]
    assert fix.patch["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"


# Going


def test_pods_go_from_the_highest_down_one_at_a_time():
    sts = stateful_set(1)
    assert deleted(plan(sts, [pod(sts, n) for n in range(3)])) == ["db-2"]
    assert deleted(plan(sts, [pod(sts, 0), pod(sts, 1), pod(sts, 2, deleted=True)])) == []


def test_an_unhealthy_pod_stops_scaling_down_unless_it_is_the_one_to_go():
    sts = stateful_set(1)
    assert deleted(plan(sts, [pod(sts, 0, ready=False), pod(sts, 1)])) == []
    assert deleted(plan(sts, [pod(sts, 0), pod(sts, 1, ready=False), pod(sts, 2)])) == ["db-2"]
    assert deleted(plan(sts, [pod(sts, 0), pod(sts, 1), pod(sts, 2, ready=False)])) == ["db-2"]
    assert deleted(plan(sts, [pod(sts, 0), pod(sts, 1, ready=False), pod(sts, 2, ready=False)])) == []


def test_parallel_pods_go_at_once_and_wait_for_nobody():
    sts = stateful_set(0, podManagementPolicy="Parallel")
    assert deleted(plan(sts, [pod(sts, 0, ready=False), pod(sts, 1), pod(sts, 2)])) == ["db-2", "db-1", "db-0"]


def test_moving_the_first_ordinal_removes_the_pods_below_it_last():
    sts = stateful_set(2, ordinals={"start": 1})
    assert created(plan(sts, [pod(sts, 0), pod(sts, 1)])) == ["db-2"]
    assert deleted(plan(sts, [pod(sts, 0), pod(sts, 1), pod(sts, 2)])) == ["db-0"]


# Updates


def test_an_update_replaces_the_highest_pod_first_and_waits_until_it_is_well():
    sts = stateful_set(pod={"hostname": "new"}, current="db-old")
    known = [revision(stateful_set(), 1, "db-old"), revision(sts, 2)]
    old = [pod(sts, n, of="db-old") for n in range(3)]
    first = plan(sts, old, known)
    assert deleted(first) == ["db-2"]
    assert (status(first)["currentReplicas"], status(first)["updateRevision"]) == (3, name_of(sts))
    assert "currentRevision" not in status(first)
    back = plan(sts, old[:2], known)
    assert created(back) == ["db-2"]
    assert deleted(plan(sts, [*old[:2], pod(sts, 2, ready=False)], known)) == []
    assert deleted(plan(sts, [*old[:2], pod(sts, 2)], known)) == ["db-1"]


def test_an_update_is_complete_once_every_pod_is_new_and_ready():
    sts = stateful_set(2, pod={"hostname": "new"}, current="db-old")
    known = [revision(stateful_set(), 1, "db-old"), revision(sts, 2)]
    made = plan(sts, [pod(sts, 0), pod(sts, 1)], known)
    assert status(made)["currentRevision"] == status(made)["updateRevision"] == name_of(sts)
    assert status(made)["currentReplicas"] == status(made)["updatedReplicas"] == 2


def test_pods_below_the_partition_keep_and_get_the_old_version():
    sts = stateful_set(pod={"hostname": "new"}, partition=2, current="db-old", ordinals={"start": 5})
    known = [revision(stateful_set(pod={"hostname": "old"}), 1, "db-old"), revision(sts, 2)]
    old = [pod(sts, n, of="db-old") for n in (5, 6, 7)]
    assert deleted(plan(sts, old, known)) == ["db-7"]
    done = plan(sts, [*old[:2], pod(sts, 7)], known)
    assert deleted(done) == [] and "currentRevision" not in status(done)
    (again,) = [step for step in steps_of(plan(sts, old[1:], known)) if isinstance(step, Create)]
    assert again.object.metadata.labels[HASH_LABEL] == "db-old"


def test_on_delete_replaces_nothing_by_itself_but_makes_new_pods_new():
    sts = stateful_set(2, pod={"hostname": "new"}, current="db-old", updateStrategy={"type": "OnDelete"})
    known = [revision(stateful_set(), 1, "db-old"), revision(sts, 2)]
    assert deleted(plan(sts, [pod(sts, n, of="db-old") for n in (0, 1)], known)) == []
    (made,) = [step for step in steps_of(plan(sts, [pod(sts, 0, of="db-old")], known)) if isinstance(step, Create)]
    assert made.object.metadata.labels[HASH_LABEL] == name_of(sts)


def test_history_that_no_pod_is_made_of_is_kept_up_to_the_limit():
    sts = stateful_set(1, revisionHistoryLimit=1)
    old = [revision(stateful_set(pod={"hostname": f"h{n}"}), n, f"db-rev{n}") for n in range(1, 5)]
    there = pod(sts, 0, of="db-rev1", ready=False)
    assert deleted(plan(sts, [there], [*old, revision(sts, 5)])) == ["db-rev2", "db-rev3"]
    sts.spec.revision_history_limit = -1
    assert deleted(plan(sts, [there], [*old, revision(sts, 5)])) == []


# Ownership


def test_only_orphans_with_a_name_of_its_pods_are_adopted():
    sts = stateful_set(1)
    (adopt,) = plan(sts, [pod(sts, 0, owners=[])]).actions
    assert isinstance(adopt, Patch) and adopt.guard is not None
    assert ordinal_of(sts, pod(sts, 7)) == 7
    for name in ("db-x", "db-01", "other-1", "db", "db-db-1"):
        stranger = pod(sts, 0)
        stranger.metadata.name = name
        assert ordinal_of(sts, stranger) is None


def test_nothing_is_made_for_a_set_that_is_being_deleted():
    sts = stateful_set()
    sts.metadata.deletion_timestamp = "2024-01-01T00:00:00Z"
    assert plan(sts) == Plan()


# Claims


def owners_after(sts: StatefulSet, pods: Sequence[Pod], *claims: PersistentVolumeClaim) -> dict[str, list[str]]:
    found = {}
    for step in steps_of(plan(sts, pods, claims=claims)):
        if isinstance(step, Patch) and step.key.name.startswith("data"):
            found[step.key.name] = [each["kind"] for each in step.patch["metadata"]["ownerReferences"] or []]
    return found


def kept(when_deleted: str, when_scaled: str, replicas: int = 1) -> StatefulSet:
    policy = {"whenDeleted": when_deleted, "whenScaled": when_scaled}
    return stateful_set(replicas, volumeClaimTemplates=[DATA], persistentVolumeClaimRetentionPolicy=policy)


def test_claims_belong_to_whom_the_retention_policy_says():
    by_set = ("StatefulSet", "db", "u-db")
    for deleted_, scaled, expected in (
        ("Retain", "Retain", {}),
        ("Delete", "Retain", {"data-db-0": ["StatefulSet"], "data-db-1": ["StatefulSet"]}),
        ("Retain", "Delete", {"data-db-1": ["Pod"]}),
        ("Delete", "Delete", {"data-db-0": ["StatefulSet"], "data-db-1": ["Pod"]}),
    ):
        sts = kept(deleted_, scaled)
        assert owners_after(sts, [pod(sts, 0), pod(sts, 1)], claim(0), claim(1)) == expected, (deleted_, scaled)
    sts = kept("Retain", "Retain")
    assert owners_after(sts, [pod(sts, 0)], claim(0, by_set)) == {"data-db-0": []}
    sts = kept("Delete", "Delete")
    assert owners_after(sts, [pod(sts, 0)], claim(0, by_set)) == {}
    assert owners_after(sts, [pod(sts, 0)], claim(0, ("Other", "x", "u-x"))) == {}


def test_a_pod_waits_for_the_claim_of_its_predecessor_to_go():
    sts = kept("Retain", "Delete")
    made = plan(sts, claims=[claim(0, ("Pod", "db-0", "u-earlier"))])
    assert created(made) == [] and made.requeue_after_s is not None
    assert created(plan(sts, claims=[claim(0, deletionTimestamp="2024-01-01T00:00:00Z")])) == []


# From any state


@given(
    replicas=st.integers(0, 4),
    start=st.integers(0, 2),
    policy=st.sampled_from(["OrderedReady", "Parallel"]),
    found=st.dictionaries(
        st.integers(0, 6), st.tuples(st.booleans(), st.sampled_from(["Running", "Failed", "Pending"])), max_size=6
    ),
)
def test_from_any_state_it_arrives_at_the_pods_it_should_have_and_rests(
    replicas: int, start: int, policy: str, found: dict[int, tuple[bool, str]]
) -> None:
    sts = stateful_set(replicas, podManagementPolicy=policy, ordinals={"start": start}, volumeClaimTemplates=[DATA])
    objects: Objects = {}
    for ordinal, (is_new, phase) in found.items():
        # Of pods that must go, two that are not well keep each other waiting, as upstream has it.
        phase = phase if ordinal in range(start, start + replicas) else "Running"
        made = pod(sts, ordinal, of=name_of(sts) if is_new else "db-old", phase=phase)
        objects["pods", ObjectKey("default", made.metadata.name)] = made
    objects["statefulsets", ObjectKey("default", "db")] = sts
    for _ in range(60):
        observed = Observed(
            of(objects, "statefulsets")[0],
            of(objects, "pods"),
            of(objects, "controllerrevisions"),
            None,
            {each.metadata.name: each for each in of(objects, "persistentvolumeclaims")},
        )
        if not carry_out(reconcile(observed, NOW), objects):
            break
        for each in of(objects, "pods"):
            if each.status.phase in ("", "Pending"):
                each.status = pod(sts, 0).status
    else:
        raise AssertionError("it never rests")
    there = [each.metadata.name for each in of(objects, "pods")]
    assert there == sorted(f"db-{number}" for number in range(start, start + replicas))
    assert {each.metadata.labels[HASH_LABEL] for each in of(objects, "pods")} <= {name_of(sts)}
