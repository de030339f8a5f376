"""`client.verbs.Transport` over gRPC: the component API of one or more apiservers.

Plain calls are unary, with a deadline. All watches of a process share one bidirectional stream, and small frequent
writes (leases, pod and node status, events) share another in batches: a gRPC message costs 100 µs of CPU, an item in a
batch a few. A broken connection ends every watch with ServiceUnavailable (the reflector watches again from where it
was) and every write under way with an unknown outcome.

Of several apiservers, all are connected to and take turns. One that is gone or hung is found out within 1.5 s; one that
says that it cannot serve (its store has no quorum) is passed over while another can. When none can, whichever is there
is asked: it still answers from its cache, and says why it does no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json as json_module
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from api.errors import ApiError, InternalError, NotReached, ServiceUnavailable, Timeout, Unauthorized, from_status
from client.verbs import Address, EventType, RawEvent, RawList, RawObject, ServedKind, ServedVersion
from component import tracing
from component.expiry import EndWatch
from component.metrics import Spread, Tally, shared
from component.serve import PATIENT, PROMPT, Identity, grpc_channel
from proto.steersman.v1 import resources_pb2 as pb
from proto.steersman.v1 import resources_pb2_grpc as rpc

log = logging.getLogger(__name__)

DEADLINE_S: Final = 30.0
_DURATION_BOUNDS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
SERVER_NAME: Final = "kubernetes"
"""The name every apiserver's certificate carries, whatever address was dialled."""
BATCH_WRITES_MAX: Final = 256
OLD_CONNECTION_S: Final = 2.0
"""How long requests under way may take when a renewed certificate calls for new connections."""
PENDING_EVENTS_MAX: Final = 100_000
"""A watch whose reader lets more than this pile up is ended; its reader lists again."""
_WRITE_VERBS: Final = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
REQUESTS: Final = shared(
    Tally("rest_client_requests_total", "Requests to the API server, by outcome.", ("code", "host", "method"))
)
DURATIONS: Final = shared(
    Spread("rest_client_request_duration_seconds", "How long they took.", ("host", "verb"), _DURATION_BOUNDS)
)
_TRAILER: Final = "steersman-status-bin"
_TYPES: Final = (EventType.ADDED, EventType.MODIFIED, EventType.DELETED, EventType.BOOKMARK)
"""By pb.WatchEvent.Type."""


