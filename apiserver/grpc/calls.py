"""From protobuf requests to `Call`s, and who their sender is."""

from __future__ import annotations

import functools
from typing import Any

import grpc.aio

from api.discover import by_gvr
from apiserver.auth.certificates import der_of_grpc_peer
from apiserver.filters.request_info import of_resource
from apiserver.request import Call, Credentials
from apiserver.verbs.writing import COMPONENT
from component import tracing
from proto.steersman.v1 import resources_pb2 as pb


def credentials_of(context: grpc.aio.ServicerContext[Any, Any]) -> Credentials:
    """Return what a connection shows of its client: its certificate, which gRPC has verified."""
    for pem in context.auth_context().get("x509_pem_cert", ()):
        return _credentials(pem)
    return Credentials()


def remote_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the client's address, as the audit log tells it: `ipv4:10.0.0.1:4711` is 10.0.0.1."""
    _, _, address = context.peer().partition(":")
    return address.rpartition(":")[0].removeprefix("%5B").removesuffix("%5D").strip("[]")


def traceparent_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the step of the client that a call is part of, empty where nobody records."""
    if tracing.is_on():
        for key, value in context.invocation_metadata() or ():
            if key == tracing.HEADER:
                return str(value)
    return ""


@functools.lru_cache(maxsize=4096)
def _credentials(pem: bytes) -> Credentials:
    return Credentials(certificate=der_of_grpc_peer({"x509_pem_cert": [pem]}))


def call_of(
    verb: str,
    request: Any,
    credentials: Credentials,
    *,
    body: bytes = b"",
    content_type: str = "",
    remote: str = "",
    **options: str,
) -> Call:
    """Return the call that a request with resource, namespace and maybe name and subresource asks for."""
    resource: pb.Resource = request.resource
    info = of_resource(
        verb,
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        namespace=request.namespace,
        name=getattr(request, "name", ""),
        subresource=getattr(request, "subresource", ""),
        field_selector=options.get("fieldSelector", ""),
        label_selector=options.get("labelSelector", ""),
    )
    given = {name: value for name, value in options.items() if value}
    # Our own processes may be newer than this server: what it doesn't know of, it drops, as protobuf would.
    given["fieldValidation"] = "Ignore"
    if getattr(request, "dry_run", False):
        given["dryRun"] = "All"
    return Call(
        info,
        credentials=credentials,
        resource=by_gvr(resource.group, resource.version, resource.plural),
        body=body,
        content_type=content_type,
        options=given,
        remote=remote,
        user_agent=COMPONENT,
    )


def create_call(request: pb.CreateRequest, credentials: Credentials) -> Call:
    """Return the call of a create."""
    return call_of("create", request, credentials, body=request.json)


def update_call(request: pb.UpdateRequest, credentials: Credentials) -> Call:
    """Return the call of an update."""
    return call_of("update", request, credentials, body=request.json)


def patch_call(request: pb.PatchRequest, credentials: Credentials) -> Call:
    """Return the call of a patch."""
    return call_of("patch", request, credentials, body=request.patch, content_type=request.content_type)


def delete_call(request: pb.DeleteRequest, credentials: Credentials) -> Call:
    """Return the call of a delete."""
    return call_of("delete", request, credentials, body=request.options)
