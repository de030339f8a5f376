"""The client port: every service on one gRPC server, and who may come in.

A method is a plain coroutine from request to response, or writes its responses to a context; its exceptions become
etcd's statuses. The client's certificate must name one of those admitted. Methods of etcd's that are not served answer
UNIMPLEMENTED with a sentence, never silence. HTTP/2 and gRPC themselves are in `store.http2`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal

from component.serve import Identity
from proto.etcd import rpc_pb2
from store import counts
from store.http2.call import Call as Context
from store.http2.call import Code, Method, StatusOf
from store.http2.server import Server
from store.http2.web import Web
from store.replica import Replica
from store.serve.errors import NotServed, status_or_internal

Unary = Callable[[Any], Awaitable[Any]]
Stream = Callable[[AsyncIterator[Any], Context], Awaitable[None]]
ServerStream = Callable[[Any, Context], Awaitable[None]]

MakeWeb = Callable[[Mapping[str, Method], StatusOf], Web]
"""Makes what answers plain HTTP of the methods by path, and how what they raise ends."""
ANYBODY = "*"
"""Among the clients allowed: whoever has a certificate at all."""

_TYPES = {"unary": "unary", "server-stream": "server_stream", "stream": "bidi_stream"}
"""As metrics of gRPC name the shapes of calls."""

__all__ = ["Context", "Services", "client_services"]


class Services:
    """Collects methods, then binds them all to a port."""

    def __init__(
        self,
        allowed_clients: frozenset[str],
        has_leader: Callable[[], bool] = lambda: True,
    ) -> None:
        """Admit the clients named.

        `has_leader` is asked for calls whose client wants them to fail where there is no leader.
        """
        self._has_leader = has_leader
        self._allowed = allowed_clients
        self._methods: dict[str, Method] = {}

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
        for name, (method, request_class) in unary.items():
            self._add("unary", service, name, method, request_class.FromString)
        for name, (stream, request_class) in (streams or {}).items():
            self._add("stream", service, name, stream, request_class.FromString)
        for name, (server_stream, request_class) in (server_streams or {}).items():
            self._add("server-stream", service, name, server_stream, request_class.FromString)

    def add_unserved(self, reasons: Mapping[str, str]) -> None:
        """Have every etcd method that was not added answer UNIMPLEMENTED, by service with a reason."""
        for descriptor in rpc_pb2.DESCRIPTOR.services_by_name.values():
            for method in descriptor.methods:
                if f"/{descriptor.full_name}/{method.name}" not in self._methods:
                    reason = reasons.get(descriptor.name, "this store does not serve it yet")
                    refuse = _refusing(f"etcdserver: {reason} ({descriptor.name}.{method.name})")
                    self._add("server-stream", descriptor.full_name, method.name, refuse, bytes)

    async def start(self, address: str, identity: Identity, web: MakeWeb | None = None) -> Server:
        """Listen on `address` (host:port) for clients with certificates; `web` answers what is not gRPC's.

        Raises:
            OSError: the port is taken.
        """
        made = None if web is None else web(self._methods, status_or_internal)
        server = Server(self._methods, status_or_internal, self._refusal_of, self._has_leader, made)
        await server.start(address, identity)
        return server

    def _add(
        self,
        shape: Literal["unary", "server-stream", "stream"],
        service: str,
        name: str,
        answer: Callable[..., Any],
        decode: Callable[[bytes], Any],
    ) -> None:
        about = (service, name, _TYPES[shape])
        labels = {code: (*about, "".join(map(str.capitalize, code.name.split("_")))) for code in Code}
        labels[Code.OK] = (*about, "OK")
        self._methods[f"/{service}/{name}"] = Method(
            shape,
            answer,
            decode,
            done=lambda code: counts.HANDLED.add(labels[code]),
            begun=lambda: counts.STARTED.add(about),
        )

    def _refusal_of(self, names: frozenset[str]) -> str | None:
        """Return why a client whose certificate bears these common names is not admitted, or None."""
        if names & self._allowed or ANYBODY in self._allowed:
            return None
        shown, admitted = ", ".join(sorted(names)) or "no name", ", ".join(sorted(self._allowed))
        return f"certificate of {shown} is not admitted to this store; admitted are: {admitted}"


def _refusing(message: str) -> ServerStream:
    async def refuse(_: Any, context: Context) -> None:
        raise NotServed(message)

    return refuse


def client_services(replica: Replica, allowed_clients: frozenset[str], progress_s: float) -> Services:
    """Return every service of the client port."""
    from store.serve import auth, cluster, election, health, kv, lease, lock, maintenance, pipeline, watch

    services = Services(allowed_clients, lambda: replica.status.leader is not None)
    kv.add_to(services, replica)
    watch.add_to(services, replica, progress_s)
    lease.add_to(services, replica)
    cluster.add_to(services, replica)
    auth.add_to(services, replica)
    maintenance.add_to(services, replica)
    lock.add_to(services, replica)
    election.add_to(services, replica)
    pipeline.add_to(services, replica)
    health.add_to(services, replica)
    services.add_unserved(
        {
            "Maintenance": "there is no older version of this store to downgrade to",
        }
    )
    return services
