from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from kubelet.lifecycle import (
    Backoff,
    Finish,
    Kill,
    Liveness,
    PodActions,
    Start,
    Verdict,
    decide,
    grace_period_s,
    next_backoff,
    spec_hash,
    stop_order,
    to_forget,
)
from kubelet.runtime.records import State
from tests.unit.kubelet.builders import NOTHING, NOW, exited, pod, record, runtime, sandbox


def init(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "image": "i:1", **fields}


def sidecar(name: str) -> dict[str, object]:
    return init(name, restartPolicy="Always")


def test_a_new_pod_gets_a_sandbox_first():
    assert decide(pod(), NOTHING, {}, NOW) == PodActions(sandbox_attempt=0)


def test_all_main_containers_start_once_there_is_a_sandbox():
    actions = decide(pod(["a", "b"]), runtime(), {}, NOW)
    assert actions == PodActions(start=(Start("a", 0, 0.0), Start("b", 0, 0.0)))


def test_a_running_pod_needs_nothing():
    assert decide(pod(), runtime(record()), {}, NOW).changes_nothing


def test_a_sandbox_without_address_is_replaced():
    broken = sandbox(2, ready=True, ips=())
    actions = decide(pod(), runtime(sandboxes=(broken,)), {}, NOW)
    assert actions == PodActions(stop_sandbox=True, sandbox_attempt=3)


def test_after_a_reboot_the_pod_gets_a_new_sandbox_and_all_its_containers_anew():
    p = pod(["a"], initContainers=[init("i")])
    dead = runtime(exited("i", 0), exited("a", 255, attempt=4), sandboxes=(sandbox(0, ready=False),))
    assert decide(p, dead, {}, NOW) == PodActions(sandbox_attempt=1)
    fresh = runtime(exited("i", 0), exited("a", 255, attempt=4), sandboxes=(sandbox(1), sandbox(0, ready=False)))
    assert decide(p, fresh, {}, NOW).start == (Start("i", 1, 0.0),)


def test_init_containers_run_one_after_another():
    p = pod(initContainers=[init("one"), init("two")])
    assert decide(p, runtime(), {}, NOW).start == (Start("one", 0, 0.0),)
    assert decide(p, runtime(record("one")), {}, NOW).changes_nothing
    assert decide(p, runtime(exited("one", 0)), {}, NOW).start == (Start("two", 0, 0.0),)
    done = runtime(exited("one", 0), exited("two", 0))
    assert decide(p, done, {}, NOW).start == (Start("main", 0, 0.0),)


def test_a_failed_init_container_is_tried_again_after_its_back_off():
    p = pod(initContainers=[init("one")])
    assert decide(p, runtime(exited("one", 1)), {}, NOW).start == (Start("one", 1, 10.0),)
    waiting = decide(p, runtime(exited("one", 1, attempt=1, backoff_s=10.0)), {}, NOW)
    assert waiting.backoffs == (Backoff("one", 10.0, NOW + 9),)
    assert waiting.wake_at_s == NOW + 9


def test_a_failed_init_container_fails_a_pod_that_never_restarts():
    p = pod(initContainers=[init("one")], restartPolicy="Never")
    assert decide(p, runtime(exited("one", 1)), {}, NOW).finish == Finish("Failed")


def test_init_containers_are_past_once_a_main_container_was_started():
    p = pod(initContainers=[init("one")])
    assert decide(p, runtime(record("main")), {}, NOW).changes_nothing


def test_the_next_container_waits_until_a_sidecar_has_started():
    p = pod(initContainers=[sidecar("proxy")])
    running = runtime(record("proxy"))
    assert decide(p, running, {"proxy-0": Verdict(is_started=False)}, NOW).changes_nothing
    assert decide(p, running, {}, NOW).start == (Start("main", 0, 0.0),)


def test_a_sidecar_that_ended_is_restarted_beside_running_containers():
    p = pod(initContainers=[sidecar("proxy")], restartPolicy="Never")
    actions = decide(p, runtime(exited("proxy", 0), record("main")), {}, NOW)
    assert actions.start == (Start("proxy", 1, 10.0),)


