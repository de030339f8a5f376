"""What priority and fairness counts, under upstream's names: `apiserver_flowcontrol_*`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from component.metrics import Family, Gauge, Labels, Series, Spread, Tally

if TYPE_CHECKING:
    from apiserver.flowcontrol.levels import FlowControl, Level

_WAITS: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_FLOW: Final = ("priority_level", "flow_schema")
_LEVEL: Final = ("priority_level",)


class FlowMetrics:
    """Of one schema at one level."""

    __slots__ = (
        "begun_s", "dispatched", "executed_s", "executing", "refused", "seats", "seats_wanted", "waited_in_vain_s",
        "waited_s", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.dispatched = 0
        self.executing = 0
        self.seats = 0
        self.waiting = 0
        self.refused: dict[str, int] = {}
        self.seats_wanted = 0
        self.waited_s = Series(_WAITS)
        """Of those that ran."""
        self.waited_in_vain_s = Series(_WAITS)
        self.executed_s = Series(_WAITS)
        self.begun_s = Series(_WAITS)
        """How long watches took to begin."""


def families(control: FlowControl) -> Iterable[Family]:
    """Return the metrics of a server's flow control."""

    def by_level(read: Callable[[Level], float]) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {(level.name,): read(level) for level in control.levels.values()}

    def by_flow(read: Callable[[FlowMetrics], float]) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {labels: read(one) for labels, one in control.metrics.items()}

    prefix = "apiserver_flowcontrol"
    for name, help, of_level in (
        ("nominal_limit_seats", "Nominal seats of each priority level.", lambda one: one.bounds.nominal),
        ("lower_limit_seats", "Least seats that each priority level keeps.", lambda one: one.bounds.low),
        ("upper_limit_seats", "Most seats that each priority level may have.", lambda one: one.bounds.high),
        ("current_limit_seats", "Seats that each priority level has now.", lambda one: one.queues.limit),
        ("demand_seats_average", "Mean seats wanted in the last period.", lambda one: one.demand[0]),
        ("demand_seats_stdev", "Standard deviation of the seats wanted in the last period.", lambda one: one.demand[1]),
        ("demand_seats_high_watermark", "Most seats wanted in the last period.", lambda one: one.demand[2]),
        ("demand_seats_smoothed", "Smoothed seats wanted.", lambda one: one.smoothed),
        ("target_seats", "Seats that each priority level claims.", lambda one: one.target),
    ):
        yield Gauge(f"{prefix}_{name}", help, by_level(of_level), _LEVEL)
    yield Gauge(f"{prefix}_seat_fair_frac", "Fraction of its target that each level is given.",
                lambda: control.fair_fraction)  # fmt: skip
    for name, help, of_flow in (
        ("current_executing_requests", "Requests that run.", lambda one: one.executing),
        ("current_executing_seats", "Seats taken by requests that run.", lambda one: one.seats),
        ("current_inqueue_requests", "Requests that wait.", lambda one: one.waiting),
        ("current_inqueue_seats", "Seats that requests wait for.", lambda one: one.seats_wanted),
    ):
        yield Gauge(f"{prefix}_{name}", help, by_flow(of_flow), _FLOW)
    dispatched = Tally(f"{prefix}_dispatched_requests_total", "Requests that were let run.", _FLOW)
    refused = Tally(f"{prefix}_rejected_requests_total", "Requests refused, by reason.", (*_FLOW, "reason"))
    waited = Spread(f"{prefix}_request_wait_duration_seconds", "How long requests waited.", (*_FLOW, "execute"), _WAITS)
    executed = Spread(f"{prefix}_request_execution_seconds", "How long requests ran.", (*_FLOW, "type"), _WAITS)
    for labels, one in control.metrics.items():
        dispatched.add(labels, one.dispatched)
        for reason, count in one.refused.items():
            refused.add((*labels, reason), count)
        waited.put((*labels, "true"), one.waited_s)
        waited.put((*labels, "false"), one.waited_in_vain_s)
        executed.put((*labels, "regular"), one.executed_s)
        executed.put((*labels, "watch"), one.begun_s)
    yield from (dispatched, refused, waited, executed)
