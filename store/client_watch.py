"""A watch of etcd's API, followed from one member to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from component import tracing
from proto.etcd import kv_pb2, rpc_pb2
from store import wire
from store.endpoints import Endpoint, Endpoints
from store.face import Unavailable, WatchBatch
from store.failures import error_of, is_own_cancellation, serialize
from store.mvcc.revision import Compacted, Revision

WRITE_WITHIN_S = 2.0
"""A member that has not taken a watch's request in so long is left for another."""


class ClientWatch:
    """A watch over gRPC; see `Watch`."""

    def __init__(self, endpoints: Endpoints, create: rpc_pb2.WatchCreateRequest) -> None:
        self._endpoints = endpoints
        self._endpoint: Endpoint | None = None
        self._create = create
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._writer: asyncio.Future[None] | None = None
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[WatchBatch]:
        """Yield batches until closed."""
        pieces: list[kv_pb2.Event] = []
        try:
            await self._send()
            async for response in self._call:
                if response.canceled:
                    if response.compact_revision:
                        raise Compacted(response.compact_revision)
                    raise Unavailable(f"the store ended the watch: {response.cancel_reason or 'no reason given'}")
                if response.created:
                    continue
                for cause in response.causes:
                    tracing.causes.note(cause.revision, cause.traceparent)
                pieces.extend(response.events)
                if response.fragment:
                    continue
                events = tuple(map(wire.event_from, pieces))
                pieces.clear()
                revision = events[-1].kv.mod_revision if events else response.header.revision
                yield WatchBatch(events, Revision(revision))
        except grpc.aio.AioRpcError as error:
            raise error_of(error.code(), error.details() or "") from None
        except asyncio.CancelledError:
            if is_own_cancellation():
                raise
            # Only the stream was cancelled: by `close`, or because its member was left for another.
            if not self._is_closed:
                raise Unavailable("the store's member was left for another") from None
        finally:
            if self._endpoint is not None:
                self._endpoint.streams.discard(self._call)
        if not self._is_closed:
            raise Unavailable("the store ended the watch")

    async def request_progress(self) -> None:
        """Ask for a notice soon; the iteration must have begun or begin."""
        await self._send(rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest()))

    async def close(self) -> None:
        """End the watch."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> ClientWatch:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def _send(self, *requests: rpc_pb2.WatchRequest) -> None:
        async with self._writing:
            if self._call is None:
                # First of all the watch itself: progress asked of a stream without one is answered at once, with a
                # revision whose events are still to come.
                requests = (rpc_pb2.WatchRequest(create_request=self._create), *requests)
                self._endpoint = self._endpoints.current
                open_stream = self._endpoint.channel.stream_stream(
                    "/etcdserverpb.Watch/Watch", serialize, rpc_pb2.WatchResponse.FromString
                )
                self._call = open_stream()
                self._call.add_done_callback(self._stop_writing)
                self._endpoint.streams.add(self._call)
            try:
                async with asyncio.timeout(WRITE_WITHIN_S):
                    for request in requests:
                        self._writer = asyncio.ensure_future(self._call.write(request))
                        await self._writer
            except TimeoutError:
                self._call.cancel()
                if self._endpoint is not None:
                    self._endpoints.leave(self._endpoint)
                raise Unavailable("the store's member takes no requests") from None
            except grpc.aio.AioRpcError as error:
                raise error_of(error.code(), error.details() or "") from None
            except (grpc.aio.UsageError, asyncio.InvalidStateError):
                raise Unavailable("the store ended the watch") from None
            except asyncio.CancelledError:
                if is_own_cancellation():
                    raise
                if self._call.done() and (code := await self._call.code()) is not grpc.StatusCode.CANCELLED:
                    # The call ended before the request was out, and says why: refused, for one.
                    raise error_of(code, await self._call.details() or "") from None
                raise Unavailable("the store's member was left for another") from None

    def _stop_writing(self, _: object) -> None:
        """Let go of who writes: a call that is cancelled before it is connected never does (grpc.aio 1.85)."""
        if self._writer is not None:
            self._writer.cancel()
