from __future__ import annotations

from api.core.pod import Pod
from api.core.pod_status import PodStatus
from api.core.volumes import VolumeMount
from kubelet.lifecycle import Finish, Verdict
from kubelet.runtime.records import RuntimePod
from kubelet.status import Circumstances, Waiting, compute_status, diff
from tests.unit.kubelet.builders import NOTHING, NOW, exited, pod, record, runtime, sandbox


def status_of(p: Pod, has: RuntimePod, **around: object) -> PodStatus:
    return compute_status(p, has, Circumstances(host_ips=("192.0.2.1",), **around), NOW)  # type: ignore[arg-type]


def conditions(status: PodStatus) -> dict[str, str]:
    return {condition.type: condition.status for condition in status.conditions}


def test_a_new_pod_is_pending_and_its_container_is_being_created():
    status = status_of(pod(), NOTHING)
    waiting = status.container_statuses[0].state.waiting
    assert status.phase == "Pending"
    assert waiting is not None and waiting.reason == "ContainerCreating"
    assert conditions(status) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }


def test_main_containers_wait_for_init_containers():
    status = status_of(pod(initContainers=[{"name": "i", "image": "i:1"}]), runtime(record("i")))
    waiting = status.container_statuses[0].state.waiting
    assert waiting is not None and waiting.reason == "PodInitializing"
    initialized = next(c for c in status.conditions if c.type == "Initialized")
    assert initialized.status == "False"
    assert initialized.reason == "ContainersNotInitialized"
    assert initialized.message == "containers with incomplete status: [i]"


def test_a_running_pod_shows_its_address_and_is_ready():
    status = status_of(pod(), runtime(record(image="main:1", image_ref="sha256:abc")))
    container = status.container_statuses[0]
    assert (status.phase, status.pod_ip, status.host_ip) == ("Running", "10.0.0.5", "192.0.2.1")
    assert container.ready and container.started
    assert container.container_id == "containerd://main-0"
    assert set(conditions(status).values()) == {"True"}


def test_an_ephemeral_container_runs_and_counts_neither_as_started_nor_as_ready():
    p = pod(ephemeralContainers=[{"name": "debug", "image": "i"}])
    (status,) = status_of(p, runtime(record(), record("debug"))).ephemeral_container_statuses
    assert status.state.running is not None
    assert (status.ready, status.started) == (False, None)


def test_a_container_that_its_probe_does_not_call_ready_keeps_the_pod_from_being_ready():
    status = status_of(pod(), runtime(record()), verdicts={"main-0": Verdict(is_ready=False)})
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "ContainersNotReady")
    assert ready.message == "containers with unready status: [main]"


def test_a_crash_loop_shows_the_wait_the_last_end_and_the_count():
    waiting = {"main": Waiting("CrashLoopBackOff", "back-off 10s")}
    status = status_of(pod(), runtime(exited(attempt=3, code=2), exited(attempt=2)), waiting=waiting)
    container = status.container_statuses[0]
    assert container.restart_count == 3
    assert container.state.waiting is not None and container.state.waiting.reason == "CrashLoopBackOff"
    assert container.last_state.terminated is not None and container.last_state.terminated.exit_code == 2
    assert status.phase == "Running"


def test_how_a_container_ended_is_told_by_the_runtime_or_by_its_code():
    reasons = [
        status_of(pod(), runtime(r)).container_statuses[0].state.terminated.reason  # type: ignore[union-attr]
        for r in (exited(code=0), exited(code=1), exited(code=137, reason="OOMKilled"))
    ]
    assert reasons == ["Completed", "Error", "OOMKilled"]


def test_a_finished_pod_says_how_it_went():
    status = status_of(pod(restartPolicy="Never"), runtime(exited(code=0)), finish=Finish("Succeeded"))
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (status.phase, ready.reason) == ("Succeeded", "PodCompleted")


def test_a_pod_is_not_finished_while_anything_of_it_runs():
    late = Finish("Failed", "DeadlineExceeded", "too long")
    status = status_of(pod(), runtime(record()), finish=late, is_stopping=True)
    assert (status.phase, status.reason, status.message) == ("Running", "", "")
    status = status_of(pod(), runtime(exited(code=137)), finish=late, is_stopping=True)
    assert (status.phase, status.reason, status.message) == ("Failed", "DeadlineExceeded", "too long")


def test_an_evicted_pod_is_marked_before_it_has_stopped():
    evicted = Finish("Failed", "Evicted", "The node was low on resource: memory.", was_disrupted=True)
    status = status_of(pod(), runtime(record()), finish=evicted, is_stopping=True)
    assert conditions(status)["DisruptionTarget"] == "True" and status.phase == "Running"


def test_a_pod_runs_on_until_its_sidecars_have_ended():
    p = pod(initContainers=[{"name": "proxy", "image": "i", "restartPolicy": "Always"}], restartPolicy="Never")
    main = exited(code=0)
    status = status_of(p, runtime(record("proxy"), main), finish=Finish("Succeeded"), is_stopping=True)
    assert status.phase == "Running"
    status = status_of(p, runtime(exited("proxy", code=137), main), finish=Finish("Succeeded"), is_stopping=True)
    assert status.phase == "Succeeded"


def test_a_finished_phase_is_never_taken_back():
    status = status_of(pod(status={"phase": "Failed", "reason": "Evicted"}), runtime(record()))
    assert (status.phase, status.reason) == ("Failed", "Evicted")


def test_a_deleted_pod_whose_containers_have_all_ended_is_over_whatever_its_policy():
    status = status_of(pod(), runtime(exited(code=0), sandboxes=(sandbox(ready=False),)), is_stopping=True)
    assert status.phase == "Succeeded"