class GrpcTransport:
    """Moves requests to an apiserver. Made and used on one event loop.

    Args:
        endpoints: host:port of each apiserver's component API.
        identity: our certificate and key, and the cluster's CA.
        server_name: the name that the servers' certificates carry.
    """

    def __init__(self, endpoints: Sequence[str], identity: Identity, *, server_name: str = SERVER_NAME) -> None:
        self._endpoints, self._identity, self._server_name = endpoints, identity, server_name
        self._closing: set[asyncio.Task[None]] = set()
        self._watches: _WatchStream | None = None
        self._writes: _WriteStream | None = None
        self._connect()

    def _connect(self) -> None:
        self._certificate = _version_of(self._identity.cert)
        self._end = EndWatch(self._identity.cert)

        def channel(*, only_serving: bool) -> grpc.aio.Channel:
            return grpc_channel(
                self._endpoints,
                self._identity,
                server_name=self._server_name,
                # Who has nobody else to turn to gains nothing by giving up soon on one that is only slow.
                vigilance=PROMPT if len(self._endpoints) > 1 else PATIENT,
                only_serving=only_serving,
            )

        self._channels = [channel(only_serving=True)]
        if len(self._endpoints) > 1:
            self._channels.append(channel(only_serving=False))
        # The generated stub carries no types.
        self._stubs: list[Any] = [rpc.ResourcesStub(channel) for channel in self._channels]  # type: ignore[no-untyped-call]

    def _follow_certificate(self) -> None:
        """Connect anew if our certificate was renewed; what is under way on the old connections may end in peace.

        gRPC reads a certificate once a channel. Watches are cut off with their connection, and resume on the new one.
        """
        version = _version_of(self._identity.cert)
        if version == self._certificate:
            self._end.look()
            return
        old = self._channels
        try:
            self._connect()
        except (OSError, ValueError) as error:
            log.warning("the renewed certificate cannot be used", extra={"file": self._identity.cert, "why": error})
            self._certificate = version  # looked at again when it changes again
            return
        log.info("our certificate was renewed: connecting with it", extra={"file": self._identity.cert})
        for stream in (self._watches, self._writes):
            if stream is not None:
                stream.is_usable = False
        for channel in old:
            task = asyncio.get_running_loop().create_task(channel.close(OLD_CONNECTION_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    @property
    def _stub(self) -> Any:
        """The apiservers that can serve or, where none can, any of them."""
        self._follow_certificate()
        no_server_can = self._channels[0].get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return self._stubs[-1 if no_server_can else 0]

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject:
        """Return the object."""
        request = pb.GetRequest(**_where(address), options=options)
        return _raw(await _called(self._stub.Get(request, timeout=DEADLINE_S, metadata=tracing.metadata()), "GET"))

    async def list(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> RawList:
        """Return all that match, put together from chunks."""
        request = pb.ListRequest(
            resource=_resource(address),
            namespace=address.namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )
        items: list[RawObject] = []
        version, code, began = "", "200", time.monotonic()
        try:
            async for chunk in self._stub.List(request, timeout=DEADLINE_S, metadata=tracing.metadata()):
                version = version or chunk.resource_version
                items += [RawObject(item.json, item.resource_version) for item in chunk.items]
        except grpc.aio.AioRpcError as error:
            failure = _api_error(error)
            code = str(failure.code)
            raise failure from error
        finally:
            _count("GET", code, began)
        if not version:
            raise ServiceUnavailable("the list ended before it began")
        return RawList(items, version)

    async def create(self, address: Address, json: bytes) -> RawObject:
        """Create an object, or POST to a subresource."""
        request = pb.CreateRequest(**_where(address), json=json)
        if _is_small(address):
            return await self._write(pb.Write(create=request))
        return _raw(await _called(self._stub.Create(request, timeout=DEADLINE_S, metadata=tracing.metadata()), "POST"))

    async def update(self, address: Address, json: bytes) -> RawObject:
        """Replace an object."""
        request = pb.UpdateRequest(**_where(address), json=json)
        if _is_small(address):
            return await self._write(pb.Write(update=request))
        return _raw(await _called(self._stub.Update(request, timeout=DEADLINE_S, metadata=tracing.metadata()), "PUT"))

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        """Patch an object."""
        request = pb.PatchRequest(**_where(address), content_type=content_type, patch=patch)
        if _is_small(address):
            return await self._write(pb.Write(patch=request))
        return _raw(await _called(self._stub.Patch(request, timeout=DEADLINE_S, metadata=tracing.metadata()), "PATCH"))

    async def delete(self, address: Address, options: bytes) -> RawObject:
        """Delete an object."""
        request = pb.DeleteRequest(
            resource=_resource(address), namespace=address.namespace, name=address.name, options=options
        )
        return _raw(
            await _called(self._stub.Delete(request, timeout=DEADLINE_S, metadata=tracing.metadata()), "DELETE")
        )

    async def watch(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> AsyncIterator[Sequence[RawEvent]]:
        """Yield batches of events; ends by raising (Expired, ServiceUnavailable) or by being closed."""
        if self._watches is None or not self._watches.is_usable:
            self._watches = _WatchStream(self._stub.Watch())
        add = pb.WatchAdd(
            resource=_resource(address),
            namespace=address.namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
        )
        stream = self._watches
        watch = stream.add(add)
        try:
            while True:
                yield await watch.next()
        finally:
            stream.remove(add.watch)

    async def discover(self) -> Sequence[ServedVersion]:
        """Ask what other servers serve."""
        asked = self._stub.Discover(pb.DiscoverRequest(), timeout=DEADLINE_S, metadata=tracing.metadata())
        found: pb.Discovered = await _called(asked, "GET")
        return [
            ServedVersion(
                each.group,
                each.version,
                each.is_stale,
                tuple(ServedKind(one.plural, one.kind, one.namespaced, tuple(one.verbs)) for one in each.kinds),
            )
            for each in found.versions
        ]

    async def close(self) -> None:
        """End every stream and close the connection."""
        for stream in (self._watches, self._writes):
            if stream is not None:
                await stream.close()
        for channel in self._channels:
            await channel.close()
        await asyncio.gather(*self._closing)

    async def _write(self, write: pb.Write) -> RawObject:
        self._follow_certificate()
        if self._writes is None or not self._writes.is_usable:
            self._writes = _WriteStream(self._stub.Write())
        verb, code, began = _WRITE_VERBS[write.WhichOneof("write")], "200", time.monotonic()
        try:
            return await self._writes.write(write)
        except ApiError as error:
            code = str(error.code)
            raise
        finally:
            _count(verb, code, began)


class _Watch:
    """One watch's events, between the stream that brings them and the reader that takes them."""

    def __init__(self) -> None:
        self._batches: deque[list[RawEvent]] = deque()
        self._count = 0
        self._error: ApiError | None = None
        self._wake = asyncio.Event()

    def put(self, events: list[RawEvent]) -> bool:
        """Add events; return whether there was room."""
        self._batches.append(events)
        self._count += len(events)
        self._wake.set()
        return self._count <= PENDING_EVENTS_MAX

    def fail(self, error: ApiError) -> None:
        """End the watch once its reader has taken what came before."""
        if self._error is None:
            self._error = error
        self._wake.set()

    async def next(self) -> Sequence[RawEvent]:
        """Return everything that has come, as one batch; raises how the watch ended."""
        while not self._batches:
            if self._error is not None:
                raise self._error
            self._wake.clear()
            await self._wake.wait()
        events = self._batches.popleft()
        while self._batches:
            events += self._batches.popleft()
        self._count = 0
        return events


class _WatchStream:
    """The one Watch stream, and who reads what of it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._watches: dict[int, _Watch] = {}
        self._numbers = itertools.count(1)
        self._outgoing: asyncio.Queue[pb.WatchCommand] = asyncio.Queue()
        self._is_broken = False
        self.is_usable = True
        """Whether new watches may go by it: not once its server has said that it cannot serve."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send()), loop.create_task(self._receive())]

    def add(self, add: pb.WatchAdd) -> _Watch:
        """Start a watch; sets `add.watch`."""
        add.watch = next(self._numbers)
        watch = self._watches[add.watch] = _Watch()
        self._outgoing.put_nowait(pb.WatchCommand(add=add))
        return watch

    def remove(self, number: int) -> None:
        """End a watch; safe when it has ended."""
        if self._watches.pop(number, None) is not None and not self._is_broken:
            self._outgoing.put_nowait(pb.WatchCommand(remove=pb.WatchRemove(watch=number)))
        if not self.is_usable and not self._watches:
            self._call.cancel()

    async def close(self) -> None:
        """End the stream."""
        self._break(ServiceUnavailable("the connection is closed"))
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        # A failed write is told by _receive, too, and with the reason.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._call.write(await self._outgoing.get())

    async def _receive(self) -> None:
        error: ApiError = ServiceUnavailable("the server ended the watch stream")
        try:
            async for batch in self._call:
                self._deliver(batch)
        except grpc.aio.AioRpcError as failure:
            error = _api_error(failure)
        except Exception as failure:
            log.exception("the watch stream failed")
            error = InternalError(f"the watch stream failed: {failure}")
        finally:
            self._break(error)
            self._tasks[0].cancel()

    def _deliver(self, batch: pb.WatchBatch) -> None:
        watch = self._watches.get(batch.watch)
        if watch is None:
            return
        if batch.events:
            events = [RawEvent(_TYPES[event.type], event.json, event.resource_version) for event in batch.events]
            if tracing.is_on():
                for event in batch.events:
                    if event.traceparent:
                        tracing.causes.note(int(event.resource_version), event.traceparent)
            if not watch.put(events):
                self.remove(batch.watch)
                watch.fail(ServiceUnavailable("the watch's reader fell too far behind"))
        if batch.status:
            self._watches.pop(batch.watch, None)
            error = from_status(json_module.loads(batch.status))
            if isinstance(error, ServiceUnavailable):
                self.is_usable = False  # another server may be able to
            watch.fail(error)

    def _break(self, error: ApiError) -> None:
        self._is_broken = True
        self.is_usable = False
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.fail(error)


class _WriteStream:
    """The one Write stream: what is waiting goes out together, and results come back in the same order."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._waiting: deque[tuple[pb.Write, asyncio.Future[RawObject]]] = deque()
        self._sent: deque[asyncio.Future[RawObject]] = deque()
        self._wake = asyncio.Event()
        self.is_usable = True
        """Whether new writes may go by it: not once its server has said that it cannot serve."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send()), loop.create_task(self._receive())]

    async def write(self, write: pb.Write) -> RawObject:
        """Do one write; raises Timeout or ServiceUnavailable when its outcome is not known."""
        future: asyncio.Future[RawObject] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        self._wake.set()
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await future
        except TimeoutError:
            raise Timeout(f"no answer from the server after {DEADLINE_S:.0f} s; the outcome is not known") from None

    async def close(self) -> None:
        """End the stream."""
        self._break(ServiceUnavailable("the connection is closed"))
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    batch = pb.WriteBatch()
                    while self._waiting and len(batch.writes) < BATCH_WRITES_MAX:
                        write, future = self._waiting.popleft()
                        if future.done():
                            continue  # Its caller gave up before it was sent.
                        batch.writes.append(write)
                        self._sent.append(future)
                    if batch.writes:
                        await self._call.write(batch)

    async def _receive(self) -> None:
        error: ApiError = ServiceUnavailable("the server ended the write stream; the outcome is not known")
        try:
            async for results in self._call:
                for result in results.results:
                    self._settle(self._sent.popleft(), result)
                if not self.is_usable and not self._sent and not self._waiting:
                    self._call.cancel()
                    return
        except grpc.aio.AioRpcError as failure:
            error = _api_error(failure)
        except Exception as failure:
            log.exception("the write stream failed")
            error = InternalError(f"the write stream failed: {failure}")
        finally:
            self._break(error)
            self._tasks[0].cancel()

    def _settle(self, future: asyncio.Future[RawObject], result: pb.WriteResult) -> None:
        error = from_status(json_module.loads(result.status)) if result.status else None
        if isinstance(error, ServiceUnavailable):
            self.is_usable = False  # another server may be able to
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(_raw(result.object))

    def _break(self, error: ApiError) -> None:
        self.is_usable = False
        unsettled = [*self._sent, *(future for _, future in self._waiting)]
        self._sent.clear()
        self._waiting.clear()
        for future in unsettled:
            if not future.done():
                future.set_exception(error)


def _version_of(certificate: Path) -> int:
    """Return what changes when a certificate is replaced; 0 while there is none."""
    try:
        return certificate.stat().st_mtime_ns
    except OSError:
        return 0


def _is_small(address: Address) -> bool:
    """Whether a write is of the kind that comes often and is little: it goes by the batched stream."""
    if tracing.is_on():
        return False  # of what shares a message, no part can say which step it belongs to
    if address.plural in ("leases", "events"):
        return True
    return address.subresource == "status" and address.plural in ("pods", "nodes")


def _resource(address: Address) -> pb.Resource:
    return pb.Resource(group=address.group, version=address.version, plural=address.plural)


def _where(address: Address) -> dict[str, Any]:
    """Return the fields that name an object, or a subresource of it, in a request."""
    return {
        "resource": _resource(address),
        "namespace": address.namespace,
        "name": address.name,
        "subresource": address.subresource,
    }


def _raw(answer: pb.Object) -> RawObject:
    return RawObject(answer.json, answer.resource_version)


async def _called(call: Awaitable[Any], verb: str) -> Any:
    began = time.monotonic()
    code = "200"
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        failure = _api_error(error)
        code = str(failure.code)
        raise failure from error
    finally:
        _count(verb, code, began)


def _count(verb: str, code: str, began: float) -> None:
    REQUESTS.add((code, SERVER_NAME, verb))
    DURATIONS.of((SERVER_NAME, verb)).observe(time.monotonic() - began)


def _api_error(error: grpc.aio.AioRpcError) -> ApiError:
    """Return what an RPC's failure means: the Status in its trailer, or what gRPC says of the connection."""
    for key, value in error.trailing_metadata() or ():
        if key == _TRAILER:
            return from_status(json_module.loads(value))
    details = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Timeout(f"no answer from the server in time; the outcome is not known: {details}")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return NotReached(f"the API server cannot be reached: {details}")
        case grpc.StatusCode.UNAUTHENTICATED:
            return Unauthorized(details)
    return InternalError(f"the API server failed: {error.code().name}: {details}")
