"""The plain HTTP port each process has: /healthz, /livez, /readyz and /metrics.

A check is a callable returning None when well, or a sentence saying what is wrong. `/readyz?verbose`
lists each by name, as upstream's processes do. Bodies of requests are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import REGISTRY, generate_latest

Check = Callable[[], str | None]


def ok() -> str | None:
    """Answer the check that is always well: the process runs its loop."""
    return None


def routes(ready: Mapping[str, Check], live: Mapping[str, Check] | None = None) -> list[web.RouteDef]:
    """Return the health and metrics routes, to be added to any aiohttp application."""
    live_checks = {"ping": ok, **(live or {})}

    def respond(request: web.Request, checks: Mapping[str, Check]) -> web.Response:
        lines, failed = [], False
        for name, check in checks.items():
            problem = check()
            failed = failed or problem is not None
            lines.append(f"[+]{name} ok" if problem is None else f"[-]{name} failed: {problem}")
        if not failed and "verbose" not in request.query:
            return web.Response(text="ok")
        verdict = "check failed" if failed else "check passed"
        return web.Response(
            text="\n".join([*lines, f"{request.path[1:]} {verdict}", ""]), status=500 if failed else 200
        )

    async def livez(request: web.Request) -> web.Response:
        return respond(request, live_checks)

    async def readyz(request: web.Request) -> web.Response:
        return respond(request, {**live_checks, **ready})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": "text/plain; version=0.0.4"})

    return [
        web.get("/healthz", livez),
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/metrics", metrics),
    ]


async def serve(
    host: str, port: int, ready: Mapping[str, Check], live: Mapping[str, Check] | None = None
) -> web.AppRunner:
    """Listen on host:port until the returned runner's `cleanup()`; port 0 takes any free one.

    Raises:
        OSError: the port is taken; the message names it.
    """
    app = web.Application(client_max_size=1024)
    app.add_routes(routes(ready, live))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
