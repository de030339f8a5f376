"""Each filter plugin alone, through the cycle it runs in."""

import pytest

from api.core.namespace import Namespace
from api.core.node import Taint
from api.core.node_matching import selects, tolerates
from api.core.placement import (
    Affinity,
    NodeAffinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    PreferredSchedulingTerm,
    Toleration,
    WeightedPodAffinityTerm,
)
from api.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from api.meta import LabelSelector, ObjectMeta
from scheduler.cycle import Placement, Unschedulable, schedule
from scheduler.profile import DEFAULT
from scheduler.snapshot import NodeView, PodView, Snapshot, Surroundings, snapshot_of
from tests.builders import store
from tests.unit.scheduler.builders import node, pod, spread


def outcome(wanted: PodView, *nodes: NodeView) -> str:
    """The chosen node, or the reasons without the counting around them."""
    result = schedule(wanted, snapshot_of(*nodes), DEFAULT)
    if isinstance(result, Placement):
        return result.node_name
    return result.message.split(": ", 1)[1].split(" preemption: ")[0]


def test_a_cordoned_node_takes_no_pod() -> None:
    assert outcome(pod(), node(unschedulable=True)) == "1 node(s) were unschedulable."


def test_a_pod_that_tolerates_cordoning_may_still_come() -> None:
    tolerant = pod(tolerations=[Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")])
    assert outcome(tolerant, node(unschedulable=True)) == "n1"


def test_a_pod_stays_on_the_node_it_names() -> None:
    assert outcome(pod(node="n2"), node("n1")) == "1 node(s) didn't match the requested node name."
    assert outcome(pod(node="n2"), node("n1"), node("n2")) == "n2"


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration(key="k", operator="Equal", value="v", effect="NoSchedule"), True),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(key="k", value="other"), False),
        (Toleration(key="k", operator="Exists", effect="NoExecute"), False),
        (Toleration(key="other", operator="Exists"), False),
    ],
)
def test_a_toleration_matches_by_key_value_and_effect(toleration: Toleration, expected: bool) -> None:
    assert tolerates([toleration], Taint(key="k", value="v", effect="NoSchedule")) is expected


def test_a_taint_that_only_prefers_costs_score_and_rejects_nobody() -> None:
    soft = [Taint(key="k", effect="PreferNoSchedule")]
    assert outcome(pod(), node("n1", taints=soft)) == "n1"
    assert outcome(pod(), node("n1", taints=soft), node("n2")) == "n2"


def test_a_node_selector_holds_a_pod_to_labels() -> None:
    picky = pod(selector={"disk": "ssd"})
    assert outcome(picky, node("n1")) == "1 node(s) didn't match Pod's node affinity/selector."
    assert outcome(picky, node("n1"), node("n2", labels={"disk": "ssd"})) == "n2"


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["5", "6"], True),
        ("In", ["6"], False),
        ("NotIn", ["6"], True),
        ("NotIn", ["5"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Gt", ["4"], True),
        ("Gt", ["5"], False),
        ("Lt", ["6"], True),
        ("Lt", ["x"], False),
    ],
)
def test_node_affinity_knows_every_operator(operator: str, values: list[str], expected: bool) -> None:
    term = NodeSelectorTerm(match_expressions=[NodeSelectorRequirement(key="cores", operator=operator, values=values)])
    wanted = pod(affinity=required_node(term))
    assert selects(wanted.pod.spec, node(labels={"cores": "5"}).node) is expected


def required_node(*terms: NodeSelectorTerm) -> Affinity:
    selector = NodeSelector(node_selector_terms=list(terms))
    return Affinity(node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=selector))


def test_any_term_of_node_affinity_is_enough_and_an_empty_one_matches_nothing() -> None:
    by_name = NodeSelectorTerm(
        match_fields=[NodeSelectorRequirement(key="metadata.name", operator="In", values=["n2"])]
    )
    wanted = pod(affinity=required_node(NodeSelectorTerm(), by_name))
    assert outcome(wanted, node("n1"), node("n2")) == "n2"


def test_preferred_node_affinity_decides_among_feasible_nodes() -> None:
    zone = NodeSelectorTerm(match_expressions=[NodeSelectorRequirement(key="zone", operator="In", values=["b"])])
    wish = PreferredSchedulingTerm(weight=10, preference=zone)
    wanted = pod(
        affinity=Affinity(node_affinity=NodeAffinity(preferred_during_scheduling_ignored_during_execution=[wish]))
    )
    nodes = [node("n1", labels={"zone": "a"}), node("n2", labels={"zone": "b"}), node("n3")]
    assert outcome(wanted, *nodes) == "n2"


def test_two_pods_cannot_share_a_host_port_on_one_node() -> None:
    taken = node("n1", pod("other", host_port=80))
    assert outcome(pod(host_port=80), taken) == "1 node(s) didn't have free ports for the requested pod ports."
    assert outcome(pod(host_port=81), taken) == "n1"


def test_host_ports_on_different_addresses_do_not_conflict_but_with_all_addresses_they_do() -> None:
    taken = node("n1", pod("other", host_port=80, host_ip="10.0.0.1"))
    assert outcome(pod(host_port=80, host_ip="10.0.0.2"), taken) == "n1"
    assert outcome(pod(host_port=80), taken) == "1 node(s) didn't have free ports for the requested pod ports."


