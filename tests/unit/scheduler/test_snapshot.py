from api.core.containers import Container, ResourceRequirements
from api.core.pod import Pod, PodSpec
from api.meta import ObjectMeta
from scheduler.snapshot import SCORED_WHEN_UNSET, compute_requests
from tests.unit.scheduler.builders import node, pod


def container(cpu: str, restart: str | None = None) -> Container:
    return Container(name=cpu, resources=ResourceRequirements(requests={"cpu": cpu}), restart_policy=restart)


def cpu_of(*, init: list[Container], main: list[Container], overhead: str = "0") -> int:
    spec = PodSpec(init_containers=init, containers=main, overhead={"cpu": overhead})
    return compute_requests(Pod(metadata=ObjectMeta(name="p"), spec=spec))["cpu"]


def test_containers_add_up_and_overhead_is_on_top() -> None:
    assert cpu_of(init=[], main=[container("100m"), container("0.2")], overhead="50m") == 350


def test_an_init_container_counts_only_where_it_is_larger_than_all_that_follows() -> None:
    assert cpu_of(init=[container("150m")], main=[container("100m"), container("100m")]) == 200
    assert cpu_of(init=[container("1"), container("2")], main=[container("100m")]) == 2000


def test_sidecars_run_beside_later_init_containers_and_beside_the_containers() -> None:
    sidecar = container("100m", "Always")
    assert cpu_of(init=[sidecar, container("500m")], main=[container("200m")]) == 600
    assert cpu_of(init=[container("500m"), sidecar], main=[container("450m")]) == 550


def test_containers_that_request_nothing_still_weigh_when_scored() -> None:
    bare = pod()
    assert bare.requests == {"pods": 1}
    assert bare.scored_requests == {**SCORED_WHEN_UNSET, "pods": 1}


def test_a_pod_put_on_a_node_and_taken_off_leaves_it_as_it_was() -> None:
    empty = node()
    loaded = empty.with_pod(pod("a", cpu="1", host_port=80))
    assert (loaded.requested, len(loaded.host_ports)) == ({"cpu": 1000, "pods": 1}, 1)
    again = loaded.without_pod("uid-a")
    assert (again.requested, again.host_ports, again.pods) == ({}, (), {})


def test_a_pod_seen_again_replaces_its_older_view() -> None:
    twice = node().with_pod(pod("a", cpu="1")).with_pod(pod("a", cpu="2"))
    assert twice.requested == {"cpu": 2000, "pods": 1}
