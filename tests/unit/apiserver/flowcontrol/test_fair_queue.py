from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apiserver.flowcontrol.fair_queue import FairQueues, Refusal, State, Ticket
from apiserver.flowcontrol.shuffle import deal, flow_hash


def queues(limit: int = 2, *, count: int = 8, hand: int = 2, length: int = 50) -> FairQueues:
    return FairQueues(0.0, limit=limit, queues=count, hand_size=hand, queue_length_max=length)


def ticket(flow: str = "a", seats: int = 1) -> Ticket:
    return Ticket("schema", flow_hash("schema", flow), flow, initial_seats=seats)


def test_requests_start_at_once_while_there_are_seats_and_wait_after() -> None:
    level = queues(limit=2)
    tickets = [ticket() for _ in range(3)]
    for one in tickets:
        level.begin(0.0, one)
    assert [one.state for one in tickets] == [State.EXECUTING, State.EXECUTING, State.WAITING]


def test_a_seat_given_back_starts_the_one_that_waits() -> None:
    level = queues(limit=1)
    first, second = ticket(), ticket()
    level.begin(0.0, first)
    level.begin(0.0, second)
    assert level.end(1.0, first) == [second]
    assert second.state is State.EXECUTING


def test_a_level_without_queues_refuses_what_finds_no_seat() -> None:
    level = FairQueues(0.0, limit=1)
    level.begin(0.0, ticket())
    late = ticket()
    level.begin(0.0, late)
    assert (late.state, late.refusal) == (State.REFUSED, Refusal.CONCURRENCY_LIMIT)


def test_a_full_queue_refuses() -> None:
    level = queues(limit=1, count=1, hand=1, length=2)
    tickets = [ticket() for _ in range(4)]
    for one in tickets:
        level.begin(0.0, one)
    assert [one.state for one in tickets] == [State.EXECUTING, State.WAITING, State.WAITING, State.REFUSED]
    assert tickets[-1].refusal is Refusal.QUEUE_FULL


def test_a_request_wider_than_its_level_runs_alone() -> None:
    level = queues(limit=2)
    small, wide = ticket(), ticket("b", seats=5)
    level.begin(0.0, small)
    level.begin(0.0, wide)
    assert wide.state is State.WAITING
    assert level.end(1.0, small) == [wide]


def test_an_exempt_level_lets_everything_run() -> None:
    level = FairQueues(0.0, limit=0, is_exempt=True)
    tickets = [ticket() for _ in range(100)]
    for one in tickets:
        level.begin(0.0, one)
    assert {one.state for one in tickets} == {State.EXECUTING}


def test_a_waiting_request_that_is_given_up_lets_others_by() -> None:
    level = queues(limit=2, count=1, hand=1)
    running, wide, small = ticket(), ticket(seats=2), ticket()
    for one in (running, wide, small):
        level.begin(0.0, one)
    assert small.state is State.WAITING  # behind the wide one, in the same queue
    assert level.abandon(1.0, wide, Refusal.TIME_OUT) == [small]
    assert wide.refusal is Refusal.TIME_OUT


def test_a_quiet_flow_goes_before_the_backlog_of_a_noisy_one() -> None:
    level = FairQueues(0.0, limit=1, queues=64, hand_size=1, queue_length_max=1000)
    running = ticket("noisy")
    level.begin(0.0, running)
    for _ in range(500):
        level.begin(0.0, ticket("noisy"))
    quiet = ticket("quiet")
    level.begin(0.0, quiet)
    now, served = 0.0, 0
    while quiet.state is not State.EXECUTING:
        now += 0.01
        (running,) = level.end(now, running)
        served += 1
    assert served <= 2


def test_two_busy_flows_get_equal_shares_of_seat_time_whatever_their_requests_cost() -> None:
    level = FairQueues(0.0, limit=4, queues=64, hand_size=1, queue_length_max=10_000)
    cost = {"short": 0.01, "long": 0.05}
    running: list[tuple[float, int, Ticket]] = []
    spent = dict.fromkeys(cost, 0.0)
    for _ in range(9000):
        for flow in cost:
            one = ticket(flow)
            level.begin(0.0, one)
            if one.state is State.EXECUTING:
                running.append((cost[flow], len(running), one))
    count = 10_000
    now = 0.0
    while now < 20.0:
        running.sort()
        now, _, one = running.pop(0)
        spent[one.distinguisher] += cost[one.distinguisher]
        for started in level.end(now, one):
            count += 1
            running.append((now + cost[started.distinguisher], count, started))
    assert 0.8 < spent["short"] / spent["long"] < 1.25


def test_demand_is_what_ran_and_waited_over_time() -> None:
    level = queues(limit=1)
    first, second = ticket(), ticket()
    level.begin(0.0, first)
    level.begin(5.0, second)
    assert level.read_demand(10.0) == (1.5, 0.5, 2.0)


@given(
    limit=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(["begin", "end", "abandon", "limit"]), st.integers(0, 9)), max_size=200),
)
def test_seats_are_never_oversold_and_nothing_waits_while_seats_are_free(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    level = queues(limit=limit, count=4, hand=2, length=3)
    known: list[Ticket] = []
    now = 0.0
    for action, number in steps:
        now += 0.001 * number
        if action == "begin":
            made = ticket(f"flow-{number}", seats=1 + number % 3)
            known.append(made)
            level.begin(now, made)
        elif action == "limit":
            level.set_limit(now, 1 + number % 4)
        else:
            state = State.EXECUTING if action == "end" else State.WAITING
            candidates = [one for one in known if one.state is state]
            if candidates:
                chosen = candidates[number % len(candidates)]
                if action == "end":
                    level.end(now, chosen)
                else:
                    level.abandon(now, chosen, Refusal.CANCELLED)
        executing = [one for one in known if one.state is State.EXECUTING]
        waiting = [one for one in known if one.state is State.WAITING]
        assert level.executing == len(executing)
        assert level.waiting == len(waiting)
        assert level.seats_in_use == sum(one.seats for one in executing)
        assert level.seats_waiting == sum(one.seats for one in waiting)
        assert list(level.waiting_tickets()) and waiting or not waiting
        assert level.active_queues == len({one.queue for one in executing + waiting})
        if waiting:
            assert level.seats_in_use > 0, "requests wait while nothing runs"


@given(st.integers(0, 2**64 - 1), st.integers(1, 128), st.integers(1, 12))
def test_a_hand_has_different_queues_and_stays_the_same(hash_value: int, count: int, hand: int) -> None:
    dealt = deal(hash_value, count, hand)
    assert dealt == deal(hash_value, count, hand)
    assert len(set(dealt)) == len(dealt) == min(hand, count)
    assert all(0 <= index < count for index in dealt)
