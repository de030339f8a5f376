from hypothesis import given
from hypothesis import strategies as st

from api.core.containers import Container, ResourceRequirements
from api.core.pod import Pod, PodSpec
from api.meta import ObjectMeta
from kubelet.eviction import MEMORY, Shortage, Used, message, select_pod, why_not_admitted
from kubelet.pressure import TRANSITION_S, Measured, Pressure

MIB = 1 << 20
SHORT = Shortage(MEMORY, "100Mi", 50 * MIB)


def used(name: str, mib: int, *, request_mib: int = 0, priority: int = 0) -> Used:
    requests = {"memory": f"{request_mib}Mi"} if request_mib else {}
    container = Container(name="c", resources=ResourceRequirements(requests=requests))
    pod = Pod(metadata=ObjectMeta(name=name), spec=PodSpec(containers=[container], priority=priority))
    return Used(pod, {"c": mib * MIB})


def first(*running: Used) -> str:
    chosen = select_pod(SHORT, running)
    return chosen.pod.metadata.name if chosen else ""


def test_who_uses_more_than_requested_goes_before_who_is_less_important() -> None:
    assert first(used("within", 500, request_mib=600), used("above", 10, priority=9)) == "above"


def test_then_the_lower_priority_goes_then_who_is_further_above() -> None:
    assert first(used("high", 900, priority=5), used("low", 10, priority=1)) == "low"
    assert first(used("a", 300, request_mib=290), used("b", 200, request_mib=50)) == "b"


def test_what_the_node_cannot_be_without_stays() -> None:
    assert first(used("critical", 900, priority=2_000_001_000)) == ""
    assert why_not_admitted(used("x", 0, priority=2_000_001_000).pod, {"DiskPressure"}, is_best_effort=True) == ""


def test_the_message_names_who_used_too_much() -> None:
    assert message(SHORT, used("a", 200, request_mib=50)) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container c was using 200Mi, request is 50Mi, has larger consumption of memory. "
    )


def test_without_memory_those_that_promise_nothing_stay_out_without_disk_all() -> None:
    pod = used("x", 0).pod
    assert why_not_admitted(pod, {"MemoryPressure"}, is_best_effort=True) == (
        "The node had condition: [MemoryPressure]. "
    )
    assert why_not_admitted(pod, {"MemoryPressure"}, is_best_effort=False) == ""
    assert why_not_admitted(pod, {"DiskPressure"}, is_best_effort=False) == "The node had condition: [DiskPressure]. "
    assert why_not_admitted(pod, (), is_best_effort=True) == ""


def test_a_condition_stays_for_a_while_after_what_was_short_is_back() -> None:
    pressure = Pressure()
    assert pressure.note(Measured(memory_bytes=MIB), 0) == {"MemoryPressure"}
    assert pressure.note(Measured(disk_fraction=0.01), 10) == {"MemoryPressure", "DiskPressure"}
    assert pressure.note(Measured(), TRANSITION_S) == {"DiskPressure"}
    assert pressure.note(Measured(), TRANSITION_S + 10) == frozenset()


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(-1, 2)), min_size=1))
def test_nobody_goes_within_requests_while_somebody_is_above(pods: list[tuple[int, int, int]]) -> None:
    running = [used(str(i), mib, request_mib=wanted, priority=p) for i, (mib, wanted, p) in enumerate(pods)]
    chosen = select_pod(SHORT, running)
    assert chosen is not None
    mib, wanted, priority = pods[int(chosen.pod.metadata.name)]
    above = [each for each in pods if each[0] > each[1]]
    if above:
        assert mib > wanted
        assert priority == min(each[2] for each in above)
