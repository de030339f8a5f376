from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from component import tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    def __init__(self) -> None:
        self.batches: list[dict] = []
        self.arrived = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                outer.batches.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.arrived.set()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def spans(self) -> dict[str, dict]:
        found = [span for batch in self.batches for span in batch["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        return {span["name"]: span for span in found}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setattr(tracing, "SEND_EVERY_S", 0.01)
    collector = Collector()
    tracing.configure(f"http://127.0.0.1:{collector.server.server_port}", "test")
    yield collector
    tracing.close()
    collector.server.shutdown()


def test_a_span_inside_another_is_its_child_and_both_carry_on_the_trace_they_came_with(collector: Collector):
    with tracing.span("outer", kind="server", parent=PARENT, http__route="/api"):
        assert tracing.traceparent().startswith("00-0af7651916cd43dd8448eb211c80319c-")
        with tracing.span("inner"):
            pass
    tracing.close()
    outer, inner = collector.spans["outer"], collector.spans["inner"]
    assert outer["traceId"] == inner["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert outer["parentSpanId"] == "b7ad6b7169203331"
    assert inner["parentSpanId"] == outer["spanId"]
    assert outer["kind"] == 2
    assert outer["attributes"] == [{"key": "http.route", "value": {"stringValue": "/api"}}]
    assert int(outer["startTimeUnixNano"]) <= int(inner["startTimeUnixNano"]) <= int(outer["endTimeUnixNano"])
    resource = collector.batches[0]["resourceSpans"][0]["resource"]
    assert resource["attributes"] == [{"key": "service.name", "value": {"stringValue": "test"}}]


def test_what_fails_says_so_and_raises_on(collector: Collector):
    with pytest.raises(KeyError), tracing.span("fails"):
        raise KeyError("x")
    tracing.close()
    assert collector.spans["fails"]["status"] == {"code": 2, "message": "KeyError: 'x'"}


def test_who_does_not_want_a_trace_recorded_gets_none_and_passes_that_on(collector: Collector):
    with tracing.span("quiet", parent=PARENT[:-2] + "00"):
        assert tracing.traceparent().endswith("-00")
    tracing.close()
    assert not collector.batches


def test_nothing_is_recorded_or_sent_along_when_it_is_off():
    with tracing.span("off") as span:
        assert span is None
        assert tracing.traceparent() == ""
        assert tracing.metadata() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        PARENT.upper(),
        "ff" + PARENT[2:],
        PARENT + "-more",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
    ],
)
def test_a_traceparent_that_is_not_one_is_not_believed(text: str):
    assert tracing.parse(text) is None


def test_a_later_version_may_say_more():
    assert tracing.parse("cc" + PARENT[2:] + "-more") == tracing.parse(PARENT)


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://x", "http://collector:4318"])
def test_a_collector_that_cannot_be_used_is_refused(endpoint: str):
    with pytest.raises(ValueError, match="such as https|unencrypted"):
        tracing.configure(endpoint, "test")


def test_a_collector_that_is_not_there_costs_spans_and_no_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracing, "SEND_EVERY_S", 0.01)
    exporter = tracing.Exporter("http://127.0.0.1:9", "test")
    made = tracing.Span(tracing.SpanContext("1" * 32, "2" * 16), "", "lost", "internal", {})
    exporter.put(made)
    exporter.close()
    assert exporter.dropped == 1


def test_what_led_to_a_revision_is_known_for_a_while_and_only_of_the_newest() -> None:
    now = 0.0
    causes = tracing.Causes(lambda: now)
    assert causes.of("7") == ""
    causes.note(7, PARENT)
    assert causes.of("7") == causes.of(7) == PARENT and causes.of("") == causes.of("8") == ""
    for revision in range(100, 100 + tracing.CAUSES_MAX):
        causes.note(revision, PARENT)
    assert causes.of(7) == ""
    now = tracing.CAUSE_LASTS_S
    assert causes.of(100) == ""


def test_what_is_caused_belongs_to_the_first_cause_and_points_at_the_others(collector: Collector) -> None:
    others = [f"00-{number:032x}-{number:016x}-01" for number in (15, 16)]
    with tracing.caused_span("turn", ["", *others]):
        pass
    tracing.close()
    (span,) = collector.spans.values()
    assert (span["traceId"], span["parentSpanId"]) == (f"{15:032x}", f"{15:016x}")
    assert span["links"] == [{"traceId": f"{16:032x}", "spanId": f"{16:016x}"}]


def test_a_step_that_is_over_is_recorded_only_as_part_of_a_sampled_trace(collector: Collector) -> None:
    for parent in ("", "nonsense", PARENT[:-1] + "0"):
        tracing.record("commit", parent, 1)
    tracing.record("commit", PARENT, 1, store__member="m1")
    tracing.close()
    (span,) = collector.spans.values()
    assert span["parentSpanId"] == PARENT[36:52] and span["startTimeUnixNano"] == "1"
    assert span["attributes"] == [{"key": "store.member", "value": {"stringValue": "m1"}}]
