from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metricsserver.samples import Samples, Scrape, Usage, parse

PAGE = """\
# HELP node_cpu_usage_seconds_total CPU time of the node.
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 9.5 60000
node_memory_working_set_bytes 1.048576e+06 60000
container_cpu_usage_seconds_total{container="c",namespace="shop",pod="p"} 1.5 60000
container_memory_working_set_bytes{container="c",namespace="shop",pod="p"} 100 60000
container_start_time_seconds{container="c",namespace="shop",pod="p"} 10
pod_cpu_usage_seconds_total{namespace="shop",pod="p"} 2
container_swap_usage_bytes{container="c",namespace="shop",pod="p"} 7
resource_scrape_error 0
"""


def page(at: float, node_cpu_s: float, **containers: tuple[float, float]) -> Scrape:
    """Return what a kubelet says; each container has its CPU time and when it started."""
    lines = [f"node_cpu_usage_seconds_total {node_cpu_s}", "node_memory_working_set_bytes 1024"]
    for name, (cpu_s, started) in containers.items():
        labels = f'{{container="{name}",namespace="shop",pod="p"}}'
        lines += [
            f"container_cpu_usage_seconds_total{labels} {cpu_s}",
            f"container_memory_working_set_bytes{labels} 2048",
            f"container_start_time_seconds{labels} {started}",
        ]
    return parse("\n".join(lines), at)


def test_a_page_is_read_by_its_names_and_its_own_time():
    scrape = parse(PAGE, 99.0)
    assert (scrape.node.at, scrape.node.cpu_s, scrape.node.memory_bytes) == (60.0, 9.5, 1048576)
    (found,) = scrape.containers.values()
    assert (found.at, found.cpu_s, found.memory_bytes, found.started) == (60.0, 1.5, 100, 10.0)
    assert list(scrape.containers) == [("shop", "p", "c")]


def test_use_is_the_difference_of_two_samples():
    samples = Samples()
    samples.add("n", page(100, 50))
    assert samples.of_nodes() == {}
    samples.add("n", page(110, 55))
    assert samples.of_nodes() == {"n": Usage(0.5, 1024, 110, 10)}


def test_a_young_container_is_measured_from_its_start():
    samples = Samples()
    samples.add("n", page(100, 0, old=(5, 50), new=(1, 95)))
    assert samples.of_pods() == {}, "new has run for five seconds only, and the pod would look smaller than it is"
    samples.add("n", page(115, 0, old=(8, 50), new=(3, 95)))
    assert {name: usage.cores for name, usage in samples.of_pods()["shop", "p"].items()} == {"old": 0.2, "new": 2 / 15}


def test_a_container_that_started_again_is_not_compared_with_the_one_before():
    samples = Samples()
    samples.add("n", page(100, 0, c=(500, 50)))
    samples.add("n", page(115, 0, c=(1, 105)))
    assert samples.of_pods()["shop", "p"]["c"] == Usage(0.1, 2048, 115, 10)


def test_a_node_that_is_gone_or_silent_is_told_of_no_more():
    samples = Samples()
    for at in (100, 110):
        samples.add("n", page(at, at))
        samples.add("m", page(at, at))
    samples.keep(["n"], 111)
    assert list(samples.of_nodes()) == ["n"]
    samples.keep(["n"], 300)
    assert samples.of_nodes() == {}


def test_the_same_answer_twice_does_not_replace_the_older_one():
    samples = Samples()
    for at in (100, 110, 110):
        samples.add("n", page(at, at))
    assert samples.of_nodes()["n"].window_s == 10


@given(st.text(max_size=300))
def test_any_text_is_read_without_failing(text: str):
    parse(text, 1.0)


@given(st.lists(st.sampled_from(PAGE.splitlines()), max_size=8).map("\n".join))
def test_a_page_with_lines_missing_gives_no_rate_out_of_nothing(text: str):
    samples = Samples()
    for at in (100.0, 110.0):
        samples.add("n", parse(text, at))
    for usage in samples.of_nodes().values():
        assert usage.window_s > 0
