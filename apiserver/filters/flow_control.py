"""Which requests go first: each waits for seats of its priority level, or is refused with 429 (KEP-1040).

What decides is in `apiserver.flowcontrol`; here a request is classified, waits if it must, and gives its seats back.
Streams (logs, exec) take none; a watch only until it has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from api.errors import TooManyRequests
from apiserver.filters.timeout import is_stream
from apiserver.flowcontrol import width
from apiserver.flowcontrol.fair_queue import Refusal, State, Ticket
from apiserver.flowcontrol.levels import Flow, FlowControl
from apiserver.flowcontrol.width import ONE, Width
from apiserver.nowhere import InPlainText
from apiserver.registry.registries import Registries
from apiserver.request import Call, Handler
from component.clock import Clock

WAIT_MAX_S: Final = 15.0
"""How long a request waits for its seats: a quarter of what it may take in all."""
RETRY_AFTER_S: Final = 1
_WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")


class TurnedAway(InPlainText, TooManyRequests):
    """It is not the request's turn. Upstream says so before it looks at what form of answer is asked for."""


WidthOf = Callable[[Call, int], Width]
"""From a call, and the most seats that it may take, to what it takes."""


def with_flow_control(
    then: Handler, control: FlowControl, clock: Clock, refresh: Callable[[], None], width_of: WidthOf
) -> Handler:
    """Return `then`, for requests whose turn it is.

    Args:
        then: the rest of the chain.
        control: the levels.
        clock: for waits.
        refresh: called before each request: takes changed objects up.
        width_of: says how many seats a call takes.
    """

    async def handle(call: Call) -> Any:
        if is_stream(call):
            return await then(call)
        refresh()
        flow = control.classify(call.user, call.info)
        level, metrics = flow.level, flow.metrics
        call.headers = flow.headers
        taken = width_of(call, level.seats_max)
        ticket = Ticket(
            flow.schema, flow.hash, flow.distinguisher,
            initial_seats=taken.initial_seats, final_seats=taken.final_seats, additional_s=taken.additional_s,
            request=call,
        )  # fmt: skip
        arrived = now = clock.monotonic()
        wake(level.queues.begin(now, ticket))
        if ticket.state is not State.EXECUTING:
            try:
                await _wait(ticket, flow, clock)
            except TooManyRequests:
                metrics.waited_in_vain_s.observe(clock.monotonic() - arrived)
                raise
            now = clock.monotonic()
            call.excuse(now - arrived)
        metrics.dispatched += 1
        metrics.waited_s.observe(now - arrived)
        metrics.executing += 1
        metrics.seats += ticket.seats
        try:
            return await then(call)
        finally:
            ended = clock.monotonic()
            metrics.executing -= 1
            metrics.seats -= ticket.seats
            (metrics.begun_s if call.info.verb == "watch" else metrics.executed_s).observe(ended - now)
            if ticket.additional_s:
                later = asyncio.get_running_loop().call_later
                later(ticket.additional_s, lambda: wake(level.queues.end(clock.monotonic(), ticket, ended - now)))
            else:
                wake(level.queues.end(ended, ticket))

    return handle


async def _wait(ticket: Ticket, flow: Flow, clock: Clock) -> None:
    """Return when a request may run; raises TooManyRequests when it may not."""
    queues, metrics = flow.level.queues, flow.metrics
    if ticket.state is State.WAITING:
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket.waker = waker
        metrics.waiting += 1
        metrics.seats_wanted += ticket.initial_seats
        try:
            async with asyncio.timeout(WAIT_MAX_S):
                await waker
        except TimeoutError:
            if ticket.state is State.WAITING:
                wake(queues.abandon(clock.monotonic(), ticket, Refusal.TIME_OUT))
        except asyncio.CancelledError:
            # Whoever asked has gone, perhaps just when its turn came.
            if ticket.state is State.WAITING:
                wake(queues.abandon(clock.monotonic(), ticket, Refusal.CANCELLED))
                _count(flow, Refusal.CANCELLED)
            else:
                wake(queues.end(clock.monotonic(), ticket))
            raise
        finally:
            metrics.waiting -= 1
            metrics.seats_wanted -= ticket.initial_seats
    if ticket.refusal is not None:
        _count(flow, ticket.refusal)
        raise TurnedAway("Too many requests, please try again later.", retry_after_s=RETRY_AFTER_S)


def _count(flow: Flow, why: Refusal) -> None:
    flow.metrics.refused[why.value] = flow.metrics.refused.get(why.value, 0) + 1


def wake(tickets: Iterable[Ticket]) -> None:
    """Tell requests that waited that they run now."""
    for ticket in tickets:
        waker = ticket.waker
        assert isinstance(waker, asyncio.Future)
        if not waker.done():
            waker.set_result(None)


def widths(registries: Registries) -> WidthOf:
    """Return what measures calls by how many objects and watchers there are."""

    def width_of(call: Call, most: int) -> Width:
        resource, info, options = call.resource, call.info, call.options
        verb = info.verb
        is_list = verb == "list" or (verb == "watch" and "sendInitialEvents" in options)
        if resource is None or call.handler is not None or not (is_list or verb in _WRITES):
            return ONE
        cache = registries.cache_of(resource)
        if cache is None or info.subresource in ("token", "eviction", "binding"):
            return ONE
        if not is_list:
            watchers = cache.count_interested(info.namespace, info.name)
            return width.write_width(watchers, most) if watchers else ONE
        stored = cache.object_count
        if stored <= width.OBJECTS_PER_SEAT or info.name:
            return ONE
        text = options.get("limit", "")
        limit = int(text) if text.isdecimal() and len(text) < 10 else 0
        is_selecting = bool(options.get("labelSelector") or options.get("fieldSelector"))
        is_from_cache = not options.get("continue") and options.get("resourceVersionMatch") != "Exact"
        return width.list_width(stored, limit, is_selecting=is_selecting, is_from_cache=is_from_cache, most=most)

    return width_of
