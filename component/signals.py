"""Orderly stop: run a process until SIGTERM or SIGINT, then cancel it and wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from component import notify

log = logging.getLogger(__name__)


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run `main` on uvloop until it ends or a stop signal cancels it; return the exit code.

    `main` gets CancelledError on SIGTERM and SIGINT and should release what it holds. A second signal
    is the system's default (the process ends at once). An exception from `main` is logged, and gives 1;
    SystemExit gives its code.
    """
    import uvloop

    async def supervise() -> int:
        loop = asyncio.get_running_loop()
        task = loop.create_task(main)

        def stop(received: signal.Signals) -> None:
            log.info("stopping", extra={"signal": received.name})
            notify.send("STOPPING=1")
            loop.remove_signal_handler(received)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        with contextlib.suppress(asyncio.CancelledError):
            await task
            return 0
        return 0

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(supervise())
    except SystemExit as stop:  # whoever raised it has said why
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        log.exception("stopped by an error")
        return 1


async def work_on(working: asyncio.Task[Any], lame_duck_s: float, leaving: asyncio.Event) -> None:
    """Wait for `working`; when told to stop, set `leaving` and let it go on for `lame_duck_s` before that is obeyed.

    For a server that clients find by its readiness: they go elsewhere once it says it is not ready any more, and find
    it answering until they do.

    Raises:
        CancelledError: it was told to stop, and the time is over.
    """
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        leaving.set()
        if lame_duck_s and not working.done():
            log.info("answering on before stopping", extra={"seconds": lame_duck_s})
            await asyncio.wait([working], timeout=lame_duck_s)
        raise
