from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.errors import BadRequest, Timeout
from apiserver.filters.timeout import duration_s, with_timeout
from apiserver.request import Call, RequestInfo


async def ask(timeout: str, verb: str = "get") -> Any:
    async def answer(call: Call) -> str:
        await asyncio.sleep(0.01)
        return "answered"

    return await with_timeout(answer)(Call(RequestInfo(verb, "/"), options={"timeout": timeout}))


@pytest.mark.parametrize(
    ("timeout", "why"),
    [
        ("foo", 'time: invalid duration "foo"'),
        ("1s2", 'time: missing unit in duration "1s2"'),
        ("1x", 'time: unknown unit "x" in duration "1x"'),
        ("1.2.3s", 'time: missing unit in duration "1.2.3s"'),
        (".s", 'time: invalid duration ".s"'),
        ("-", 'time: invalid duration "-"'),
        ("1", 'time: missing unit in duration "1"'),
    ],
)
async def test_a_timeout_that_is_none_is_refused_in_gos_words(timeout: str, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        await ask(timeout)
    assert refused.value.message == f"invalid timeout specified in the request URL - {why}"


async def test_a_timeout_of_nothing_is_as_none_given() -> None:
    assert await ask("0s") == "answered"
    assert await ask("") == "answered"
    assert await ask("0") == "answered"
    assert await ask("-1s") == "answered"


async def test_who_waits_no_longer_is_told_so() -> None:
    with pytest.raises(Timeout) as told:
        await ask("1ns")
    assert not told.value.retry_after_s, "a client would send it again by itself"
    assert told.value.message == "Timeout: request did not complete within the allotted timeout"


async def test_whose_write_is_not_done_in_time_is_told_by_which_deadline() -> None:
    with pytest.raises(Timeout) as told:
        await ask("1ns", "patch")
    why = "request did not complete within requested timeout - context deadline exceeded"
    assert told.value.message == f"Timeout: {why}"


def test_a_duration_is_read_as_gos_time_package_reads_it() -> None:
    assert duration_s("1h2m3.5s") == 3723.5
    assert duration_s("-1.5s") == -1.5
    assert duration_s(".5s") == duration_s("500ms") == duration_s("500000µs") == 0.5
