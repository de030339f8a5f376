"""Traces: which steps a request went through in which process, told to an OpenTelemetry collector.

Off unless `configure` was called: `span` costs a comparison then. A span begun inside another is its child; across
processes the W3C `traceparent` carries it (https://www.w3.org/TR/trace-context/), in HTTP's headers and gRPC's
metadata. Who asks decides whether a trace is recorded; a trace that begins here always is.

A write's `traceparent` also goes with what becomes of it, through the store's log and its watches: whoever acts on a
revision asks `causes` for the step that led to it, and makes that the parent of what it does. So what controllers, the
scheduler and kubelets do about an object is in the trace of the request that wrote it, while that is fresh.

Spans are sent by a thread of their own in batches, as OTLP/HTTP in JSON (opentelemetry-proto 1.x). A collector that
does not keep up loses spans, never a request's time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import re
import secrets
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

log = logging.getLogger(__name__)

HEADER: Final = "traceparent"
WAITING_MAX: Final = 8192
"""Spans that wait to be sent; more are dropped."""
BATCH_MAX: Final = 512
CAUSES_MAX: Final = 4096
CAUSE_LASTS_S: Final = 30.0
"""After that, what is done about an object is its everyday life and no longer part of the request."""
SEND_EVERY_S: Final = 1.0
ANSWER_WITHIN_S: Final = 5.0
_PATTERN: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
ENDPOINT_HELP: Final = "OTLP/HTTP collector to send traces to, such as https://collector:4318; empty: none"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class SpanContext:
    """What of a span is told to others."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def parse(traceparent: str) -> SpanContext | None:
    """Return what a `traceparent` says, or None when it says nothing that may be believed."""
    found = _PATTERN.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return SpanContext(trace_id, span_id, bool(int(flags, 16) & 1))


@dataclass(slots=True)
class Span:
    """One step under way; add to `attributes` what is known only later."""

    context: SpanContext
    parent_id: str
    name: str
    kind: str
    attributes: dict[str, str | int]
    links: Sequence[SpanContext] = ()
    began_ns: int = field(default_factory=time.time_ns)
    ended_ns: int = 0
    error: str = ""

    def to_otlp(self) -> dict[str, Any]:
        """Return the span as opentelemetry-proto's JSON has it."""
        return {
            "traceId": self.context.trace_id,
            "spanId": self.context.span_id,
            "parentSpanId": self.parent_id,
            "name": self.name,
            "kind": _KINDS[self.kind],
            "startTimeUnixNano": str(self.began_ns),
            "endTimeUnixNano": str(self.ended_ns),
            "attributes": _attributes(self.attributes),
            "links": [{"traceId": link.trace_id, "spanId": link.span_id} for link in self.links],
            "status": {"code": 2, "message": self.error} if self.error else {},
        }


def _attributes(values: dict[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]


class Exporter:
    """Sends spans to a collector from a thread of its own."""

    def __init__(self, endpoint: str, service: str) -> None:
        """Name the collector, such as https://collector:4318.

        Raises:
            ValueError: it is no URL, or would carry traces unencrypted to another machine.
        """
        parts = urllib.parse.urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{endpoint!r} is no URL of an OTLP/HTTP collector, such as https://collector:4318")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError(f"{endpoint!r} would carry traces unencrypted: use https, or a collector on this machine")
        self._url = endpoint.rstrip("/") + "/v1/traces"
        self._service = service
        self._waiting: queue.Queue[Span] = queue.Queue(WAITING_MAX)
        self.dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)
        self._thread.start()

    def put(self, span: Span) -> None:
        """Have a span sent; never waits."""
        try:
            self._waiting.put_nowait(span)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Send what is waiting, and end."""
        self._stop.set()
        self._thread.join(ANSWER_WITHIN_S + SEND_EVERY_S)

    def _run(self) -> None:
        is_told = False
        while True:
            is_last = self._stop.wait(SEND_EVERY_S)
            while batch := self._batch():
                try:
                    self._send(batch)
                    is_told = False
                except (OSError, ValueError) as error:
                    self.dropped += len(batch)
                    if not is_told:
                        log.warning("the collector takes no traces", extra={"url": self._url, "error": error})
                    is_told = True
                    break
            if is_last:
                return

    def _batch(self) -> list[Span]:
        batch: list[Span] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH_MAX:
                batch.append(self._waiting.get_nowait())
        return batch

    def _send(self, batch: Sequence[Span]) -> None:
        import urllib.request  # 3 MB, which a process that records nothing is spared

        spans = [span.to_otlp() for span in batch]
        resource = {"attributes": _attributes({"service.name": self._service})}
        body = {
            "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "steersman"}, "spans": spans}]}]
        }
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:
            answer.read()


class Causes:
    """Which steps led to the newest revisions of the store; bounded, and each for a while only."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[int, tuple[str, float]] = {}

    def note(self, revision: int, traceparent: str) -> None:
        """Remember what led to a revision."""
        self._known[revision] = traceparent, self._now()
        if len(self._known) > CAUSES_MAX:
            del self._known[next(iter(self._known))]

    def of(self, revision: int | str) -> str:
        """Return the `traceparent` of what led to a revision, empty where nothing is known or it is long ago."""
        if not self._known:
            return ""
        found, at = self._known.get(int(revision or 0), ("", 0.0))
        return found if self._now() - at < CAUSE_LASTS_S else ""


