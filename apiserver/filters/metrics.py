"""Outermost: counts every request, how long it took and how it was answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from api.errors import ApiError, TooManyRequests, Unauthorized
from apiserver.filters.authz import DECISION, FAILED, REASON
from apiserver.filters.timeout import is_stream
from apiserver.metrics import ApiMetrics
from apiserver.request import Call, Handler
from component.clock import Clock
from component.metrics import Labels, Series

_HTTP: Final = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip
_WRITES: Final = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_READS: Final = ("get", "list")
_KNOWN_USERS: Final = frozenset(
    ("admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default")
)
_CONNECTS: Final = ("exec", "attach", "portforward", "proxy")
_APPLY: Final = "application/apply-patch"
COMPONENT: Final = "apiserver"
_REMEMBERED_MAX: Final = 16_384


def target_of(call: Call) -> Labels:
    """Return the labels that say what a request is about; what does not exist has one series, whatever it is called."""
    info = call.info
    subresource = info.subresource.partition("/")[0]
    if info.plural and (call.resource is None or (subresource and subresource not in call.resource.subresources)):
        return "", "", "", "", "", COMPONENT
    if not info.plural:
        # Any path may be asked for: only those that exist get a label of their own.
        return "", "", "", info.path if info.path in _PATHS else "", "", COMPONENT
    if info.name or info.verb == "create":
        scope = "resource"
    else:
        scope = "namespace" if info.namespace else "cluster"
    return info.group, info.version, info.plural, subresource, scope, COMPONENT


_PATHS: Final = frozenset(
    ("/healthz", "/livez", "/readyz", "/metrics", "/version", "/api", "/apis", "/openapi/v2", "/openapi/v3")
)


def verb_of(call: Call) -> str:
    """Return a request's verb as metrics name it."""
    info = call.info
    if info.subresource.partition("/")[0] in _CONNECTS:
        return "CONNECT"
    if info.verb == "patch" and call.content_type.startswith(_APPLY):
        return "APPLY"
    return _HTTP.get(info.verb, info.verb.upper() if info.verb in _METHODS else "OTHER")


_METHODS: Final = ("head", "post", "put", "options")


class _Known(NamedTuple):
    """Where requests that are alike are counted."""

    labels: Labels
    target: Labels
    """The labels without that of dry runs."""
    durations: Series
    sli_durations: Series | None
    """None for dry runs."""


def with_metrics(then: Handler, metrics: ApiMetrics, clock: Clock) -> Handler:
    """Return `then`, counted."""
    remembered: dict[tuple[Any, ...], _Known] = {}
    in_flight, requests = metrics.in_flight, metrics.requests

    def known_of(call: Call) -> _Known:
        info = call.info
        has_name, has_namespace = bool(info.name), bool(info.namespace)
        asked = info.plural or info.path
        key = (info.verb, info.group, info.version, asked, info.subresource, has_name, has_namespace,
               call.options.get("dryRun"), call.content_type)  # fmt: skip
        found = remembered.get(key)
        if found is None:
            if len(remembered) >= _REMEMBERED_MAX:
                remembered.clear()
            labels = (verb_of(call), "All" if call.dry_run else "", *target_of(call))
            target = (labels[0], *labels[2:])
            sli = None if labels[1] else metrics.sli_durations.of(target)
            found = remembered[key] = _Known(labels, target, metrics.durations.of(labels), sli)
        return found

    def record(call: Call, code: int, took_s: float) -> _Known:
        known = known_of(call)
        requests.add((*known.labels, str(code)))
        known.durations.observe(took_s)
        if known.sli_durations is not None:
            known.sli_durations.observe(max(took_s - call.excused_s, 0.0))
        info = call.info
        if call.resource is not None and call.resource.deprecation and info.plural:
            metrics.deprecated.set(1, (info.group, info.version, info.plural, info.subresource, ""))
        return known

    async def handle(call: Call) -> Any:
        started = clock.monotonic()
        verb = call.info.verb
        kind = "mutating" if verb in _WRITES else "readOnly"
        in_flight[kind] += 1
        code, goes_on = 200, False
        try:
            answer = await then(call)
            code = getattr(answer, "code", 200)
            if verb == "watch" or is_stream(call):
                goes_on = True
                _open(metrics, call, lambda: record(call, code, clock.monotonic() - started))
            elif verb in _READS and call.resource is not None:
                # Called when all this is over: what is known of the request is, too.
                call.on_finish.append(lambda: _size(metrics, call, known.target))
            return answer
        except ApiError as error:
            code = error.code
            if isinstance(error, TooManyRequests):
                metrics.rejected_in_flight.add((*known_of(call).target, "429"))
            if isinstance(error, Unauthorized):
                metrics.authentications.add(("failure",))
            raise
        finally:
            in_flight[kind] -= 1
            if not goes_on:
                known = record(call, code, clock.monotonic() - started)
            decision = call.annotations.get(DECISION)
            if decision is not None:
                _decided(metrics, call, "allowed" if decision == "allow" else "denied")
            elif call.annotations.get(REASON) == FAILED:
                _decided(metrics, call, "error")

    return handle


def _open(metrics: ApiMetrics, call: Call, record: Callable[[], Any]) -> None:
    labels = (verb_of(call), *target_of(call))
    open_ = metrics.long_running
    open_[labels] = open_.get(labels, 0) + 1

    def close() -> None:
        open_[labels] -= 1
        record()

    call.on_finish.append(close)


def _size(metrics: ApiMetrics, call: Call, target: Labels) -> None:
    if call.answered_bytes:
        metrics.response_sizes.of(target).observe(call.answered_bytes)


def _decided(metrics: ApiMetrics, call: Call, result: str) -> None:
    metrics.authentications.add(("success",))
    metrics.users.add((_shown(call.user.name),))
    metrics.authorization_attempts.add((result,))


def _shown(user: str) -> str:
    """Return what a user is counted as: names are nobody's business, and there may be any number of them."""
    if user in _KNOWN_USERS:
        return user
    return "email_id" if "@" in user else "other"
