"""A process of clients: told what to do, and heard, in lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from lab.bench.steer import BenchFailed

LINE_BYTES_MAX = 64 << 20
CLIENT_BOUND_SHARE = 0.85
"""A process of clients that spends so much of a core is what was measured."""


class Child:
    """One such process, `python -m module`; an async context manager that ends it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Child:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def tell(self, line: bytes = b"") -> None:
        """Send a line."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        await self._process.stdin.drain()

    async def hear(self, within_s: float = 120.0) -> bytes:
        """Return the next line it prints.

        Raises:
            BenchFailed: it ended, says what failed, or says nothing in time.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchFailed(f"{self._module} says nothing") from None
        if not line or line.startswith(b'{"error"'):
            raise BenchFailed(f"{self._module} failed: {line.decode().strip() or 'see above'}")
        return line
