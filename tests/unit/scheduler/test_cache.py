from scheduler.cache import ASSUMED_S_MAX, Cache
from tests.unit.scheduler.builders import node, pod


def cpu(cache: Cache, name: str = "n1") -> int:
    return cache.snapshot().nodes[name].requested.get("cpu", 0)


def cache_with(*names: str) -> Cache:
    cache = Cache()
    for name in names:
        cache.set_node(node(name).node)
    return cache


def test_an_assumed_pod_counts_at_once_and_not_twice_when_confirmed() -> None:
    cache = cache_with("n1")
    cache.assume(pod(cpu="1"), "n1")
    assert cpu(cache) == 1000
    cache.set_pod(pod(cpu="1", node="n1"))
    assert (cpu(cache), cache.is_assumed("uid-a")) == (1000, False)


def test_a_failed_binding_is_taken_back_unless_the_pod_was_seen_bound() -> None:
    cache = cache_with("n1")
    cache.assume(pod(cpu="1"), "n1")
    cache.forget("uid-a")
    assert cpu(cache) == 0
    cache.assume(pod(cpu="1"), "n1")
    cache.set_pod(pod(cpu="1", node="n1"))
    cache.forget("uid-a")
    assert cpu(cache) == 1000


def test_a_pod_bound_elsewhere_than_assumed_counts_only_there() -> None:
    cache = cache_with("n1", "n2")
    cache.assume(pod(cpu="1"), "n1")
    cache.set_pod(pod(cpu="1", node="n2"))
    assert (cpu(cache, "n1"), cpu(cache, "n2")) == (0, 1000)


def test_an_assumption_expires_only_after_its_binding_finished() -> None:
    cache = cache_with("n1")
    cache.assume(pod(cpu="1"), "n1")
    assert cache.expire(1e9) == []
    cache.finish_binding("uid-a", 100)
    assert cache.expire(100 + ASSUMED_S_MAX - 1) == []
    assert cache.expire(100 + ASSUMED_S_MAX) == ["uid-a"]
    assert cpu(cache) == 0


def test_pods_seen_before_their_node_count_once_it_comes_and_survive_its_leaving() -> None:
    cache = Cache()
    cache.set_pod(pod(cpu="1", node="n1"))
    assert not cache.snapshot().nodes
    cache.set_node(node("n1").node)
    assert cpu(cache) == 1000
    cache.remove_node("n1")
    cache.set_node(node("n1").node)
    assert cpu(cache) == 1000
    cache.remove_node("n1")
    cache.remove_pod("uid-a")
    cache.set_node(node("n1").node)
    assert cpu(cache) == 0


def test_a_snapshot_does_not_change_and_is_shared_while_nothing_does() -> None:
    cache = cache_with("n2", "n1")
    before = cache.snapshot()
    assert cache.snapshot() is before
    cache.assume(pod(cpu="1"), "n1")
    assert before.nodes["n1"].requested == {}
    assert list(cache.snapshot().nodes) == ["n1", "n2"]