def test_each_lacking_resource_is_named() -> None:
    assert outcome(pod(cpu="8", memory="1Ti"), node()) == "1 Insufficient cpu, 1 Insufficient memory."
    assert outcome(pod(), node("n1", pod("b"), most_pods="1")) == "1 Too many pods."


def test_the_emptier_node_is_chosen() -> None:
    assert outcome(pod(cpu="100m"), node("n1", pod("b", cpu="2", memory="4Gi")), node("n2")) == "n2"


def test_hard_spreading_keeps_the_skew() -> None:
    web = {"app": "web"}
    running = [pod(f"w{i}", labels=web) for i in range(2)]
    wanted = pod("w", labels=web, spread=[spread("zone", labels=web)])
    crowded = node("n1", *running, labels={"zone": "a"})
    assert outcome(wanted, crowded, node("n2", labels={"zone": "b"})) == "n2"
    alone = outcome(wanted, crowded, node("n2", labels={"zone": "b"}, unschedulable=True), node("n3"))
    assert alone == (
        "1 node(s) didn't match pod topology spread constraints, "
        "1 node(s) didn't match pod topology spread constraints (missing required label), 1 node(s) were unschedulable."
    )


def test_soft_spreading_prefers_the_emptier_zone() -> None:
    web = {"app": "web"}
    wanted = pod("w", labels=web, spread=[spread("zone", labels=web, hard=False)])
    busy = node("n1", pod("w1", labels=web), labels={"zone": "a"})
    assert outcome(wanted, busy, node("n2", labels={"zone": "a"}), node("n3", labels={"zone": "b"})) == "n3"


def near(labels: dict[str, str], key: str = "kubernetes.io/hostname") -> PodAffinityTerm:
    return PodAffinityTerm(label_selector=LabelSelector(match_labels=labels), topology_key=key)


def must_be_near(labels: dict[str, str]) -> Affinity:
    return Affinity(pod_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[near(labels)]))


def must_be_far(labels: dict[str, str]) -> Affinity:
    return Affinity(
        pod_anti_affinity=PodAntiAffinity(required_during_scheduling_ignored_during_execution=[near(labels)])
    )


def test_a_pod_goes_near_the_pods_it_wants() -> None:
    cache = pod("cache", labels={"app": "cache"})
    wanted = pod(affinity=must_be_near({"app": "cache"}))
    assert outcome(wanted, node("n1"), node("n2", cache)) == "n2"
    assert outcome(wanted, node("n1")) == "1 node(s) didn't match pod affinity rules."


def test_the_first_of_a_group_that_wants_its_own_kind_may_go_anywhere() -> None:
    assert outcome(pod(labels={"app": "x"}, affinity=must_be_near({"app": "x"})), node("n1")) == "n1"


def test_a_pod_keeps_away_from_the_pods_it_avoids_and_they_from_it() -> None:
    web = {"app": "web"}
    shy = pod("shy", labels={"app": "shy"}, affinity=must_be_far(web))
    assert outcome(shy, node("n1", pod("w", labels=web))) == "1 node(s) didn't match pod anti-affinity rules."
    assert outcome(shy, node("n1", pod("w", labels=web)), node("n2")) == "n2"
    arriving = pod("w", labels=web)
    assert outcome(arriving, node("n1", shy)) == "1 node(s) didn't satisfy existing pods anti-affinity rules."


def test_preferred_pod_affinity_draws_and_repels() -> None:
    wish = WeightedPodAffinityTerm(weight=100, pod_affinity_term=near({"app": "x"}))
    drawn = Affinity(pod_affinity=PodAffinity(preferred_during_scheduling_ignored_during_execution=[wish]))
    repelled = Affinity(pod_anti_affinity=PodAntiAffinity(preferred_during_scheduling_ignored_during_execution=[wish]))
    nodes = [node("n1"), node("n2", pod("x", labels={"app": "x"}))]
    assert outcome(pod(affinity=drawn), *nodes) == "n2"
    assert outcome(pod(affinity=repelled), *nodes) == "n1"


def test_a_namespace_selector_chooses_among_namespaces_by_their_labels() -> None:
    term = near({"app": "x"})
    term.namespace_selector = LabelSelector(match_labels={"team": "a"})
    wanted = Affinity(pod_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[term]))
    nodes = snapshot_of(node("n1"), node("n2", pod("x", labels={"app": "x"}))).nodes

    def result(**labels: str) -> Placement | Unschedulable:
        default = Namespace(metadata=ObjectMeta(name="default", labels=labels))
        return schedule(pod(affinity=wanted), Snapshot(nodes, {}, Surroundings(namespaces=store(default))), DEFAULT)

    assert isinstance(result(team="b"), Unschedulable)
    found = result(team="a")
    assert isinstance(found, Placement)
    assert found.node_name == "n2"


def test_a_mismatched_label_key_also_takes_pods_without_the_label() -> None:
    term = near({"app": "x"})
    term.mismatch_label_keys = ["tenant"]
    away = Affinity(pod_anti_affinity=PodAntiAffinity(required_during_scheduling_ignored_during_execution=[term]))
    wanted = pod(affinity=away, labels={"tenant": "a"})
    bare = node("n1", pod("x", labels={"app": "x"}))
    assert outcome(wanted, bare) == "1 node(s) didn't match pod anti-affinity rules."
    assert outcome(wanted, node("n1", pod("y", labels={"app": "x", "tenant": "a"}))) == "n1"
