"""What the API server counts, under upstream's names; `/metrics` shows it beside the process's own.

Requests are counted as they pass (`apiserver.filters.metrics`); what caches and queues hold is read at the scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from apiserver.admission.metrics import AdmissionMetrics
from apiserver.auth.authorization_metrics import AuthorizationMetrics
from apiserver.flowcontrol import metrics as flow_metrics
from component.metrics import Family, Gauge, Labels, Level, Spread, Tally, exponential

if TYPE_CHECKING:
    from apiserver.flowcontrol.levels import FlowControl
    from apiserver.registry.registries import Registries
    from apiserver.registry.watch_cache import WatchCache

_DURATIONS: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
)  # fmt: skip
_SLI_DURATIONS: Final = _DURATIONS[2:]
_TARGET: Final = ("group", "version", "resource", "subresource", "scope", "component")
_SIZES: Final = exponential(1000.0, 10.0, 7)
_CHECK_DURATIONS: Final = exponential(0.001, 2.0, 15)


class ApiMetrics:
    """The counters of one API server."""

    def __init__(self) -> None:
        self.requests = Tally(
            "apiserver_request_total", "Requests by what was asked and how it was answered.",
            ("verb", "dry_run", *_TARGET, "code"),
        )  # fmt: skip
        self.durations = Spread(
            "apiserver_request_duration_seconds", "How long requests took, watches and other streams from end to end.",
            ("verb", "dry_run", *_TARGET), _DURATIONS,
        )  # fmt: skip
        self.sli_durations = Spread(
            "apiserver_request_sli_duration_seconds", "The same without webhooks, waiting for a turn, and dry runs.",
            ("verb", *_TARGET), _SLI_DURATIONS,
        )  # fmt: skip
        self.in_flight = {"readOnly": 0, "mutating": 0}
        self.long_running: dict[Labels, int] = {}
        """Streams that are open, watches included, by verb and target."""
        self.response_sizes = Spread(
            "apiserver_response_sizes", "Bytes of what was read, as they were sent.", ("verb", *_TARGET), _SIZES
        )
        self.authentications = Tally("authentication_attempts", "Requests by whether we knew who asks.", ("result",))
        self.users = Tally("authenticated_user_requests", "Requests by who asked; names are not told.", ("username",))
        self.authentication_durations = Spread(
            "authentication_duration_seconds", "How long it took to find out who asks.", ("result",), _CHECK_DURATIONS
        )
        self.authorization_durations = Spread(
            "authorization_duration_seconds", "How long it took to decide.", ("result",), _CHECK_DURATIONS
        )
        self.authorization = AuthorizationMetrics()
        self.deprecated = Level(
            "apiserver_requested_deprecated_apis", "Deprecated APIs that have been asked for; always 1.",
            ("group", "version", "resource", "subresource", "removed_release"),
        )  # fmt: skip
        self.authorization_attempts = Tally(
            "authorization_attempts_total", "Requests by whether they were allowed.", ("result",)
        )
        self.rejected_in_flight = Tally(
            "apiserver_request_terminations_total", "Requests ended to protect the server.", ("verb", *_TARGET, "code")
        )
        self.admission_steps = Spread(
            "apiserver_admission_step_admission_duration_seconds", "How long each round of admission took.",
            ("operation", "rejected", "type"), (0.005, 0.025, 0.1, 0.5, 1.0, 2.5),
        )  # fmt: skip
        self.admission = AdmissionMetrics()
        self.store = Spread(
            "etcd_request_duration_seconds", "How long the store took.", ("operation", "type"), _DURATIONS
        )
        self.store_requests = Tally("etcd_requests_total", "Requests to the store.", ("operation", "type"))
        self.store_errors = Tally("etcd_request_errors_total", "Those that failed.", ("operation", "type"))

    def families(
        self, registries: Registries, control: FlowControl, store_bytes: int | None = None
    ) -> Iterable[Family]:
        """Return all metrics, with what caches and queues hold now."""
        yield from (self.requests, self.durations, self.sli_durations, self.response_sizes, self.rejected_in_flight)
        yield self.deprecated
        yield Gauge("apiserver_current_inflight_requests", "Requests under way.",
                    lambda: {(kind,): count for kind, count in self.in_flight.items()}, ("request_kind",))  # fmt: skip
        yield Gauge("apiserver_longrunning_requests", "Watches and other streams that are open.",
                    lambda: self.long_running, ("verb", *_TARGET))  # fmt: skip
        yield from (self.authentications, self.authentication_durations, self.users)
        yield from (self.authorization_attempts, self.authorization_durations)
        yield from self.authorization.families()
        yield self.admission_steps
        yield from self.admission.families()
        yield from (self.store, self.store_requests, self.store_errors)
        sizes: dict[Labels, float] = {} if store_bytes is None else {("etcd-0",): store_bytes}
        yield Gauge("apiserver_storage_size_bytes", "Size of the store's file.", lambda: sizes, ("storage_cluster_id",))
        yield from _caches(registries)
        yield from flow_metrics.families(control)


def _caches(registries: Registries) -> Iterable[Family]:
    caches = [registry.cache for registry in registries.everything()]

    def by_resource(read: Callable[[WatchCache], float]) -> Mapping[Labels, float]:
        return {(str(cache.resource),): read(cache) for cache in caches}

    resource = ("resource",)
    yield Gauge("apiserver_storage_objects", "Objects stored, by kind.",
                lambda: by_resource(lambda cache: cache.object_count), resource)  # fmt: skip
    yield Gauge("apiserver_watch_cache_capacity", "Changes that each cache may remember.",
                lambda: by_resource(lambda cache: cache.capacity), resource)  # fmt: skip
    yield Gauge("apiserver_watch_cache_resource_version", "How far each cache has come.",
                lambda: by_resource(lambda cache: cache.revision), resource)  # fmt: skip
    received = Tally("apiserver_watch_cache_events_received_total", "Changes that each cache has heard of.", resource)
    begun = Tally("apiserver_watch_cache_initializations_total", "How often each cache was filled.", resource)
    told = Tally("apiserver_watch_events_total", "Events sent to watchers.", ("group", "version", "kind"))
    kinds: dict[Labels, float] = {}
    for cache in caches:
        kind = cache.resource
        received.add((str(kind),), cache.received_count)
        begun.add((str(kind),), cache.filled_count)
        labels = (kind.group, kind.version, kind.kind)
        kinds[labels] = cache.watcher_count
        if cache.told_count:
            told.add(labels, cache.told_count)
    yield from (received, begun, told)
    yield Gauge("apiserver_registered_watchers", "Watches that are open.", lambda: kinds, ("group", "version", "kind"))
