from __future__ import annotations

from api.batch import job
from api.core import configmap, namespace, pod, replicationcontroller
from api.core.namespace import Namespace
from api.meta import DeleteOptions, ObjectMeta
from apiserver.registry.deletion import Keep, Put, Remove, decide_delete
from tests import builders

NOW = 1_700_000_000.0


def test_an_object_with_nothing_to_hold_it_goes_at_once():
    assert isinstance(decide_delete(configmap.RESOURCE, builders.configmap("a"), DeleteOptions(), NOW), Remove)


def test_a_finalizer_holds_an_object_and_marks_it():
    obj = builders.configmap("a")
    obj.metadata.finalizers = ["example.org/hold"]
    write = decide_delete(configmap.RESOURCE, obj, DeleteOptions(), NOW)
    assert isinstance(write, Put)
    assert write.object.metadata.deletion_timestamp == "2023-11-14T22:13:20Z"
    assert write.object.metadata.deletion_grace_period_seconds == 0


def test_deleting_what_is_being_deleted_already_writes_nothing():
    obj = builders.configmap("a")
    obj.metadata.finalizers = ["example.org/hold"]
    marked = decide_delete(configmap.RESOURCE, obj, DeleteOptions(), NOW).object
    assert isinstance(decide_delete(configmap.RESOURCE, marked, DeleteOptions(), NOW + 5), Keep)


def test_foreground_and_orphan_are_finalizers_and_background_takes_them_off():
    write = decide_delete(
        configmap.RESOURCE, builders.configmap("a"), DeleteOptions(propagation_policy="Foreground"), NOW
    )
    assert write.object.metadata.finalizers == ["foregroundDeletion"]
    write = decide_delete(configmap.RESOURCE, write.object, DeleteOptions(propagation_policy="Orphan"), NOW)
    assert write.object.metadata.finalizers == ["orphan"]
    write = decide_delete(configmap.RESOURCE, write.object, DeleteOptions(propagation_policy="Background"), NOW)
    assert isinstance(write, Remove)


def test_jobs_and_replication_controllers_leave_their_pods_unless_it_is_said_otherwise():
    for resource in (job.RESOURCE, replicationcontroller.RESOURCE):
        write = decide_delete(resource, resource.type(), DeleteOptions(), NOW)
        assert write.object.metadata.finalizers == ["orphan"]
        assert isinstance(
            decide_delete(resource, resource.type(), DeleteOptions(propagation_policy="Background"), NOW), Remove
        )
        obj = resource.type()
        obj.metadata.finalizers = ["foregroundDeletion"]
        assert decide_delete(resource, obj, DeleteOptions(), NOW).object.metadata.finalizers == ["foregroundDeletion"]


def test_a_pod_on_a_node_is_given_its_grace_period():
    write = decide_delete(pod.RESOURCE, builders.pod("a", node="n1", grace_s=30), DeleteOptions(), NOW)
    assert isinstance(write, Put)
    assert write.object.metadata.deletion_timestamp == "2023-11-14T22:13:50Z"
    assert write.object.metadata.deletion_grace_period_seconds == 30


def test_a_pod_on_no_node_goes_at_once():
    assert isinstance(decide_delete(pod.RESOURCE, builders.pod("a", grace_s=30), DeleteOptions(), NOW), Remove)


def test_a_grace_period_only_shrinks_and_its_deadline_with_it():
    marked = decide_delete(pod.RESOURCE, builders.pod("a", node="n1", grace_s=30), DeleteOptions(), NOW).object
    longer = decide_delete(pod.RESOURCE, marked, DeleteOptions(grace_period_seconds=60), NOW + 1)
    assert isinstance(longer, Keep)
    shorter = decide_delete(pod.RESOURCE, marked, DeleteOptions(grace_period_seconds=5), NOW + 1)
    assert isinstance(shorter, Put)
    assert shorter.object.metadata.deletion_timestamp == "2023-11-14T22:13:25Z"
    assert isinstance(decide_delete(pod.RESOURCE, marked, DeleteOptions(grace_period_seconds=0), NOW + 1), Remove)


def test_of_a_namespace_that_goes_it_is_said_when_and_nothing_of_a_grace_period():
    found = Namespace(metadata=ObjectMeta(name="n", generation=3))
    namespace.RESOURCE.default(found)
    found.spec.finalizers = ["kubernetes"]
    assert isinstance(decide_delete(namespace.RESOURCE, found, DeleteOptions(), NOW), Put)
    assert found.metadata.deletion_timestamp and found.status.phase == "Terminating"
    assert (found.metadata.deletion_grace_period_seconds, found.metadata.generation) == (None, 3)
    assert isinstance(decide_delete(namespace.RESOURCE, found, DeleteOptions(), NOW), Keep)


def test_a_generation_that_has_no_next_stays():
    for given, kept in ((4, 5), (2**63 - 1, 2**63 - 1)):
        obj = builders.pod("a", node="n")
        obj.metadata.finalizers = ["example.org/hold"]
        obj.metadata.generation = given
        write = decide_delete(pod.RESOURCE, obj, DeleteOptions(grace_period_seconds=30), NOW)
        assert isinstance(write, Put) and write.object.metadata.generation == kept