causes: Final = Causes()
"""This process's."""

_current: ContextVar[SpanContext | None] = ContextVar("span", default=None)
_exporter: Exporter | None = None


def configure(endpoint: str, service: str) -> None:
    """Begin to record, if `endpoint` is not empty; once for a process, before its loop runs.

    Raises:
        ValueError: the endpoint can't be used; says why.
    """
    global _exporter
    if endpoint:
        _exporter = Exporter(endpoint, service)


def start(endpoint: str, prog: str) -> None:
    """Begin to record under a process's name, as its `--tracing-endpoint` says.

    Raises:
        SystemExit: with code 2 after one line on stderr, if the endpoint can't be used.
    """
    try:
        configure(endpoint, prog)
    except ValueError as error:
        print(f"{prog}: --tracing-endpoint: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def is_on() -> bool:
    """Whether anything is recorded."""
    return _exporter is not None


def close() -> None:
    """Send what is waiting, and stop recording."""
    global _exporter
    exporter, _exporter = _exporter, None
    if exporter is not None:
        exporter.close()


def traceparent() -> str:
    """Return what to send along with a request, empty when nothing is recorded."""
    context = _current.get()
    return context.traceparent if context is not None else ""


def metadata() -> tuple[tuple[str, str], ...] | None:
    """Return gRPC metadata to send along, None when nothing is recorded."""
    context = _current.get()
    return ((HEADER, context.traceparent),) if context is not None else None


def record(name: str, parent: str, began_ns: int, *, kind: str = "internal", **attributes: str | int) -> None:
    """Record a step that is over now, part of a trace that came from outside; nothing where there is no `parent`."""
    above = parse(parent) if parent else None
    if _exporter is None or above is None or not above.is_sampled:
        return
    context = SpanContext(above.trace_id, secrets.token_hex(8))
    facts = {key.replace("__", "."): value for key, value in attributes.items()}
    _exporter.put(Span(context, above.span_id, name, kind, facts, began_ns=began_ns, ended_ns=time.time_ns()))


@contextlib.contextmanager
def span(
    name: str, *, kind: str = "internal", parent: str | None = None, links: Sequence[str] = (), **attributes: str | int
) -> Iterator[Span | None]:
    """Record what happens inside as a step; None where nothing is recorded.

    Args:
        name: few different ones: no names of objects.
        kind: internal, server, client, producer or consumer.
        parent: a `traceparent` from outside; None for the span around this one, if there is any.
        links: `traceparent`s of steps elsewhere that led to this one.
        attributes: facts; a double underscore stands for a dot.
    """
    exporter = _exporter
    if exporter is None:
        yield None
        return
    above = _current.get() if parent is None else parse(parent)
    trace_id = above.trace_id if above is not None else secrets.token_hex(16)
    context = SpanContext(trace_id, secrets.token_hex(8), above is None or above.is_sampled)
    facts = {key.replace("__", "."): value for key, value in attributes.items()}
    found = [link for link in map(parse, links) if link is not None]
    made = Span(context, above.span_id if above is not None else "", name, kind, facts, found)
    token = _current.set(context)
    try:
        yield made
    except BaseException as error:
        made.error = f"{type(error).__name__}: {error}"
        raise
    finally:
        with contextlib.suppress(ValueError):  # a generator closed in another context
            _current.reset(token)
        made.ended_ns = time.time_ns()
        if context.is_sampled:
            exporter.put(made)


def caused_span(
    name: str, causes: Iterable[str], **attributes: str | int
) -> contextlib.AbstractContextManager[Span | None]:
    """Record what happens inside as part of the trace of what caused it; of several causes, the rest are links.

    Without any it is a trace of its own, as periodic work is.
    """
    known = sorted(filter(None, causes))
    return span(name, kind="consumer", parent=known[0] if known else None, links=known[1:], **attributes)