def test_the_first_restart_is_immediate_and_the_second_waits_ten_seconds():
    assert decide(pod(), runtime(exited()), {}, NOW).start == (Start("main", 1, 10.0),)
    second = runtime(exited(attempt=1, backoff_s=10.0))
    assert decide(pod(), second, {}, NOW) == PodActions(backoffs=(Backoff("main", 10.0, NOW + 9),), wake_at_s=NOW + 9)
    assert decide(pod(), second, {}, NOW + 9).start == (Start("main", 2, 20.0),)


def test_a_container_that_ran_for_ten_minutes_is_forgiven():
    long_lived = exited(attempt=7, backoff_s=300.0, created_at_s=NOW - 601)
    assert decide(pod(), runtime(long_lived), {}, NOW).start == (Start("main", 8, 10.0),)


@given(st.floats(min_value=0, max_value=300))
def test_back_off_grows_and_never_passes_five_minutes(delay: float):
    following = next_backoff(exited(backoff_s=delay), NOW)
    assert following <= 300
    assert following >= min(delay, 300)


def test_a_container_whose_image_changed_does_not_wait_for_what_the_one_before_did():
    p = pod()
    changed = dataclasses.replace(exited(attempt=5, backoff_s=160.0), spec_hash="of another image")
    assert decide(p, runtime(changed), {}, NOW) == PodActions(start=(Start("main", 6, 10.0),))
    same = dataclasses.replace(changed, spec_hash=spec_hash(p.spec.containers[0]))
    assert decide(p, runtime(same), {}, NOW).backoffs


def test_back_off_doubles_from_ten_seconds_to_five_minutes():
    seen = [0.0]
    for _ in range(8):
        seen.append(next_backoff(exited(backoff_s=seen[-1]), NOW))
    assert seen == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_restart_policy_decides_what_is_restarted():
    on_failure, never = pod(restartPolicy="OnFailure"), pod(restartPolicy="Never")
    assert decide(on_failure, runtime(exited(code=1)), {}, NOW).start == (Start("main", 1, 10.0),)
    assert decide(on_failure, runtime(exited(code=0)), {}, NOW).finish == Finish("Succeeded")
    assert decide(never, runtime(exited(code=0)), {}, NOW).finish == Finish("Succeeded")
    assert decide(never, runtime(exited(code=1)), {}, NOW).finish == Finish("Failed")


def test_a_pod_is_finished_only_when_every_container_is():
    p = pod(["a", "b"], restartPolicy="Never")
    assert decide(p, runtime(exited("a", 0), record("b")), {}, NOW).finish is None
    assert decide(p, runtime(exited("a", 0), exited("b", 2)), {}, NOW).finish == Finish("Failed")


def test_a_finished_pod_is_never_started_again_even_if_the_runtime_forgot_it():
    p = pod(restartPolicy="Never", status={"phase": "Succeeded"})
    assert decide(p, NOTHING, {}, NOW).finish == Finish("Succeeded")


def test_a_pod_past_its_deadline_fails():
    p = pod(activeDeadlineSeconds=30, status={"startTime": "2023-11-14T22:12:50Z"})
    assert decide(p, runtime(record()), {}, NOW - 1).wake_at_s == NOW
    finish = decide(p, runtime(record()), {}, NOW).finish
    assert finish is not None
    assert (finish.phase, finish.reason) == ("Failed", "DeadlineExceeded")


def test_a_container_whose_liveness_probe_failed_is_killed():
    actions = decide(pod(), runtime(record()), {"main-0": Verdict(liveness=Liveness.FAILED)}, NOW)
    message = "Container main failed liveness probe, will be restarted"
    assert actions == PodActions(kill=(Kill("main-0", "main", message, from_liveness_probe=True),))


def test_a_container_whose_image_changed_is_killed():
    p = pod()
    same = record(spec_hash=spec_hash(p.spec.containers[0]))
    assert decide(p, runtime(same), {}, NOW).changes_nothing
    kills = decide(p, runtime(record(spec_hash="another")), {}, NOW).kill
    assert [kill.message for kill in kills] == ["Container main definition changed, will be restarted"]


def test_ephemeral_containers_run_once():
    p = pod(ephemeralContainers=[{"name": "debug", "image": "d:1"}])
    assert decide(p, runtime(record()), {}, NOW).start == (Start("debug", 0, 0.0),)
    assert decide(p, runtime(record(), exited("debug", 1)), {}, NOW).changes_nothing


