from __future__ import annotations

from component.metrics import Gauge, Spread, Tally, render


def test_a_tally_counts_by_labels_and_escapes_them() -> None:
    tally = Tally("requests_total", "Requests.", ("verb",))
    tally.add(("get",))
    tally.add(("get",), 2)
    tally.add(('a"b\n',))
    assert render([tally]).decode() == (
        "# HELP requests_total Requests.\n# TYPE requests_total counter\n"
        'requests_total{verb="get"} 3\nrequests_total{verb="a\\"b\\n"} 1\n'
    )


def test_a_gauge_is_read_when_it_is_rendered() -> None:
    values = {("a",): 1.0}
    gauges = [Gauge("size", "Size.", lambda: values, ("name",)), Gauge("one", "One.", lambda: 1.5)]
    values["b",] = 2.0
    assert render(gauges).decode().splitlines() == [
        "# HELP size Size.", "# TYPE size gauge", 'size{name="a"} 1', 'size{name="b"} 2',
        "# HELP one One.", "# TYPE one gauge", "one 1.5",
    ]  # fmt: skip


def test_a_spread_has_cumulative_buckets() -> None:
    spread = Spread("took_seconds", "Time.", ("verb",), (0.1, 1.0))
    for value in (0.1, 0.5, 7.0):
        spread.of(("get",)).observe(value)
    assert render([spread]).decode().splitlines()[2:] == [
        'took_seconds_bucket{verb="get",le="0.1"} 1',
        'took_seconds_bucket{verb="get",le="1"} 2',
        'took_seconds_bucket{verb="get",le="+Inf"} 3',
        'took_seconds_sum{verb="get"} 7.6',
        'took_seconds_count{verb="get"} 3',
    ]


def test_what_is_rendered_is_what_prometheus_reads() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    spread = Spread("took_seconds", "Time.", (), (0.1,))
    spread.of().observe(0.05)
    tally = Tally("n_total", "N.")
    tally.add()
    families = list(text_string_to_metric_families(render([spread, tally]).decode()))
    assert [(family.name, family.type) for family in families] == [("took_seconds", "histogram"), ("n", "counter")]
