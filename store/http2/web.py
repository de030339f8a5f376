"""Requests that are not gRPC's, and what they are answered: between whoever reads them and whoever answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, whole."""

    method: str
    path: str
    query: str
    token: str
    """By what the caller is known, if it says so."""
    names: frozenset[str]
    """The common names of its certificate."""
    common_name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: a body, or a stream that writes one."""

    status: int
    kind: str
    """Its content type."""
    body: bytes
    headers: tuple[str, ...] = ()
    """Further ones, as `Name: value`."""
    stream: Callable[[Write], Awaitable[None]] | None = None


class Web(Protocol):
    """Whoever answers."""

    async def answer(self, asked: Asked) -> Page:
        """Return the answer to a request."""
        ...


async def asked_by(web: Web, asked: Asked) -> Page:
    """Return the answer to a request; one that is our own mistake is logged."""
    try:
        return await web.answer(asked)
    except Exception:
        log.exception("request failed", extra={"path": asked.path})
        return Page(500, "text/plain; charset=utf-8", b"Internal Server Error\n")
