"""One priority level at work: its seats, its queues, and who goes next; pure, with time as an argument.

Fair queuing for server requests (KEP-1040, "Fair Queuing for Server Requests"). The queues share the level's seats as
if each active queue were served at the same rate at the same time. `_progress` is how much service, in seat-seconds,
each active queue would have had in that imagined world by now. Every queue remembers at which progress its next
request would begin there; the request that would end first is dispatched first. How long a request will take is not
known when it begins, so it is guessed, and the queue's account is put right when the request ends.

`begin` starts a request, lets it wait, or refuses it; `end` and `abandon` say which waiting ones start now.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator

from apiserver.flowcontrol.shuffle import deal

GUESSED_DURATION_S = 0.003


class State(enum.Enum):
    """Where a request is."""

    WAITING = "waiting"
    EXECUTING = "executing"
    REFUSED = "refused"
    OVER = "over"


class Refusal(enum.Enum):
    """Why a request is refused, in the words of upstream's metrics."""

    QUEUE_FULL = "queue-full"
    CONCURRENCY_LIMIT = "concurrency-limit"
    TIME_OUT = "time-out"
    CANCELLED = "cancelled"


class Ticket:
    """One request at its level."""

    __slots__ = (
        "additional_s", "arrived_at", "arrived_progress", "distinguisher", "final_seats", "flow", "initial_seats",
        "queue", "refusal", "request", "schema", "seats", "started_at", "state", "waker", "work",
    )  # fmt: skip

    def __init__(
        self,
        schema: str,
        flow: int,
        distinguisher: str = "",
        *,
        initial_seats: int = 1,
        final_seats: int = 0,
        additional_s: float = 0.0,
        request: object = None,
    ) -> None:
        self.schema = schema
        self.flow = flow
        self.distinguisher = distinguisher
        self.initial_seats = initial_seats
        self.final_seats = final_seats
        self.additional_s = additional_s
        """How long the final seats stay taken after the request is answered, while its watchers are told."""
        self.seats = initial_seats if initial_seats >= final_seats else final_seats
        """What it holds while it runs, and for `additional_s` after."""
        self.request = request
        """What is asked, for those who look into the queues."""
        self.work = initial_seats * GUESSED_DURATION_S + final_seats * additional_s
        """In seat-seconds, as guessed."""
        self.state = State.WAITING
        self.refusal: Refusal | None = None
        self.queue: Queue | None = None
        self.arrived_at = 0.0
        self.arrived_progress = 0.0
        self.started_at = 0.0
        self.waker: object = None
        """Left to the caller: whom to tell when it starts."""


class Queue:
    """Requests of some flows, oldest first."""

    __slots__ = ("executing", "index", "next_start", "seats_in_use", "waiting", "waiting_work")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Ticket] = deque()
        self.waiting_work = 0.0
        self.executing = 0
        self.seats_in_use = 0
        self.next_start = 0.0
        """The progress at which the oldest waiting request would begin, were all active queues served at once."""


