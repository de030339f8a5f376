"""What a handler returns when somebody else has the answer: where the request goes on to."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import NamedTuple

from api.errors import ApiError, ServiceUnavailable
from apiserver.nowhere import InPlainText


def unreachable(problem: str) -> ApiError:
    """Return the error for a pod, node or Service that does not answer, as clients know it."""
    return ServiceUnavailable(f"error trying to reach service: {problem}")


class PlainUnavailable(InPlainText, ServiceUnavailable):
    """An aggregated server does not answer."""


class Onward(NamedTuple):
    """Another server, and what to ask it for."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None: plain HTTP."""
    server_name: str = ""
    """What its certificate must name, where that is not the host."""
    target: str = ""
    """Path and query, percent-encoded; a path that is empty sends the client to the one with a slash."""
    prefix: str = ""
    """What its paths begin with here: links in its answers are rewritten with it. Empty: they are left alone."""
    headers: tuple[tuple[str, str], ...] = ()
    """To be set, beside the client's."""
    host_header: str = ""
    """Empty: the client's."""
    failed: Callable[[str], ApiError] = unreachable
    """The error for when nobody answers, of what went wrong."""
