from hypothesis import given
from hypothesis import strategies as st

from api.core.pod import PodCondition
from api.meta import LabelSelector, ObjectMeta
from api.policy.poddisruptionbudget import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from scheduler.cycle import Placement, Unschedulable, schedule
from scheduler.framework import Remedy
from scheduler.nominations import Nominations
from scheduler.preemption import Candidate, protected_by_budgets, select_candidate
from scheduler.profile import DEFAULT
from scheduler.snapshot import NodeView, PodView, Snapshot, Surroundings, snapshot_of
from tests.builders import store
from tests.unit.scheduler.builders import node, pod


def budget(allowed: int, disrupted: tuple[str, ...] = (), namespace: str = "default", **labels: str):
    return PodDisruptionBudget(
        metadata=ObjectMeta(name="b", namespace=namespace),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels=labels)),
        status=PodDisruptionBudgetStatus(
            disruptions_allowed=allowed, disrupted_pods=dict.fromkeys(disrupted, "2026-01-01T00:00:00Z")
        ),
    )


def started(view: PodView, time: str) -> PodView:
    view.pod.status.start_time = time
    return view


def remedy(wanted: PodView, *nodes: NodeView, budgets: tuple[PodDisruptionBudget, ...] = (), **nominated: PodView):
    named = {name: (view,) for name, view in nominated.items()}
    cluster = Snapshot(snapshot_of(*nodes).nodes, named, Surroundings(budgets=store(*budgets)))
    result = schedule(wanted, cluster, DEFAULT)
    assert isinstance(result, Unschedulable), result
    return result


def victims(found: Remedy) -> tuple[str, list[str]]:
    return found.nominated or "", [victim.key.name for victim in found.victims]


def test_only_as_many_lower_pods_leave_as_must_the_least_important_ones() -> None:
    crowd = [pod("low", cpu="1", priority=1), pod("mid", cpu="1", priority=2), pod("high", cpu="2", priority=9)]
    result = remedy(pod("vip", cpu="1", priority=5), node("n1", *crowd))
    assert victims(result.remedy) == ("n1", ["low"])
    assert result.message == "0/1 nodes are available: 1 Insufficient cpu."


def test_of_equal_pods_those_that_started_later_leave() -> None:
    crowd = [
        started(pod("old", cpu="2", priority=0), "2026-01-01"),
        started(pod("new", cpu="2", priority=0), "2026-02"),
    ]
    assert victims(remedy(pod("vip", cpu="2", priority=5), node("n1", *crowd)).remedy) == ("n1", ["new"])


def test_a_protected_pod_stays_rather_than_a_more_important_one() -> None:
    crowd = [pod("guarded", cpu="2", priority=0, labels={"app": "db"}), pod("plain", cpu="2", priority=3)]
    found = remedy(pod("vip", cpu="2", priority=5), node("n1", *crowd), budgets=(budget(0, app="db"),))
    assert victims(found.remedy) == ("n1", ["plain"])
    found = remedy(pod("vip", cpu="2", priority=5), node("n1", *crowd), budgets=(budget(1, app="db"),))
    assert victims(found.remedy) == ("n1", ["guarded"])


def test_budgets_protect_in_their_namespace_and_count_disrupted_pods_once() -> None:
    pods = [pod("a", labels={"app": "db"}), pod("b", labels={"app": "db"}), pod("c")]
    assert protected_by_budgets(pods, [budget(1, app="db")]) == {"uid-b"}
    assert protected_by_budgets(pods, [budget(0, ("a",), app="db")]) == {"uid-b"}
    assert protected_by_budgets(pods, [budget(0, namespace="other", app="db"), budget(0)]) == set()


def test_the_node_is_chosen_by_what_harms_least() -> None:
    def candidate(name: str, *who: PodView, violated: int = 0) -> Candidate:
        return Candidate(name, who, violated)

    low, mid = pod("low", priority=1), pod("mid", priority=5)
    assert select_candidate([candidate("a", low, violated=1), candidate("b", mid)]).node_name == "b"
    assert select_candidate([candidate("a", mid), candidate("b", low, low)]).node_name == "b"
    assert select_candidate([candidate("a", mid, mid), candidate("b", mid, low)]).node_name == "b"
    early, late = started(pod("e", priority=1), "2026-01-01"), started(pod("l", priority=1), "2026-02-01")
    assert select_candidate([candidate("a", early), candidate("b", late)]).node_name == "b"
    assert select_candidate([candidate("a", low), candidate("b", low)]).node_name == "a"
    below = [pod("x", priority=-10), pod("y", priority=-10)]
    assert select_candidate([candidate("a", *below), candidate("b", below[0])]).node_name == "b"


def test_nobody_of_its_own_priority_leaves_and_the_message_counts_why() -> None:
    full = node("n1", pod("same", cpu="4", priority=5))
    small = node("n2", pod("low", cpu="1", priority=0), cpu="1")
    result = remedy(pod("vip", cpu="2", priority=5), full, small)
    assert victims(result.remedy) == ("", [])
    assert result.remedy.nominated == ""
    assert result.message == (
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
        "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
    )


