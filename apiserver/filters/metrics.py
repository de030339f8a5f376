"""Outermost: counts every request, how long it took and how it was answered."""

from __future__ import annotations

from typing import Any, Final

from api.errors import ApiError, TooManyRequests, Unauthorized
from apiserver.filters.authz import DECISION
from apiserver.filters.timeout import is_stream
from apiserver.metrics import ApiMetrics
from apiserver.request import Call, Handler, RequestInfo
from component.clock import Clock
from component.metrics import Labels, Series

_HTTP: Final = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
    "delete": "DELETE", "deletecollection": "DELETECOLLECTION",
}  # fmt: skip
_WRITES: Final = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_CONNECTS: Final = ("exec", "attach", "portforward", "proxy")
_APPLY: Final = "application/apply-patch"
COMPONENT: Final = "apiserver"
_REMEMBERED_MAX: Final = 16_384


def target_of(info: RequestInfo) -> Labels:
    """Return the labels that say what a request is about."""
    if not info.plural:
        # Any path may be asked for: only those that exist get a label of their own.
        return "", "", "", info.path if info.path in _PATHS else "", "", COMPONENT
    if info.name or info.verb == "create":
        scope = "resource"
    else:
        scope = "namespace" if info.namespace else "cluster"
    return info.group, info.version, info.plural, info.subresource, scope, COMPONENT


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


def with_metrics(then: Handler, metrics: ApiMetrics, clock: Clock) -> Handler:
    """Return `then`, counted."""
    remembered: dict[tuple[Any, ...], tuple[Labels, Series]] = {}
    in_flight, requests = metrics.in_flight, metrics.requests

    def series_of(call: Call) -> tuple[Labels, Series]:
        info = call.info
        has_name, has_namespace = bool(info.name), bool(info.namespace)
        target = info.plural or info.path
        key = (info.verb, info.group, info.version, target, info.subresource, has_name, has_namespace,
               call.options.get("dryRun"), call.content_type)  # fmt: skip
        found = remembered.get(key)
        if found is None:
            if len(remembered) >= _REMEMBERED_MAX:
                remembered.clear()
            about = target_of(info)
            if info.plural and call.resource is None:
                # No such resource: whatever it was called, it is one series.
                about = ("", "", "", "", "", COMPONENT)
            labels = (verb_of(call), "All" if call.dry_run else "", *about)
            found = remembered[key] = (labels, metrics.durations.of(labels))
        return found

    async def handle(call: Call) -> Any:
        started = clock.monotonic()
        kind = "mutating" if call.info.verb in _WRITES else "readOnly"
        in_flight[kind] += 1
        code = 200
        try:
            answer = await then(call)
            code = getattr(answer, "code", 200)
            if call.info.verb == "watch" or is_stream(call):
                _open(metrics, call)
            return answer
        except ApiError as error:
            code = error.code
            if isinstance(error, TooManyRequests):
                labels, _ = series_of(call)
                metrics.rejected_in_flight.add((labels[0], *labels[2:], "429"))
            if isinstance(error, Unauthorized):
                metrics.authentications.add(("failure",))
            raise
        finally:
            in_flight[kind] -= 1
            labels, series = series_of(call)
            requests.add((*labels, str(code)))
            if labels[0] not in ("WATCH", "CONNECT"):
                series.observe(clock.monotonic() - started)
            decision = call.annotations.get(DECISION)
            if decision is not None:
                metrics.authentications.add(("success",))
                metrics.users.add(("other",))
                metrics.authorization_attempts.add(("allowed" if decision == "allow" else "denied",))
                metrics.authorizations.add(("RBAC", "allowed" if decision == "allow" else "denied"))

    return handle


def _open(metrics: ApiMetrics, call: Call) -> None:
    labels = (verb_of(call), *target_of(call.info))
    open_ = metrics.long_running
    open_[labels] = open_.get(labels, 0) + 1

    def close() -> None:
        open_[labels] -= 1

    call.on_finish.append(close)
