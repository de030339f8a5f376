import json

import pytest

from lab.bench.store import Case, Measured, compare, show
from lab.bench.store_load import Order, Outcome, requests_of, thinned
from proto.etcd import rpc_pb2


def measured(*rates: float, cpu_share: float = 0.3, p99_ms: float = 10.0) -> Measured:
    found = Measured()
    for rate in rates:
        latencies = [1.0] * 98 + [p99_ms] * 2
        found.add([Outcome(int(rate), 1.0, latencies, 0, cpu_share)])
    return found


def test_ratios_are_taken_round_by_round():
    case = Case("put", 32, floor=0.5, aim=1.0, floor_p99=2.5, aim_p99=1.5)
    results = {("steer-store", "put x32"): measured(50, 120, p99_ms=20), ("etcd", "put x32"): measured(100, 100)}
    (row,) = compare([case], results)
    assert row.ratios == [0.5, 1.2]
    assert row.verdicts() == ["floor (floor 0.5, aim 1)", "p99 floor (2.00: floor 2.5, aim 1.5)"]


def test_pipeline_is_held_against_etcds_unary_calls():
    results = {
        ("steer-store", "put x256"): measured(100),
        ("etcd", "put x256"): measured(100),
        ("steer-store", "pipeline-put x256"): measured(500),
    }
    (row,) = compare([Case("pipeline-put", 256, against="put", floor=2, aim=4)], results)
    assert row.ratios == [5.0]
    assert row.verdicts() == ["aim (floor 2, aim 4)"]


def test_a_client_that_is_the_limit_is_named(capsys: pytest.CaptureFixture[str]):
    results = {("steer-store", "get x1"): measured(10, cpu_share=0.97), ("etcd", "get x1"): measured(20)}
    rows = compare([Case("get", 1)], results)
    show(rows, {"cores": 2}, as_json=False)
    assert "the client was the limit, not the server: get x1 (steer)" in capsys.readouterr().out
    show(rows, {"cores": 2}, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["cases"][0]["steerStore"]["clientBound"] is True
    assert shown["cases"][0]["ratio"]["median"] == 0.5


def test_processes_of_one_round_add_up():
    found = Measured()
    found.add([Outcome(100, 2.0, [1.0], 0, 0.2), Outcome(300, 2.0, [3.0], 1, 0.9)])
    assert (found.rates, found.errors, found.is_client_bound) == ([200.0], 1, True)


@pytest.mark.parametrize("case", ["put", "get", "get-serializable", "range", "txn"])
def test_requests_are_what_etcd_takes(case: str):
    method, requests = requests_of(case, Order(case, 1, 1.0, (), "", "", "", value_bytes=300), 0)
    message = {"Put": rpc_pb2.PutRequest, "Range": rpc_pb2.RangeRequest, "Txn": rpc_pb2.TxnRequest}[method]
    parsed = message.FromString(requests[0])
    assert len(requests) == 64
    if case == "put":
        assert len(parsed.value) == 300
    if case == "range":
        assert parsed.limit == 100 and parsed.range_end == b"/bench/data0"


def test_long_lists_of_latencies_are_thinned_without_losing_their_shape():
    kept = thinned([float(n) for n in range(100_000, 0, -1)])
    assert 10_000 <= len(kept) <= 20_000
    assert kept == sorted(kept) and kept[len(kept) // 2] == pytest.approx(50_000, rel=0.01)
