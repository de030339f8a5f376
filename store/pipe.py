"""The store's own `Pipeline`: many requests in a message, on one stream, and whether who has them still lives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio

from proto.steersman.v1 import store_pb2
from store.encoding import field
from store.endpoints import Endpoint
from store.face import OutcomeLost, Unavailable
from store.failures import CODES, error_of, is_own_cancellation, serialize

BATCH_REQUESTS_MAX = 512
BATCH_BYTES = 1 << 20
"""About how large one message of requests may get."""
PING_AFTER_S = 0.4
"""A member that owes answers and sends nothing for so long is asked whether it is there (if there are others)."""
SILENCE_MAX_S = 0.8
"""One that sends nothing for so long is left for another."""


class NoPipeline(Exception):
    """The server does not have Pipeline."""


class NotDone(Exception):
    """The member could not take the request, and did nothing: it has no leader."""


def checked(replies: list[store_pb2.Reply]) -> list[store_pb2.Reply]:
    """Return the replies to a request, or raise what they say went wrong."""
    last = replies[-1]
    if not last.HasField("failure"):
        return replies
    failure = last.failure
    code = CODES[failure.code]
    if code == grpc.StatusCode.UNAVAILABLE and failure.message.endswith("no leader"):
        raise NotDone(failure.message)
    if code == grpc.StatusCode.ABORTED:
        raise OutcomeLost(failure.message)
    raise error_of(code, failure.message, failure.compact_revision)


class Pipe:
    """One Pipeline stream: what is asked in one turn of the loop goes in one message."""

    def __init__(self, endpoint: Endpoint, client: int, is_watched: bool) -> None:
        """Open the stream.

        Args:
            endpoint: the member to ask.
            client: this client's number.
            is_watched: whether to give up on the member when it falls silent.
        """
        self.endpoint = endpoint
        open_stream = endpoint.channel.stream_stream(
            "/steersman.v1.Pipeline/Exchange", serialize, store_pb2.Replies.FromString
        )
        self._call: Any = open_stream()
        self._heard_at = asyncio.get_running_loop().time()
        self._signature = store_pb2.Requests(client=client).SerializeToString()
        self._queue: list[bytes] = []
        """Requests, each as a field of `Requests`."""
        self._waiting: dict[int, tuple[asyncio.Future[list[store_pb2.Reply]], list[store_pb2.Reply]]] = {}
        self._has_more = asyncio.Event()
        self._broken: Exception | None = None
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]
        if is_watched:
            self._tasks.append(asyncio.create_task(self._watch_over()))

    @property
    def is_broken(self) -> bool:
        """Whether the stream has ended; another is needed."""
        return self._broken is not None

    async def ask(self, request: store_pb2.Request) -> list[store_pb2.Reply]:
        """Send a request; return its replies, in order."""
        loop = asyncio.get_running_loop()
        if self._broken is not None:
            raise self._broken
        if not self._waiting:
            self._heard_at = loop.time()  # silence counts from when there is something to say
        future: asyncio.Future[list[store_pb2.Reply]] = loop.create_future()
        self._waiting[request.id] = (future, [])
        self._ask(request)
        try:
            return await future
        finally:
            self._waiting.pop(request.id, None)

    def abandon(self) -> None:
        """End the stream without waiting; what is unanswered ends in Unavailable."""
        self._break(Unavailable("the store's member was left for another: whether it happened is not known"))
        for task in self._tasks:
            task.cancel()

    def _ask(self, request: store_pb2.Request) -> None:
        self._queue.append(field(store_pb2.Requests.REQUESTS_FIELD_NUMBER, request.SerializeToString()))
        self._has_more.set()

    async def _watch_over(self) -> None:
        """Give up on a member that owes answers and says nothing, not even to what it need not think about."""
        loop = asyncio.get_running_loop()
        has_asked = False
        while self._broken is None:
            await asyncio.sleep(PING_AFTER_S / 4)
            silent_s = loop.time() - self._heard_at
            if not self._waiting or silent_s < PING_AFTER_S:
                has_asked = False
            elif silent_s >= SILENCE_MAX_S:
                self._break(Unavailable(f"{self.endpoint.address} is silent: whether it happened is not known"))
            elif not has_asked:
                has_asked = True
                self._ask(store_pb2.Request())

    async def close(self) -> None:
        """End the stream."""
        self._break(Unavailable("the connection to the store was closed: whether it happened is not known"))
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    async def _write(self) -> None:
        try:
            while True:
                await self._has_more.wait()
                self._has_more.clear()
                while self._queue:
                    size_bytes = taken = 0
                    for request in self._queue[:BATCH_REQUESTS_MAX]:
                        taken += 1
                        size_bytes += len(request)
                        if size_bytes >= BATCH_BYTES:
                            break
                    batch = b"".join(self._queue[:taken])
                    del self._queue[:taken]
                    await self._call.write(batch + self._signature)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return  # the reader learns why

    async def _read(self) -> None:
        error: Exception = Unavailable("the store closed the stream: whether it happened is not known")
        try:
            async for batch in self._call:
                self._heard_at = asyncio.get_running_loop().time()
                for reply in batch.replies:
                    waiting = self._waiting.get(reply.id)
                    if waiting is None:
                        continue  # given up on
                    future, replies = waiting
                    replies.append(reply)
                    if not reply.continues and not future.done():
                        future.set_result(replies)
        except grpc.aio.AioRpcError as failure:
            if failure.code() == grpc.StatusCode.UNIMPLEMENTED:
                error = NoPipeline()
            else:
                error = error_of(failure.code(), failure.details() or "")
        except asyncio.CancelledError:
            if is_own_cancellation():
                raise
            # Only the call was cancelled: its channel was closed, and nobody else tells those who wait.
        self._break(error)
        self._tasks[0].cancel()

    def _break(self, error: Exception) -> None:
        if self._broken is None:
            self._broken = error
            self._call.cancel()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(self._broken)