def test_a_stopping_pod_stays_ready_while_it_runs_unless_its_probe_says_otherwise():
    found = conditions(status_of(pod(), runtime(record()), is_stopping=True))
    assert found["Ready"] == found["PodReadyToStartContainers"] == "True"
    unready = {record().id: Verdict(is_ready=False)}
    assert conditions(status_of(pod(), runtime(record()), is_stopping=True, verdicts=unready))["Ready"] == "False"


def test_a_status_shows_how_volumes_are_mounted():
    p = pod()
    p.spec.containers[0].volume_mounts = [
        VolumeMount(name="v", mount_path="/v", read_only=True),
        VolumeMount(name="w", mount_path="/w"),
    ]
    first, second = status_of(p, runtime(record())).container_statuses[0].volume_mounts
    assert (first.name, first.mount_path, first.recursive_read_only) == ("v", "/v", "Disabled")
    assert second.recursive_read_only is None


def test_a_pod_that_was_refused_says_why_and_nothing_of_containers():
    status = status_of(pod(), NOTHING, finish=Finish("Failed", "OutOfcpu", "Pod was rejected: no"), is_stopping=True)
    assert (status.phase, status.reason, status.message) == ("Failed", "OutOfcpu", "Pod was rejected: no")
    assert status.container_statuses == [] and status.start_time


def test_a_transition_time_stays_while_the_condition_does():
    old = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    status = status_of(pod(status={"conditions": [old]}), runtime(record()))
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert ready.last_transition_time == "2020-01-01T00:00:00Z"


def test_readiness_gates_of_others_count():
    gates = [{"conditionType": "example.com/lb"}]
    status = status_of(pod(readinessGates=gates), runtime(record()))
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "ReadinessGatesNotReady")
    granted = {"conditions": [{"type": "example.com/lb", "status": "True"}]}
    status = status_of(pod(readinessGates=gates, status=granted), runtime(record()))
    assert conditions(status) | {"Ready": "True", "example.com/lb": "True"} == conditions(status)


def test_a_container_of_which_every_trace_is_lost_is_said_to_be():
    old = {"containerStatuses": [{"name": "main", "state": {"running": {}}, "restartCount": 2}]}
    status = status_of(pod(status=old), NOTHING)
    container = status.container_statuses[0]
    assert container.restart_count == 2
    assert container.last_state.terminated is not None
    assert container.last_state.terminated.reason == "ContainerStatusUnknown"


def test_an_equal_status_gives_no_patch():
    status = status_of(pod(), runtime(record()))
    assert diff(status, status) == {}


def test_a_patch_holds_only_what_changed_and_clears_what_is_gone():
    old = status_of(pod(), runtime(record()))
    new = status_of(pod(), runtime(record()), verdicts={"main-0": Verdict(is_ready=False)})
    new.pod_ip = ""
    new.pod_ips = []
    patch = diff(old, new)
    assert sorted(patch) == ["conditions", "containerStatuses", "podIP", "podIPs"]
    assert patch["podIP"] is None
    assert sorted(item["type"] for item in patch["conditions"]) == ["ContainersReady", "Ready"]


def test_a_changed_address_replaces_the_list():
    old = status_of(pod(), runtime(record()))
    new = status_of(pod(), runtime(record(), sandboxes=(sandbox(ips=("10.0.0.9",)),)))
    assert diff(old, new)["podIPs"] == [{"ip": "10.0.0.9"}, {"$patch": "replace"}]


def test_sidecars_must_be_ready_too():
    p = pod(initContainers=[{"name": "proxy", "image": "p:1", "restartPolicy": "Always"}])
    status = status_of(p, runtime(record("proxy"), record()), verdicts={"proxy-0": Verdict(is_ready=False)})
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert ready.message == "containers with unready status: [proxy]"


def test_a_container_that_was_lost_is_counted_for_as_long_as_it_is_waited_for():
    running = {"name": "main", "containerID": "containerd://x", "restartCount": 2, "state": {"running": {}}}
    p = pod(status={"containerStatuses": [running]})
    for _ in range(3):
        p.status = status_of(p, NOTHING)
        (container,) = p.status.container_statuses
        assert container.restart_count == 3 and container.state.waiting is not None
        assert container.last_state.terminated is not None and container.last_state.terminated.exit_code == 137


def test_how_a_container_ended_is_told_though_the_runtime_has_lost_it():
    ended = {"terminated": {"exitCode": 3, "reason": "Error"}}
    told = {"name": "main", "containerID": "containerd://x", "restartCount": 0, "state": ended}
    p = pod(status={"containerStatuses": [told]})
    for _ in range(2):
        p.status = status_of(p, NOTHING)
        (container,) = p.status.container_statuses
        assert container.last_state.terminated is not None and container.last_state.terminated.exit_code == 3


def test_a_pod_that_is_stopped_before_it_ever_ran_has_failed():
    status = status_of(pod(), runtime(), is_stopping=True)
    ended = status.container_statuses[0].state.terminated
    assert status.phase == "Failed"
    assert ended is not None and (ended.reason, ended.exit_code) == ("ContainerStatusUnknown", 137)
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "PodFailed")


def test_of_a_pod_that_is_stopped_while_it_initializes_only_what_was_tried_has_failed():
    p = pod(initContainers=[{"name": n, "image": "i:1"} for n in ("a", "b", "c")])
    status = status_of(p, runtime(exited("a", code=0), exited("b", code=1)), is_stopping=True)
    assert status.phase == "Failed"
    assert [s.state.terminated is not None for s in status.init_container_statuses] == [True, True, False]
    assert status.container_statuses[0].state.waiting is not None
    status = status_of(p, NOTHING, is_stopping=True)
    assert [s.state.terminated is not None for s in status.init_container_statuses] == [True, False, False]
