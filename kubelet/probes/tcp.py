"""TCP probes: a connection that must open."""

from __future__ import annotations

import asyncio
import contextlib
import os

from kubelet.probes.streak import Result
from kubelet.probes.time_limit import TimeLimit


async def probe(host: str, port: int, timeout_s: float) -> Result:
    """Open a connection and close it."""
    try:
        async with TimeLimit(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Result(False, f"dial tcp {host}:{port}: i/o timeout")
    except OSError as error:
        return Result(False, f"dial tcp {host}:{port}: connect: {reason(error)}")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Result(True)


def reason(error: OSError) -> str:
    """Return why a connection did not open, in the kernel's words, such as `connection refused`."""
    # asyncio puts the address into the text that goes with the number.
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)).lower()
