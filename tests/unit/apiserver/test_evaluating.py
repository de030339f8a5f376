"""Costly expressions give others their turn, and come to the same as if they had not."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiserver.cel.evaluation import CostExceeded
from apiserver.cel.program import Program, compile_
from apiserver.evaluating import AT_ONCE_COST, Evaluating

NUMBERS = {"self": list(range(1000))}
CHEAP = compile_("self.all(x, x >= 0)", frozenset({"self"}))
COSTLY = compile_("self.filter(x, x < 75).all(x, self.exists(y, x + y > 1200) || true)", frozenset({"self"}))


async def evaluate(program: Program, at: Evaluating, limit: int = 10_000_000) -> tuple[object, int]:
    return await at.run(lambda: program.evaluate(NUMBERS, limit))


async def test_what_is_cheap_is_evaluated_on_the_spot():
    threads = set()

    def work() -> object:
        threads.add(threading.current_thread())
        return CHEAP.evaluate(NUMBERS)[0]

    assert await Evaluating().run(work) is True
    assert threads == {threading.main_thread()}


async def test_the_loop_turns_while_something_costly_is_evaluated():
    began, lags, is_over = time.monotonic(), [], False

    async def watch() -> None:
        while not is_over:
            before = time.monotonic()
            await asyncio.sleep(0)
            lags.append(time.monotonic() - before)

    watching = asyncio.create_task(watch())
    value, cost = await evaluate(COSTLY, Evaluating())
    took = time.monotonic() - began
    is_over = True
    await watching
    assert (value, cost) == COSTLY.evaluate(NUMBERS, 10_000_000), "the same as without turns"
    assert cost > 20 * AT_ONCE_COST, "otherwise this shows nothing"
    assert len(lags) > 20
    # A quarter of it all is far more than a slice, however slow the machine, and far less than holding the loop.
    assert sorted(lags)[-2] < took / 4


async def test_a_budget_ends_what_is_evaluated_in_slices_too():
    with pytest.raises(CostExceeded):
        await evaluate(COSTLY, Evaluating(), limit=5 * AT_ONCE_COST)


async def test_an_error_comes_out_as_it_is():
    def work() -> None:
        COSTLY.evaluate(NUMBERS, 10_000_000)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await Evaluating().run(work)


async def test_many_evaluations_of_one_piece_of_work_count_together():
    threads = set()

    def work() -> None:
        for _ in range(20):
            threads.add(threading.current_thread())
            CHEAP.evaluate(NUMBERS)

    await Evaluating().run(work)
    assert len(threads) == 2, "begun on the spot, and then in slices"


async def test_nobody_goes_on_when_the_request_is_given_up():
    at, before = Evaluating(), set(threading.enumerate())
    task = asyncio.create_task(evaluate(COSTLY, at))
    waiting = asyncio.create_task(evaluate(COSTLY, at))
    while not set(threading.enumerate()) - before:  # noqa: ASYNC110  # no event is set when a thread begins
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await waiting)[0] is True, "whoever waited has a turn now"
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 250), st.integers(1, 1_000_000))
def test_turns_change_neither_values_nor_costs(size: int, limit: int):
    program = compile_("self.map(x, self.filter(y, y % 7 == x % 7).size())", frozenset({"self"}))
    values = {"self": list(range(size))}

    def outcome() -> object:
        try:
            return program.evaluate(values, limit)
        except CostExceeded:
            return "too much"

    assert asyncio.run(Evaluating().run(outcome)) == outcome()