def test_a_container_that_was_made_but_not_started_gets_another_attempt():
    assert decide(pod(), runtime(record(state=State.CREATED)), {}, NOW).start == (Start("main", 1, 0.0),)


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_grace_period_only_shrinks(asked: int, in_force: int):
    metadata = {"deletionTimestamp": "2024-01-01T00:00:00Z", "deletionGracePeriodSeconds": asked}
    assert grace_period_s(pod(metadata=metadata), in_force) == min(asked, in_force)


def test_the_grace_period_is_the_deletions_then_the_pods_then_thirty_seconds():
    assert grace_period_s(pod()) == 30
    assert grace_period_s(pod(terminationGracePeriodSeconds=5)) == 5


def test_sidecars_stop_after_main_containers_in_reverse_order():
    p = pod(initContainers=[sidecar("first"), sidecar("second")])
    groups = stop_order(p, runtime(record("first"), record("second"), record("main")))
    assert [[r.name for r in group] for group in groups] == [["main"], ["second"], ["first"]]


def test_two_attempts_of_each_container_are_kept():
    attempts = [exited(attempt=n) for n in range(4)] + [record(attempt=4)]
    containers, sandboxes = to_forget(pod(), runtime(*attempts))
    assert containers == ["main-2", "main-1", "main-0"]
    assert sandboxes == []


def test_an_old_sandbox_is_kept_while_it_holds_a_container_that_is():
    old, new = sandbox(0, ready=False), sandbox(1)
    has = runtime(exited(attempt=0), record(attempt=1, sandbox_id="sandbox-1"), sandboxes=(new, old))
    assert to_forget(pod(), has) == ([], [])
    has = runtime(record(attempt=1, sandbox_id="sandbox-1"), sandboxes=(new, old))
    assert to_forget(pod(), has) == ([], ["sandbox-0"])


@given(
    st.sampled_from(["Always", "OnFailure", "Never"]),
    st.lists(st.tuples(st.sampled_from(["run", "exit"]), st.integers(0, 2)), min_size=1, max_size=3),
)
def test_deciding_twice_on_the_same_state_decides_the_same(policy: str, states: list[tuple[str, int]]):
    names = [f"c{i}" for i in range(len(states))]
    records = [record(n) if kind == "run" else exited(n, code) for n, (kind, code) in zip(names, states, strict=True)]
    p = pod(names, restartPolicy=policy)
    actions = decide(p, runtime(*records), {}, NOW)
    assert actions == decide(p, runtime(*records), {}, NOW)
    running = {r.name for r in records if r.is_running}
    assert not running & {start.name for start in actions.start}


def test_what_ended_well_in_a_sandbox_that_was_lost_is_not_run_again_in_the_next():
    p = pod(["done", "failed"], restartPolicy="OnFailure")
    ended = (exited("done", 0), exited("failed", 1))
    fresh = runtime(*ended, sandboxes=(sandbox(1), sandbox(0, ready=False)))
    assert [start.name for start in decide(p, fresh, {}, NOW).start] == ["failed"]


def test_a_pod_that_never_restarts_runs_only_what_has_not_run_in_a_sandbox_that_was_remade():
    p = pod(["ran", "waits"], restartPolicy="Never")
    fresh = runtime(exited("ran", 1), sandboxes=(sandbox(1), sandbox(0, ready=False)))
    assert [start.name for start in decide(p, fresh, {}, NOW).start] == ["waits"]


def test_an_attempt_that_the_runtime_has_lost_is_counted():
    told = {"name": "main", "containerID": "containerd://main-4", "restartCount": 4}
    lost = pod(status={"containerStatuses": [told]})
    assert decide(lost, runtime(), {}, NOW).start == (Start("main", 5, 0.0),)
    waiting = pod(status={"containerStatuses": [{"name": "main", "restartCount": 5}]})
    assert decide(waiting, runtime(), {}, NOW).start == (Start("main", 5, 0.0),)


def test_an_ephemeral_container_that_was_made_and_not_started_is_started():
    p = pod(ephemeralContainers=[{"name": "debug", "image": "i:1"}])
    made = runtime(record(), record("debug", state=State.CREATED))
    assert decide(p, made, {}, NOW).start == (Start("debug", 1, 0.0),)
    assert decide(p, runtime(record(), exited("debug")), {}, NOW).changes_nothing