class FairQueues:
    """A level's seats and queues.

    Args:
        now: monotonic seconds.
        limit: how many seats there are now.
        queues: how many queues; 0: what finds no seat is refused.
        hand_size: how many of them a flow is dealt.
        queue_length_max: how many may wait in one.
        is_exempt: everything starts at once, whatever the limit.
    """

    def __init__(
        self,
        now: float,
        *,
        limit: int,
        queues: int = 0,
        hand_size: int = 1,
        queue_length_max: int = 0,
        is_exempt: bool = False,
    ) -> None:
        self.limit = limit
        self.is_exempt = is_exempt
        self.queues = [Queue(index) for index in range(queues)]
        self.hand_size = hand_size
        self.queue_length_max = queue_length_max
        self.executing = 0
        self.waiting = 0
        self.seats_in_use = 0
        self.seats_waiting = 0
        self.dispatched_count = 0
        self.refused_count: dict[Refusal, int] = dict.fromkeys(Refusal, 0)
        self._pending: dict[Queue, None] = {}
        """Queues in which something waits; the one served longest ago first."""
        self._active = 0
        """How many queues have something waiting or executing."""
        self._progress = 0.0
        self._since = now
        self._demand = _Demand(now)

    def configure(self, now: float, *, queues: int, hand_size: int, queue_length_max: int, is_exempt: bool) -> None:
        """Take on another shape; what waits keeps its place in the queues that it is in."""
        self._advance(now)
        self.is_exempt = is_exempt
        self.hand_size = hand_size
        self.queue_length_max = queue_length_max
        if queues != len(self.queues):
            # Those with something in them live on in `_pending` and in their tickets until they are empty.
            self.queues = [*self.queues[:queues], *(Queue(index) for index in range(len(self.queues), queues))]

    def begin(self, now: float, ticket: Ticket) -> list[Ticket]:
        """Take a request in; its `state` says what became of it.

        Returns:
            Other requests that start now.
        """
        self._advance(now)
        ticket.arrived_at = now
        fits = self.is_exempt or self._fits(ticket.seats)
        if not self.queues or self.is_exempt:
            if fits:
                self._start(now, ticket)
            else:
                self._refuse(ticket, Refusal.CONCURRENCY_LIMIT)
            return []
        queue = ticket.queue = self._choose(ticket.flow)
        if len(queue.waiting) >= self.queue_length_max and not fits:
            self._refuse(ticket, Refusal.QUEUE_FULL)
            return []
        if not queue.waiting and not queue.executing:
            queue.next_start = self._progress
            self._active += 1
        ticket.arrived_progress = self._progress
        if fits and not self.waiting:
            self._start(now, ticket)
            return []
        queue.waiting.append(ticket)
        queue.waiting_work += ticket.work
        self._pending[queue] = None
        self.waiting += 1
        self.seats_waiting += ticket.seats
        return [started for started in self._dispatch(now) if started is not ticket]

    def end(self, now: float, ticket: Ticket, executed_s: float | None = None) -> list[Ticket]:
        """Give back the seats of a request that ran for `executed_s` (all the time since its start, if not said).

        Returns:
            Those that start now.
        """
        assert ticket.state is State.EXECUTING
        self._advance(now)
        ticket.state = State.OVER
        self.executing -= 1
        self.seats_in_use -= ticket.seats
        queue = ticket.queue
        if queue is not None:
            took_s = now - ticket.started_at - ticket.additional_s if executed_s is None else executed_s
            actual = ticket.initial_seats * max(took_s, 0.0) + ticket.final_seats * ticket.additional_s
            queue.next_start += actual - ticket.work
            queue.executing -= 1
            queue.seats_in_use -= ticket.seats
            if not queue.executing and not queue.waiting:
                self._active -= 1
        return self._dispatch(now)

    def abandon(self, now: float, ticket: Ticket, why: Refusal) -> list[Ticket]:
        """Take a waiting request out: it has waited too long, or nobody wants it any more.

        Returns:
            Those that start now, because it was in their way.
        """
        assert ticket.state is State.WAITING
        assert ticket.queue is not None
        self._advance(now)
        self._unqueue(ticket)
        self._refuse(ticket, why)
        if not ticket.queue.executing and not ticket.queue.waiting:
            self._active -= 1
        return self._dispatch(now)

    def set_limit(self, now: float, limit: int) -> list[Ticket]:
        """Have that many seats from now on; returns those that start now."""
        self._advance(now)
        self.limit = limit
        return self._dispatch(now)

    def read_demand(self, now: float) -> tuple[float, float, float]:
        """Return mean, standard deviation and peak of the seats wanted since this was last asked."""
        self._advance(now)
        return self._demand.read(now, self.seats_in_use + self.seats_waiting)

    @property
    def active_queues(self) -> int:
        """How many queues have something waiting or executing."""
        return self._active

    def waiting_tickets(self) -> Iterator[Ticket]:
        """Yield what waits, queue by queue, oldest first."""
        for queue in sorted(self._pending, key=lambda queue: queue.index):
            yield from queue.waiting

    def _fits(self, seats: int) -> bool:
        if seats > self.limit:
            # Wider than the level will ever be: it runs alone.
            return self.seats_in_use == 0
        return self.seats_in_use + seats <= self.limit

    def _choose(self, flow: int) -> Queue:
        """Return the queue of the flow's hand with the least to do."""
        queues = self.queues
        best: Queue | None = None
        least = 0.0
        for index in deal(flow, len(queues), self.hand_size):
            queue = queues[index]
            load = queue.waiting_work + queue.seats_in_use * GUESSED_DURATION_S
            if best is None or load < least:
                best, least = queue, load
            if not load:
                break
        assert best is not None
        return best

    def _advance(self, now: float) -> None:
        elapsed = now - self._since
        if elapsed <= 0:
            return
        self._since = now
        wanted = self.seats_in_use + self.seats_waiting
        self._demand.add(elapsed, wanted)
        if self._active:
            self._progress += elapsed * min(wanted, self.limit) / self._active

    def _start(self, now: float, ticket: Ticket) -> None:
        ticket.state = State.EXECUTING
        ticket.started_at = now
        self.executing += 1
        self.dispatched_count += 1
        self.seats_in_use += ticket.seats
        self._demand.saw(self.seats_in_use + self.seats_waiting)
        queue = ticket.queue
        if queue is not None:
            queue.executing += 1
            queue.seats_in_use += ticket.seats
            queue.next_start += ticket.work

    def _refuse(self, ticket: Ticket, why: Refusal) -> None:
        ticket.state, ticket.refusal = State.REFUSED, why
        self.refused_count[why] += 1

    def _dispatch(self, now: float) -> list[Ticket]:
        """Start the requests whose turn it is, as long as there are seats for them."""
        started: list[Ticket] = []
        while self._pending:
            queue = min(self._pending, key=_finish)
            ticket = queue.waiting[0]
            if not self._fits(ticket.seats):
                break
            self._demand.saw(self.seats_in_use + self.seats_waiting)
            self._unqueue(ticket)
            if queue.waiting:
                # Behind the others: of two that would end at the same time, the one served longest ago goes first.
                del self._pending[queue]
                self._pending[queue] = None
            self._start(now, ticket)
            if queue.waiting:
                # A queue gains nothing from having begun before its requests came.
                queue.next_start = max(queue.next_start, queue.waiting[0].arrived_progress)
            started.append(ticket)
        return started

    def _unqueue(self, ticket: Ticket) -> None:
        queue = ticket.queue
        assert queue is not None
        if queue.waiting[0] is ticket:
            queue.waiting.popleft()
        else:
            queue.waiting.remove(ticket)
        queue.waiting_work = queue.waiting_work - ticket.work if queue.waiting else 0.0
        if not queue.waiting:
            self._pending.pop(queue, None)
        self.waiting -= 1
        self.seats_waiting -= ticket.seats


def _finish(queue: Queue) -> float:
    """Return the progress at which a queue's oldest request would end, were all active queues served at once."""
    return queue.next_start + queue.waiting[0].work


class _Demand:
    """How many seats were wanted over a while."""

    __slots__ = ("_began", "_peak", "_squares", "_sum")

    def __init__(self, now: float) -> None:
        self._began = now
        self._sum = self._squares = 0.0
        self._peak = 0

    def add(self, elapsed: float, wanted: int) -> None:
        self._sum += elapsed * wanted
        self._squares += elapsed * wanted * wanted
        if wanted > self._peak:
            self._peak = wanted

    def saw(self, wanted: int) -> None:
        if wanted > self._peak:
            self._peak = wanted

    def read(self, now: float, wanted: int) -> tuple[float, float, float]:
        elapsed = now - self._began
        if elapsed <= 0:
            return float(wanted), 0.0, float(max(self._peak, wanted))
        mean = self._sum / elapsed
        deviation = max(self._squares / elapsed - mean * mean, 0.0) ** 0.5
        peak = float(max(self._peak, wanted))
        self._began, self._sum, self._squares, self._peak = now, 0.0, 0.0, wanted
        return mean, deviation, peak
