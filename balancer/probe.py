"""Asks an API server how it is doing, again and again, over one connection that is kept open."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from balancer.backends import Backend, Health

EVERY_S: Final = 0.5
ANSWER_WITHIN_S: Final = 1.0
SERVER_NAME: Final = "kubernetes"
"""The name every API server's certificate carries, whatever address was dialled."""
BODY_BYTES_MAX: Final = 65536
_REQUEST: Final = b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nUser-Agent: steer-balancer\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Probe:
    """Follows one API server; `ask` returns what it finds."""

    def __init__(self, backend: Backend, tls: ssl.SSLContext) -> None:
        self._backend = backend
        self._tls = tls
        self._streams: Streams | None = None

    async def ask(self) -> tuple[Health, str]:
        """Return how it is doing, and what is wrong if something is."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                status, body = await self._get()
        except TimeoutError:
            self.close()
            return Health.DOWN, f"no answer within {ANSWER_WITHIN_S:g} s"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            return Health.DOWN, str(error) or type(error).__name__
        if status == 200:
            return Health.READY, ""
        failed = [line for line in body.splitlines() if line.startswith("[-]")]
        return Health.UNREADY, "; ".join(failed) or f"/readyz answers {status}"

    def close(self) -> None:
        """Let go of the connection; the next question makes another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _get(self) -> tuple[int, str]:
        if self._streams is None:
            backend = self._backend
            self._streams = await asyncio.open_connection(
                backend.host, backend.port, ssl=self._tls, server_hostname=SERVER_NAME
            )
        reader, writer = self._streams
        writer.write(_REQUEST)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *fields = head.split("\r\n")
        length = 0
        for field in fields:
            name, _, value = field.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if length > BODY_BYTES_MAX:
            raise ValueError(f"/readyz answers {length} bytes")
        body = (await reader.readexactly(length)).decode(errors="replace")
        if "connection: close" in head.lower():
            with contextlib.suppress(OSError):
                self.close()
        return int(status_line.split(" ")[1]), body