def test_what_fits_not_even_on_a_node_emptied_of_lower_pods_is_told_the_reason() -> None:
    crowd = node("n1", pod("low", cpu="1", priority=0), pod("peer", cpu="3", priority=5))
    assert remedy(pod("vip", cpu="2", priority=5), crowd).message.endswith(
        "preemption: 0/1 nodes are available: 1 Insufficient cpu."
    )


def test_while_a_victim_is_leaving_the_nominated_node_nobody_else_has_to() -> None:
    leaving = pod("low", cpu="4", priority=0)
    leaving.pod.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    leaving.pod.status.conditions = [PodCondition("DisruptionTarget", "True", reason="PreemptionByScheduler")]
    vip = pod("vip", cpu="2", priority=5)
    result = remedy(vip, node("n1", leaving), node("n2", pod("other", cpu="4", priority=0)), n1=vip)
    assert (result.remedy.nominated, result.remedy.victims) == (None, ())
    assert result.message.endswith("preemption: not eligible due to a terminating pod on the nominated node.")


def test_room_made_for_a_nominated_pod_is_not_taken_by_one_of_no_higher_priority() -> None:
    cluster = Snapshot(snapshot_of(node("n1")).nodes, {"n1": (pod("vip", cpu="3", priority=5),)})
    assert isinstance(schedule(pod("x", cpu="2", priority=5), cluster, DEFAULT), Unschedulable)
    assert isinstance(schedule(pod("x", cpu="2", priority=6), cluster, DEFAULT), Placement)
    assert isinstance(schedule(pod("x", cpu="1", priority=0), cluster, DEFAULT), Placement)


def test_a_pod_goes_to_the_node_nominated_for_it_though_another_is_emptier() -> None:
    vip = pod("vip", cpu="1", priority=5)
    nodes = snapshot_of(node("n1", pod("a", cpu="3")), node("n2")).nodes
    result = schedule(vip, Snapshot(nodes, {"n1": (vip,)}), DEFAULT)
    assert isinstance(result, Placement)
    assert result.node_name == "n1"


def test_a_port_in_use_by_a_lower_pod_is_freed() -> None:
    result = remedy(pod("vip", host_port=80, priority=1), node("n1", pod("a", host_port=80), pod("b", host_port=81)))
    assert victims(result.remedy) == ("n1", ["a"])


_PODS = st.lists(st.tuples(st.integers(-2, 4), st.integers(1, 8), st.booleans(), st.integers(1, 9)), max_size=8)


@given(st.lists(_PODS, min_size=1, max_size=4), st.integers(1, 16), st.integers(0, 3))
def test_victims_are_lower_enough_and_no_one_too_many(crowds: list, wanted: int, allowed: int) -> None:
    nodes = []
    for i, crowd in enumerate(crowds):
        view = node(f"n{i}", cpu="2")
        for j, (priority, quarters, is_guarded, day) in enumerate(crowd):
            labels = {"app": "db"} if is_guarded else {}
            each = pod(f"p{i}-{j}", cpu=f"{quarters * 125}m", priority=priority, labels=labels)
            if view.requested.get("cpu", 0) + each.requests["cpu"] <= 2000:
                view = view.with_pod(started(each, f"2026-01-0{day}"))
        nodes.append(view)
    vip = pod("vip", cpu=f"{wanted * 125}m", priority=2)
    cluster = Snapshot(snapshot_of(*nodes).nodes, {}, Surroundings(budgets=store(budget(allowed, app="db"))))
    result = schedule(vip, cluster, DEFAULT)
    free = {view.name: 2000 - view.requested.get("cpu", 0) for view in nodes}
    lower = {view.name: sum(each.requests["cpu"] for each in view.pods.values() if each.priority < 2) for view in nodes}
    need = wanted * 125
    if isinstance(result, Placement):
        assert free[result.node_name] >= need
        return
    if result.remedy.victims:
        chosen = cluster.nodes[result.remedy.nominated or ""]
        left = free[chosen.name]
        for victim in result.remedy.victims:
            assert victim.priority < 2
            assert victim.uid in chosen.pods
            left += victim.requests["cpu"]
        assert left >= need
        # Without any one of them it would not have done.
        assert all(left - victim.requests["cpu"] < need for victim in result.remedy.victims)
    else:
        assert all(free[name] + lower[name] < need for name in free)


def test_a_nomination_counts_at_once_and_follows_what_the_api_says() -> None:
    def saying(node_name: str) -> PodView:
        view = pod("a", priority=3)
        view.pod.status.nominated_node_name = node_name
        return view

    def nodes_of(table: Nominations) -> dict[str, list[str]]:
        return {name: [each.uid for each in pods] for name, pods in table.by_node().items()}

    table = Nominations()
    table.put(saying(""), "n1")
    table.saw(saying(""), saying(""))
    assert nodes_of(table) == {"n1": ["uid-a"]}
    table.saw(saying(""), saying("n1"))
    table.saw(saying("n1"), saying(""))
    assert nodes_of(table) == {}
    table.saw(None, saying("n2"))
    assert [each.uid for each in table.lower_than(pod("b", priority=4), "n2")] == ["uid-a"]
    assert table.lower_than(pod("b", priority=3), "n2") == []
    assert (table.drop("uid-a"), table.drop("uid-a")) == (True, False)
