import random
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from api.core.node import Taint
from scheduler.cycle import Placement, Unschedulable, schedule
from scheduler.profile import DEFAULT
from scheduler.snapshot import Snapshot, snapshot_of
from tests.unit.scheduler.builders import node, pod

NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")


def placed(result: Placement | Unschedulable) -> str:
    assert isinstance(result, Placement), result
    return result.node_name


def message(result: Placement | Unschedulable) -> str:
    assert isinstance(result, Unschedulable), result
    return result.message


def test_a_pod_goes_to_the_only_node_it_fits() -> None:
    cluster = snapshot_of(node("n1", cpu="1"), node("n2", cpu="4"), node("n3", taints=[NOT_READY]))
    assert placed(schedule(pod(cpu="2"), cluster, DEFAULT)) == "n2"


def test_without_nodes_the_message_says_so() -> None:
    assert message(schedule(pod(), Snapshot({}), DEFAULT)) == "no nodes available to schedule pods"


def test_the_message_counts_each_reason_and_tells_that_preemption_cannot_help() -> None:
    full = pod("other", cpu="3")
    cluster = snapshot_of(node("n1", taints=[NOT_READY]), node("n2", full), node("n3", full))
    assert message(schedule(pod(cpu="2"), cluster, DEFAULT)) == (
        "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient cpu."
        " preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )


def test_a_request_no_node_could_ever_meet_is_not_helped_by_preemption() -> None:
    assert message(schedule(pod(cpu="64"), snapshot_of(node("n1")), DEFAULT)).endswith(
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_a_pod_that_must_not_preempt_is_told_so() -> None:
    rejected = schedule(pod(cpu="3", preemption_policy="Never"), snapshot_of(node("n1", pod("b", cpu="2"))), DEFAULT)
    assert message(rejected) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


def test_the_rejecting_plugins_are_named_so_that_the_queue_knows_what_to_wait_for() -> None:
    result = schedule(pod(cpu="64"), snapshot_of(node("n1"), node("n2", taints=[NOT_READY])), DEFAULT)
    assert isinstance(result, Unschedulable)
    assert {plugin.name for plugin in result.rejected_by} == {"NodeResourcesFit", "TaintToleration"}


def test_replicas_spread_evenly_over_equal_nodes() -> None:
    nodes = {f"n{i}": node(f"n{i}") for i in range(3)}
    for i in range(30):
        replica = pod(f"web-{i}", owner="rs")
        chosen = placed(schedule(replica, snapshot_of(*nodes.values()), DEFAULT))
        nodes[chosen] = nodes[chosen].with_pod(replica)
    assert Counter(len(each.pods) for each in nodes.values()) == {10: 3}


def test_the_same_input_gives_the_same_node() -> None:
    cluster = snapshot_of(*(node(f"n{i}") for i in range(5)))
    assert len({placed(schedule(pod("x"), cluster, DEFAULT)) for _ in range(5)}) == 1


def test_300_pods_find_20_nodes_in_a_moment() -> None:
    nodes = {f"n{i}": node(f"n{i}") for i in range(20)}
    started = time.process_time()
    for i in range(300):
        replica = pod(f"web-{i}", owner="rs", cpu="10m")
        chosen = placed(schedule(replica, snapshot_of(*nodes.values()), DEFAULT))
        nodes[chosen] = nodes[chosen].with_pod(replica)
    assert {len(each.pods) for each in nodes.values()} == {15}
    assert time.process_time() - started < 2


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 25))
def test_no_node_is_ever_overcommitted_and_a_rejected_pod_really_fits_nowhere(seed: int, size: int, count: int) -> None:
    rng = random.Random(seed)
    nodes = {f"n{i}": node(f"n{i}", cpu=str(rng.randint(1, 4))) for i in range(size)}
    for i in range(count):
        wanted = pod(f"p{i}", cpu=f"{rng.randint(1, 20) * 100}m")
        result = schedule(wanted, snapshot_of(*nodes.values()), DEFAULT)
        fits = [n for n in nodes.values() if n.allocatable["cpu"] - n.requested.get("cpu", 0) >= wanted.requests["cpu"]]
        if isinstance(result, Placement):
            nodes[result.node_name] = nodes[result.node_name].with_pod(wanted)
        else:
            assert not fits
    assert all(each.requested.get("cpu", 0) <= each.allocatable["cpu"] for each in nodes.values())
