"""The plain HTTP port each process has: /healthz, /livez, /readyz, /metrics and /metrics/slis.

A check is a callable returning None when well, or a sentence saying what is wrong. `/readyz?verbose` lists each by
name, `?exclude=NAME` leaves one out and `/readyz/NAME` asks just one, as upstream's processes do. Bodies of requests
are never read.

The listener is a few lines on asyncio, because a web framework for four paths would be a quarter of a small process's
memory. A process that has an aiohttp application anyway adds `routes` to it. Whoever listens here also tells systemd
(`component.notify`) that the process is up and alive.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

from component import metrics as metrics_module
from component import notify, process_metrics, slis
from component.version import build_info

if TYPE_CHECKING:
    from aiohttp import web

Check = Callable[[], str | None]
Metrics = Callable[[], bytes]
"""Gives all metrics in Prometheus' text form."""

REQUEST_TIMEOUT_S = 5.0
REQUEST_BYTES_MAX = 8192
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATHS = ("/healthz", "/livez", "/readyz", "/metrics", "/metrics/slis")


def ok() -> str | None:
    """Answer the check that is always well: the process runs its loop."""
    return None


def registered_metrics() -> bytes:
    """Return what the process uses, and what `component.metrics` shares."""
    return metrics_module.render([*process_metrics.families(), build_info(), *metrics_module.SHARED])


def answer(
    path: str,
    query: str,
    ready: Mapping[str, Check],
    live: Mapping[str, Check],
    metrics: Metrics = registered_metrics,
) -> tuple[int, str, bytes]:
    """Return the status, content type and body for a GET of `path`."""
    if path == "/metrics":
        return 200, METRICS_TYPE, metrics()
    if path == "/metrics/slis":
        return 200, METRICS_TYPE, slis.shown()
    page, _, single = path[1:].partition("/")
    if f"/{page}" not in PATHS:
        return 404, "text/plain", f"there are {', '.join(PATHS)} here\n".encode()
    checks = {"ping": ok, **live, **(ready if page == "readyz" else {})}
    if single and single not in checks:
        return 404, "text/plain", f"there are {', '.join(checks)} in /{page}\n".encode()
    asked = parse_qs(query, keep_blank_values=True)
    excluded = asked.get("exclude", [])
    if single:
        checks = {single: checks[single]}
    lines, failed = [], False
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        problem = check()
        if not single:
            slis.note(name, page, problem is None)
        failed = failed or problem is not None
        lines.append(f"[+]{name} ok" if problem is None else f"[-]{name} failed: {problem}")
    if not failed and (single or "verbose" not in asked):
        return 200, "text/plain", b"ok"
    unknown = [f'"{name}"' for name in excluded if name not in checks]
    if unknown:
        lines.append(f"warn: some health checks cannot be excluded: no matches for {', '.join(unknown)}")
    verdict = "check failed" if failed else "check passed"
    return (500 if failed else 200), "text/plain", "\n".join([*lines, f"{page} {verdict}", ""]).encode()


def routes(
    ready: Mapping[str, Check], live: Mapping[str, Check] | None = None, *, metrics: Metrics = registered_metrics
) -> list[web.RouteDef]:
    """Return the health and metrics routes, to be added to an aiohttp application."""
    from aiohttp import web

    async def handle(request: web.Request) -> web.Response:
        status, kind, body = answer(request.path, request.query_string, ready, live or {}, metrics)
        return web.Response(status=status, body=body, headers={"Content-Type": kind})

    checks = [f"{path}/{{check}}" for path in PATHS if not path.startswith("/metrics")]
    return [web.get(path, handle) for path in (*PATHS, *checks)]


class Page(NamedTuple):
    """An answer to a GET."""

    status: int
    kind: str
    """Its content type."""
    body: bytes
    headers: tuple[str, ...] = ()
    """Further ones, as `Name: value`."""


class HealthServer:
    """A listener that answers `PATHS`; made by `serve`."""

    def __init__(self, server: asyncio.Server, ready: Mapping[str, Check]) -> None:
        self._server = server
        self._teller = asyncio.get_running_loop().create_task(notify.run(ready), name="notify")

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [socket.getsockname()[:2] for socket in self._server.sockets]

    async def cleanup(self) -> None:
        """Stop listening."""
        self._teller.cancel()
        self._server.close()


async def serve(
    host: str,
    port: int,
    ready: Mapping[str, Check],
    live: Mapping[str, Check] | None = None,
    *,
    metrics: Metrics = registered_metrics,
) -> HealthServer:
    """Listen on host:port until the returned server's `cleanup()`; port 0 takes any free one.

    Raises:
        OSError: the port is taken; the message names it.
    """

    def page(path: str, query: str) -> Page:
        return Page(*answer(path, query, ready, live or {}, metrics))

    return HealthServer(await listen(host, port, page), ready)


async def listen(host: str, port: int, page: Callable[[str, str], Page]) -> asyncio.Server:
    """Answer GETs on host:port with what `page` makes of path and query, until the returned server is closed.

    Raises:
        OSError: the port is taken; the message names it.
    """

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.decode("latin-1").partition(" ")
                path, _, query = rest.partition(" ")[0].partition("?")
                if method in ("GET", "HEAD"):
                    status, kind, body, headers = page(path, query)
                else:
                    status, kind, body, headers = Page(405, "text/plain", b"only GET is answered here\n")
                reply = [
                    f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                    f"Content-Type: {kind}",
                    f"Content-Length: {len(body)}",
                    *headers,
                    "Connection: close",
                    "\r\n",
                ]
                writer.write("\r\n".join(reply).encode() + (b"" if method == "HEAD" else body))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(respond, host, port, limit=REQUEST_BYTES_MAX)
