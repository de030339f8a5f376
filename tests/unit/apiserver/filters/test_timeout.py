from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.errors import BadRequest, Timeout
from apiserver.filters.timeout import with_timeout
from apiserver.request import Call, RequestInfo


async def ask(timeout: str) -> Any:
    async def answer(call: Call) -> str:
        await asyncio.sleep(0.01)
        return "answered"

    return await with_timeout(answer)(Call(RequestInfo("get", "/"), options={"timeout": timeout}))


@pytest.mark.parametrize(
    ("timeout", "why"),
    [
        ("foo", 'time: invalid duration "foo"'),
        ("1s2", 'time: invalid duration "1s2"'),
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


async def test_who_waits_no_longer_is_told_so() -> None:
    with pytest.raises(Timeout) as told:
        await ask("1ns")
    assert not told.value.retry_after_s, "a client would send it again by itself"
