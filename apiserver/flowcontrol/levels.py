"""From the objects that describe priority and fairness to levels that act on it; pure, with time as an argument.

`FlowControl` holds the levels and finds for each request its schema, level and flow. Requests of the same kind by the
same user come again and again, so what was found is remembered until the objects change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from api.flowcontrol.flowschema import FlowSchema
from api.flowcontrol.prioritylevelconfiguration import PriorityLevelConfiguration
from apiserver.flowcontrol import borrowing, defaults, matching, width
from apiserver.flowcontrol.borrowing import Bounds
from apiserver.flowcontrol.fair_queue import FairQueues, Ticket
from apiserver.flowcontrol.metrics import FlowMetrics
from apiserver.flowcontrol.shuffle import flow_hash
from apiserver.request import RequestInfo, User

SCHEMA_HEADER: Final = "X-Kubernetes-PF-FlowSchema-UID"
LEVEL_HEADER: Final = "X-Kubernetes-PF-PriorityLevel-UID"
_REMEMBERED_MAX: Final = 8192
T = TypeVar("T", FlowSchema, PriorityLevelConfiguration)


class Level:
    """A priority level: its limits, and its requests."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.uid = ""
        self.bounds = Bounds(0, 0, 0)
        self.queues = FairQueues(now, limit=0)
        self.demand = (0.0, 0.0, 0.0)
        """Mean, deviation and peak of the seats wanted in the last period."""
        self.smoothed = 0.0
        self.target = 0.0

    @property
    def seats_max(self) -> int:
        """The most seats that one request may take."""
        return width.seats_max(self.bounds.nominal)


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a request belongs."""

    schema: str
    level: Level
    hash: int
    distinguisher: str
    headers: Mapping[str, str]
    """For the response: which schema and level it was."""
    metrics: FlowMetrics


class FlowControl:
    """All levels of one server.

    Args:
        seats: how many requests of one seat may run at once, at all levels together.
        now: monotonic seconds.
    """

    def __init__(self, seats: int, now: float) -> None:
        self.seats = seats
        self.levels: dict[str, Level] = {}
        self.fair_fraction = 1.0
        self.metrics: dict[tuple[str, str], FlowMetrics] = {}
        """By level and schema; kept after either is gone, as counters are."""
        self._schemas: list[tuple[FlowSchema, matching.Matcher, Level]] = []
        self._remembered: dict[tuple[object, ...], Flow] = {}
        self.configure(now, [], [])

    def configure(
        self, now: float, schemas: Iterable[FlowSchema], levels: Iterable[PriorityLevelConfiguration]
    ) -> list[Ticket]:
        """Do as these objects say from now on; what is mandatory is as it must be, whatever they say.

        A schema without a level is passed over. A level that is gone lets its requests run to their end.

        Returns:
            Requests that start now.
        """
        by_name = _with_mandatory(levels, defaults.priority_levels())
        nominal_shares = {name: _shares(level)[0] for name, level in by_name.items()}
        shares_total = sum(nominal_shares.values())
        kept: dict[str, Level] = {}
        started: list[Ticket] = []
        for name, object_ in by_name.items():
            level = kept[name] = self.levels.get(name) or Level(name, now)
            level.uid = object_.metadata.uid
            shares, lendable, may_borrow = _shares(object_)
            before = level.bounds
            level.bounds = borrowing.bounds(self.seats, shares, shares_total, lendable, may_borrow)
            limited = object_.spec.limited
            queuing = limited.limit_response.queuing if limited is not None else None
            level.queues.configure(
                now,
                queues=queuing.queues if queuing is not None else 0,
                hand_size=queuing.hand_size if queuing is not None else 1,
                queue_length_max=queuing.queue_length_limit if queuing is not None else 0,
                is_exempt=object_.spec.type == "Exempt",
            )
            if before != level.bounds:
                started += level.queues.set_limit(now, level.bounds.nominal)
        self.levels = kept
        ordered = matching.in_order(_with_mandatory(schemas, defaults.flow_schemas()).values())
        self._schemas = [
            (schema, matching.compile_schema(schema), kept[schema.spec.priority_level_configuration.name])
            for schema in ordered
            if schema.spec.priority_level_configuration.name in kept
        ]
        self._remembered.clear()
        return started

    def classify(self, user: User, info: RequestInfo) -> Flow:
        """Return where a request belongs: `catch-all` takes what no other schema does."""
        target = info.plural or info.path
        key = (user.name, user.groups, info.verb, info.group, target, info.subresource, info.namespace)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            found = self._remembered[key] = self._classify(user, info)
        return found

    def _classify(self, user: User, info: RequestInfo) -> Flow:
        schema, _, level = next((one for one in self._schemas if one[1](user, info)), self._schemas[-1])
        name = schema.metadata.name
        metrics = self.metrics.get((level.name, name))
        if metrics is None:
            metrics = self.metrics[level.name, name] = FlowMetrics()
        distinguisher = matching.distinguisher(schema, user, info)
        headers = {SCHEMA_HEADER: schema.metadata.uid, LEVEL_HEADER: level.uid}
        return Flow(name, level, flow_hash(name, distinguisher), distinguisher, headers, metrics)

    def adjust(self, now: float) -> list[Ticket]:
        """Lend and borrow anew, by what each level wanted since this was last done; returns what starts now."""
        claims: dict[str, borrowing.Claim] = {}
        seats = float(self.seats)
        for level in self.levels.values():
            level.demand = mean, deviation, peak = level.queues.read_demand(now)
            level.smoothed = borrowing.smooth(level.smoothed, mean, deviation)
            claim = borrowing.claim(level.bounds, level.smoothed, peak)
            level.target = claim.target
            if level.queues.is_exempt:
                # It takes what it takes; the others share the rest.
                seats -= claim.low
            else:
                claims[level.name] = claim
        seats = max(seats, float(sum(self.levels[name].bounds.low for name in claims)))
        allotted = borrowing.allocate(seats, list(claims.values()))
        started: list[Ticket] = []
        for (name, claim), given in zip(claims.items(), allotted, strict=True):
            if claim.low < given < claim.high and claim.target:
                self.fair_fraction = given / claim.target
            started += self.levels[name].queues.set_limit(now, max(1, round(given)))
        return started


def _with_mandatory(given: Iterable[T], ours: Iterable[T]) -> dict[str, T]:
    by_name = {one.metadata.name: one for one in given}
    for one in ours:
        name = one.metadata.name
        if name in defaults.MANDATORY:
            stored = by_name.get(name)
            if stored is not None:
                one.metadata = stored.metadata
            by_name[name] = one
    return by_name


def _shares(level: PriorityLevelConfiguration) -> tuple[int, int, int | None]:
    """Return a level's shares, what percentage of its seats it lends, and up to what percentage it borrows."""
    exempt, limited = level.spec.exempt, level.spec.limited
    if limited is not None:
        return limited.nominal_concurrency_shares or 0, limited.lendable_percent or 0, limited.borrowing_limit_percent
    if exempt is not None:
        return exempt.nominal_concurrency_shares or 0, exempt.lendable_percent or 0, None
    return 0, 0, None
