"""Watches of aggregated servers, whatever those say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from apiserver.grpc.relayed_watch import RelayedWatch


def watch_of(*pieces: bytes) -> RelayedWatch:
    async def said() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return RelayedWatch(SimpleNamespace(content=SimpleNamespace(iter_any=said), close=lambda: None))  # type: ignore[arg-type]


async def ended(watch: RelayedWatch) -> str:
    told = asyncio.Event()
    watch.on_ready = told.set
    async with asyncio.timeout(5):
        while watch.error is None:
            await told.wait()
            told.clear()
    return watch.error.message


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ERROR","object":{"kind":"Status","details":5}}', b'{"type":"ERROR","object":{"code":"x"}}',
        b'{"type":"ERROR","object":3}', b'{"type":"ADDED","object":3}', b'{"type":"LATER","object":{}}', b"nothing",
        b'{"type":"ERROR","object":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"ADDED","object":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)  # fmt: skip
async def test_a_watch_ends_with_a_word_whatever_the_other_server_says(line: bytes) -> None:
    watch = watch_of(b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}\n', line + b"\n")
    assert await ended(watch)
    assert [event.resource_version for event in watch.take(10)] == ["1"]
    watch.close()
