"""The client port: every service on one gRPC server, and who may come in.

A method is a plain coroutine from request to response; `unary` and `stream` wrap it with what all share: the client's
certificate must name one of those admitted, and exceptions become etcd's statuses. Methods of etcd's that are not
served answer UNIMPLEMENTED with a sentence, never silence.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from component.serve import Identity, grpc_server
from proto.etcd import rpc_pb2
from store.replica import Replica
from store.serve.errors import NotServed, status_of

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any], Awaitable[Any]]
Stream = Callable[[AsyncIterator[Any], Context], Awaitable[None]]
ServerStream = Callable[[Any, Context], Awaitable[None]]


def _serialize(response: Any) -> bytes:
    return response if isinstance(response, bytes) else bytes(response.SerializeToString())


class Door:
    """Admits clients by the common name of their certificate."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed

    async def admit(self, context: Context) -> None:
        """Abort the call unless its client is one of those allowed."""
        names = {name.decode(errors="replace") for name in context.auth_context().get("x509_common_name", ())}
        if not names & self._allowed:
            shown = ", ".join(sorted(names)) or "no name"
            admitted = ", ".join(sorted(self._allowed))
            message = f"certificate of {shown} is not admitted to this store; admitted are: {admitted}"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, message)


class Services:
    """Collects method handlers, then binds them all to a port."""

    def __init__(self, allowed_clients: frozenset[str], calls: Counter[tuple[str, str, str]]) -> None:
        """Admit the clients named; count in `calls` what was answered, by service, method and code."""
        self._door = Door(allowed_clients)
        self._calls = calls
        self._handlers: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add(
        self,
        service: str,
        unary: Mapping[str, tuple[Unary, Any]],
        streams: Mapping[str, tuple[Stream, Any]] | None = None,
        server_streams: Mapping[str, tuple[ServerStream, Any]] | None = None,
    ) -> None:
        """Add methods of `service`, each with the class of its request.

        A `unary` method takes a request and returns the response; a `streams` method takes the stream of requests and
        writes responses to its context; a `server_streams` one takes a request and writes to its context.
        """
        handlers = self._handlers.setdefault(service, {})
        for name, (method, request_class) in unary.items():
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                self._unary(method, service, name), request_class.FromString, _serialize
            )
        for name, (stream, request_class) in (streams or {}).items():
            handlers[name] = grpc.stream_stream_rpc_method_handler(
                self._stream(stream, service, name), request_class.FromString, _serialize
            )
        for name, (server_stream, request_class) in (server_streams or {}).items():
            handlers[name] = grpc.unary_stream_rpc_method_handler(
                self._stream(server_stream, service, name), request_class.FromString, _serialize
            )

    def add_unserved(self, reasons: Mapping[str, str]) -> None:
        """Have every etcd method that was not added answer UNIMPLEMENTED, by service with a reason."""
        for descriptor in rpc_pb2.DESCRIPTOR.services_by_name.values():
            handlers = self._handlers.setdefault(descriptor.full_name, {})
            for method in descriptor.methods:
                if method.name not in handlers:
                    reason = reasons.get(descriptor.name, "this store does not serve it yet")
                    message = f"etcdserver: {reason} ({descriptor.name}.{method.name})"
                    handlers[method.name] = _unserved(message, streams_back=method.server_streaming)

    async def start(self, address: str, identity: Identity) -> grpc.aio.Server:
        """Listen on `address` (host:port) for clients with certificates.

        Raises:
            OSError: the port is taken.
        """
        # etcd's clients take, and expect, a range of any size in one message.
        server, credentials = grpc_server(identity, send_bytes_max=-1)
        for name, handlers in self._handlers.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        try:
            server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"can't listen on {address}: {error}") from None
        await server.start()
        return server

    def _unary(self, method: Unary, service: str, name: str) -> Callable[[Any, Context], Awaitable[Any]]:
        calls, answered = self._calls, (service, name, "OK")

        async def call(request: Any, context: Context) -> Any:
            await self._door.admit(context)
            try:
                response = await method(request)
            except Exception as error:
                calls[service, name, _code_name(error)] += 1
                await _abort(context, error)
                return None
            calls[answered] += 1
            return response

        return call

    def _stream(
        self, stream: Stream | ServerStream, service: str, name: str
    ) -> Callable[[Any, Context], Awaitable[None]]:
        calls, answered = self._calls, (service, name, "OK")

        async def call(requests: Any, context: Context) -> None:
            await self._door.admit(context)
            try:
                await stream(requests, context)
            except Exception as error:
                calls[service, name, _code_name(error)] += 1
                await _abort(context, error)
            else:
                calls[answered] += 1

        return call


def _code_name(error: Exception) -> str:
    """Return the code that `error` is answered with, as Prometheus' users of gRPC spell it: OutOfRange."""
    known = status_of(error)
    return "Internal" if known is None else "".join(word.capitalize() for word in known[0].name.split("_"))


async def _abort(context: Context, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    known = status_of(error)
    if known is None:
        log.error("request failed", exc_info=error)
        known = (grpc.StatusCode.INTERNAL, f"store: {type(error).__name__}: {error}")
    await context.abort(*known)


def _unserved(message: str, *, streams_back: bool) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_: Any, context: Context) -> None:
        await _abort(context, NotServed(message))

    if streams_back:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)


def client_services(replica: Replica, allowed_clients: frozenset[str], progress_s: float) -> Services:
    """Return every service of the client port."""
    from store.serve import cluster, election, health, kv, lease, lock, maintenance, pipeline, watch

    services = Services(allowed_clients, replica.counts.calls)
    kv.add_to(services, replica)
    watch.add_to(services, replica, progress_s)
    lease.add_to(services, replica)
    cluster.add_to(services, replica)
    maintenance.add_to(services, replica)
    lock.add_to(services, replica)
    election.add_to(services, replica)
    pipeline.add_to(services, replica)
    health.add_to(services, replica)
    services.add_unserved(
        {
            "Auth": "authentication is by certificates here",
            "Maintenance": "there is no older version of this store to downgrade to",
        }
    )
    return services
