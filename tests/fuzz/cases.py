"""Failures as files: made small by leaving out what does not matter, saved, and sent again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.pki import Pki
from tests.fuzz.arena import arena
from tests.fuzz.session import Failure, Session
from tests.fuzz.wire import Request

TRIES_MAX: Final = 10


async def replay(pki: Pki, requests: Sequence[Request]) -> dict[str, Failure]:
    """Send requests to a new server and return what is wrong, by signature."""
    async with arena(pki, "replay") as made:
        session = Session(made, Counter())
        await session.begin()
        for request in requests:
            await session.send(request, "replay")
        session.close()
        return session.failures


async def smallest(pki: Pki, failure: Failure) -> tuple[Request, ...] | None:
    """Return few requests that still fail so; None when it does not happen again (a watch, or chance)."""
    if failure.signature.startswith("watch"):
        return None
    requests = [each for each in failure.requests if "watch=" not in each.target]
    last = requests[-1]
    path = last.target.partition("?")[0]
    name = path.rpartition("/")[2]
    related = [each for each in requests[:-1] if name in each.target or f'"{name}"'.encode() in each.body]
    definitions = [each for each in requests[:-1] if "customresourcedefinitions" in each.target]
    for tried in ([last], [*related, last], [*definitions, *related, last], requests):
        if failure.signature in await replay(pki, tried):
            return tuple(await _thin(pki, tried, failure.signature))
    return None


async def _thin(pki: Pki, requests: list[Request], signature: str) -> list[Request]:
    """Leave out halves, then smaller parts, as long as it still fails."""
    part, tries = len(requests) // 2, 0
    while part and tries < TRIES_MAX:
        at = 0
        while at < len(requests) - 1 and tries < TRIES_MAX:
            without = [*requests[:at], *requests[min(at + part, len(requests) - 1) :]]
            tries += 1
            if signature in await replay(pki, without):
                requests = without
            else:
                at += part
        part //= 2
    return requests


def save(directory: Path, number: int, failure: Failure, requests: Sequence[Request], seed: str) -> Path:
    """Write a case to a file of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    words = re.sub(r"[^a-z]+", "-", failure.signature.lower())[:40].strip("-")
    path = directory / f"{number:04}-{words}.json"
    saved = {"failure": failure.text, "seed": seed, "requests": [each.to_json() for each in requests]}
    path.write_text(json.dumps(saved, indent=1))
    return path


def load(path: Path) -> list[Request]:
    """Return a saved case's requests."""
    return [Request.from_json(each) for each in json.loads(path.read_text())["requests"]]
