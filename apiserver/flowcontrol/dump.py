"""What the queues look like at this moment: `/debug/api_priority_and_fairness/dump_*`, as tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from api import timestamps
from apiserver.flowcontrol.fair_queue import Refusal
from apiserver.flowcontrol.levels import FlowControl, Level
from apiserver.request import Call

PREFIX: Final = "/debug/api_priority_and_fairness/"
_NONE: Final = "<none>"


def dump(control: FlowControl, what: str, query: Mapping[str, str], now: float, wall_now: float) -> str | None:
    """Return the table called `what`; None when there is none of that name."""
    levels = [control.levels[name] for name in sorted(control.levels)]
    match what:
        case "dump_priority_levels":
            return _table(_LEVELS, (_level_row(level) for level in levels))
        case "dump_queues":
            return _table(_QUEUES, (row for level in levels for row in _queue_rows(level)))
        case "dump_requests":
            has_details = query.get("includeRequestDetails", "").lower() in ("1", "true")
            head = (*_REQUESTS, *(_DETAILS if has_details else ()))
            rows = (row for level in levels for row in _request_rows(level, now, wall_now, has_details))
            return _table(head, rows)
    return None


_LEVELS: Final = (
    "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests",
    "DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests",
)  # fmt: skip
_QUEUES: Final = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS: Final = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime",
)  # fmt: skip
_DETAILS: Final = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")


def _level_row(level: Level) -> tuple[object, ...]:
    queues, refused = level.queues, level.queues.refused_count
    if queues.is_exempt:
        return (level.name, *[_NONE] * 9)
    rejected = refused[Refusal.QUEUE_FULL] + refused[Refusal.CONCURRENCY_LIMIT]
    return (
        level.name, queues.active_queues, not queues.executing and not queues.waiting, False, queues.waiting,
        queues.executing, queues.dispatched_count, rejected, refused[Refusal.TIME_OUT], refused[Refusal.CANCELLED],
    )  # fmt: skip


def _queue_rows(level: Level) -> Iterator[tuple[object, ...]]:
    for queue in level.queues.queues:
        waiting = queue.waiting
        yield (
            level.name, queue.index, len(waiting), queue.executing, queue.seats_in_use, f"{queue.next_start:.8f}ss",
            sum(one.initial_seats for one in waiting), sum(one.seats for one in waiting),
            f"{sum(one.work for one in waiting):.8f}ss",
        )  # fmt: skip


def _request_rows(level: Level, now: float, wall_now: float, has_details: bool) -> Iterator[tuple[object, ...]]:
    places: dict[int, int] = {}
    for ticket in level.queues.waiting_tickets():
        assert ticket.queue is not None
        index = ticket.queue.index
        place = places[index] = places.get(index, -1) + 1
        row: tuple[object, ...] = (
            level.name, ticket.schema, index, place, ticket.distinguisher,
            timestamps.render_micro(wall_now - (now - ticket.arrived_at)), ticket.initial_seats, ticket.final_seats,
            f"{ticket.additional_s:g}s", _NONE,
        )  # fmt: skip
        if has_details and isinstance(ticket.request, Call):
            call, info = ticket.request, ticket.request.info
            version = f"{info.group}/{info.version}" if info.group else info.version
            row += (call.user.name, info.verb, info.path, info.namespace, info.name, version, info.plural)
            row += (info.subresource,)
        yield row


def _table(head: Iterable[str], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [list(head), *([_cell(value) for value in row] for row in rows)]
    sizes = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "".join(", ".join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True)) + "\n" for line in lines)


def _cell(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
