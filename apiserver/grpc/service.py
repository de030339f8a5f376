"""The Resources service: one method a verb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from api.errors import ApiError
from apiserver.app import Api
from apiserver.grpc import calls, status, watch, write
from apiserver.grpc.relayed import Relay, RelayedList
from apiserver.request import Answer, Call, RequestInfo
from apiserver.verbs.list import ListAnswer
from proto.steersman.v1 import resources_pb2 as pb

SERVICE: Final = "steersman.v1.Resources"
CHUNK_BYTES: Final = 1024 * 1024
"""A list's chunk is sent when it has grown to this."""

Context = grpc.aio.ServicerContext[Any, Any]


class Service:
    """The methods, over an `Api`."""

    def __init__(self, api: Api, relay: Relay | None = None) -> None:
        self._api = api
        self._relay = relay
        """Asks other servers about the groups that they have."""

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to add to a server. Watch's answers are bytes already."""
        unary, encode = grpc.unary_unary_rpc_method_handler, pb.Object.SerializeToString
        methods: dict[str, Any] = {
            "Get": unary(self._unary(self._get), pb.GetRequest.FromString, encode),
            "Create": unary(self._unary(calls.create_call), pb.CreateRequest.FromString, encode),
            "Update": unary(self._unary(calls.update_call), pb.UpdateRequest.FromString, encode),
            "Patch": unary(self._unary(calls.patch_call), pb.PatchRequest.FromString, encode),
            "Delete": unary(self._unary(calls.delete_call), pb.DeleteRequest.FromString, encode),
            "List": grpc.unary_stream_rpc_method_handler(
                self._list, pb.ListRequest.FromString, pb.ListChunk.SerializeToString
            ),
            "Discover": grpc.unary_unary_rpc_method_handler(
                self._discover, pb.DiscoverRequest.FromString, pb.Discovered.SerializeToString
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, pb.WatchCommand.FromString, None),
            "Write": grpc.stream_stream_rpc_method_handler(
                self._write, pb.WriteBatch.FromString, pb.WriteResults.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _unary(self, to_call: Callable[[Any, Any], Call]) -> Callable[[Any, Context], Awaitable[pb.Object]]:
        async def handle(request: Any, context: Context) -> pb.Object:
            try:
                call = to_call(request, calls.credentials_of(context))
                call.remote = calls.remote_of(context)
                call.traceparent = calls.traceparent_of(context)
                answer: Answer = await self._handle(call)
            except ApiError as error:
                await status.abort(context, error)
                raise AssertionError("abort raises") from error
            return pb.Object(json=answer.json, resource_version=answer.resource_version)

        return handle

    async def _handle(self, call: Call) -> Any:
        if self._relay is not None:
            self._relay.prepare(call)
        return await self._api.handle(call)

    @staticmethod
    def _get(request: pb.GetRequest, credentials: Any) -> Call:
        call = calls.call_of("get", request, credentials, resourceVersion=request.resource_version)
        call.options = {**request.options, **call.options}
        return call

    async def _discover(self, request: pb.DiscoverRequest, context: Context) -> pb.Discovered:
        async def find(call: Call) -> pb.Discovered:
            return self._relay.discovered() if self._relay is not None else pb.Discovered()

        info = RequestInfo("get", "/apis")  # What may be learned here may be learned there.
        call = Call(info, credentials=calls.credentials_of(context), handler=find, remote=calls.remote_of(context))
        try:
            found: pb.Discovered = await self._api.handle(call)
        except ApiError as error:
            await status.abort(context, error)
            raise AssertionError("abort raises") from error
        return found

    async def _list(self, request: pb.ListRequest, context: Context) -> AsyncIterator[pb.ListChunk]:
        call = calls.call_of(
            "list",
            request,
            calls.credentials_of(context),
            labelSelector=request.label_selector,
            fieldSelector=request.field_selector,
            resourceVersion=request.resource_version,
            remote=calls.remote_of(context),
        )
        call.traceparent = calls.traceparent_of(context)
        try:
            answer: ListAnswer | RelayedList = await self._handle(call)
        except ApiError as error:
            await status.abort(context, error)
            return
        chunk, size = pb.ListChunk(resource_version=str(answer.revision)), 0
        for stored in answer.items:
            chunk.items.append(pb.Object(json=stored.json, resource_version=str(stored.revision)))
            size += len(stored.json)
            if size >= CHUNK_BYTES:
                yield chunk
                chunk, size = pb.ListChunk(), 0
        if chunk.items or chunk.resource_version:
            yield chunk

    async def _watch(self, commands: AsyncIterator[pb.WatchCommand], context: Context) -> AsyncIterator[bytes]:
        async for batch in watch.serve(self._handle, commands, context):
            yield batch

    async def _write(self, batches: AsyncIterator[pb.WriteBatch], context: Context) -> AsyncIterator[pb.WriteResults]:
        credentials, remote = calls.credentials_of(context), calls.remote_of(context)
        pending: asyncio.Queue[asyncio.Task[pb.WriteResults] | None] = asyncio.Queue(write.BATCHES_IN_FLIGHT_MAX)

        async def read() -> None:
            try:
                async for batch in batches:
                    await pending.put(asyncio.create_task(write.apply(self._api, batch, credentials, remote)))
            finally:
                await pending.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await pending.get()) is not None:
                yield await task
        finally:
            reader.cancel()
            while not pending.empty():
                unsent = pending.get_nowait()
                if unsent is not None:
                    unsent.cancel()
