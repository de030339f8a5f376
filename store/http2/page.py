"""A request of HTTP/2 that is not gRPC's: its body is collected, and a page is the answer. See `store.gateway`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from component.http2 import frames
from component.http2.hpack import Headers, literal
from store.http2.call import MESSAGE_BYTES_MAX
from store.http2.web import Asked, Page, Web, asked_by

if TYPE_CHECKING:
    from store.http2.connection import Connection

BODY_BYTES_MAX = 2 * MESSAGE_BYTES_MAX


class PageCall:
    """One request; to its connection, it is a call like any other."""

    __slots__ = (
        "_body", "_connection", "_fields", "_is_done", "_task", "_uncredited", "_web", "_writer",
        "deadline", "needs_leader", "queue", "stream", "trailers", "window",
    )  # fmt: skip

    def __init__(self, connection: Connection, stream: int, window: int, headers: Headers, web: Web) -> None:
        self.stream = stream
        self.window = window
        self.queue: deque[memoryview] = deque()
        self.trailers = b""
        self.deadline: float | None = None
        self.needs_leader = False
        self._connection = connection
        self._fields = dict(headers)
        self._web = web
        self._body = bytearray()
        self._uncredited = 0
        self._is_done = False
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # -- from the client

    def on_data(self, payload: bytes, has_ended: bool) -> None:
        """Take a piece of the body."""
        if self._is_done:
            return
        self._body += payload
        if len(self._body) > BODY_BYTES_MAX:
            self._finish(Page(413, "text/plain; charset=utf-8", b"the request is too large\n"))
            return
        self._uncredited += len(payload)
        if has_ended:
            self.on_end()
        elif self._uncredited >= self._connection.stream_window // 2:
            self._connection.send(frames.window_update(self.stream, self._uncredited))
            self._uncredited = 0

    def on_end(self) -> None:
        """Answer: that was the whole of it."""
        if self._task is None and not self._is_done:
            self._task = self._connection.loop.create_task(self._run())

    def on_reset(self) -> None:
        """Stop: the client wants no answer, or is gone."""
        self._release()
        self.queue.clear()
        self._connection.forget(self, has_ended=True)

    def expire(self) -> None:
        """Stop: never asked for, since there is no deadline."""
        self.stop()

    def end_leaderless(self) -> None:
        """Stop: never asked for, since nothing that comes this way asks for a leader."""
        self.stop()

    def stop(self) -> None:
        """Stop: the server does."""
        if not self._is_done:
            self._release()
            self._connection.reset(self.stream, frames.CANCEL)
            self._connection.forget(self, has_ended=True)

    def on_sent(self) -> None:
        """Go on: there is nothing left in the queue."""
        if self.trailers:
            self._connection.send(self.trailers)
            self._connection.forget(self, has_ended=True)
        elif self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    # -- to the client

    async def _run(self) -> None:
        def text(name: bytes) -> str:
            return self._fields.get(name, b"").decode("latin-1")

        path, _, query = text(b":path").partition("?")
        asked = Asked(
            text(b":method"),
            path,
            query,
            text(b"authorization"),
            self._connection.names,
            self._connection.common_name,
            bytes(self._body),
        )
        page = await asked_by(self._web, asked)
        if page.stream is not None:
            self._open(page)
            await page.stream(self._write)
            self._close()
        else:
            self._finish(page)

    def _finish(self, page: Page) -> None:
        self._open(page)
        if page.body and self._fields.get(b":method") != b"HEAD":
            self.queue.append(memoryview(page.body))
        self._close()

    def _open(self, page: Page) -> None:
        fields = literal(b":status", b"%d" % page.status) + literal(b"content-type", page.kind.encode())
        for header in page.headers:
            name, _, value = header.partition(": ")
            fields += literal(name.lower().encode(), value.encode())
        if page.stream is None:
            fields += literal(b"content-length", b"%d" % len(page.body))
        self._connection.send(frames.frame(frames.HEADERS, frames.END_HEADERS, self.stream, fields))

    async def _write(self, content: bytes) -> None:
        if self._is_done:
            raise asyncio.CancelledError
        self.queue.append(memoryview(content))
        self._connection.pump(self)
        while (self.queue or not self._connection.is_writable) and not self._is_done:
            self._connection.hold_back(self)
            self._writer = self._connection.loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def _close(self) -> None:
        self.trailers = frames.frame(frames.DATA, frames.END_STREAM, self.stream, b"")
        self._release()
        self._connection.pump(self)

    def _release(self) -> None:
        self._is_done = True
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            self._connection.cancel(task)
