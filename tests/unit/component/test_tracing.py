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
