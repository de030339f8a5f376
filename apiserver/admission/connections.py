"""Connections to pods, nodes and Services, as admission sees them: a CONNECT, whose object is its options."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import parse_qs, unquote

from api.schema import Int32, Struct, always, wire
from apiserver.request import AdmissionPlugin, AdmissionRequest, Call


class PodExecOptions(Struct):
    """What to run in a container, and which of its streams to carry."""

    api_version: str = always("v1")
    kind: str = always("PodExecOptions")
    stdin: Annotated[bool, wire(1)] = False
    stdout: Annotated[bool, wire(2)] = False
    stderr: Annotated[bool, wire(3)] = False
    tty: Annotated[bool, wire(4)] = False
    container: Annotated[str, wire(5)] = ""
    command: Annotated[list[str], wire(6)] = []


class PodAttachOptions(Struct):
    """Which streams of a container to carry."""

    api_version: str = always("v1")
    kind: str = always("PodAttachOptions")
    stdin: Annotated[bool, wire(1)] = False
    stdout: Annotated[bool, wire(2)] = False
    stderr: Annotated[bool, wire(3)] = False
    tty: Annotated[bool, wire(4)] = False
    container: Annotated[str, wire(5)] = ""


class PodPortForwardOptions(Struct):
    """Which ports of a pod to carry."""

    api_version: str = always("v1")
    kind: str = always("PodPortForwardOptions")
    ports: Annotated[list[Int32], wire(1)] = []


class ProxyOptions(Struct):
    """Which path to ask for; upstream has one such kind for each of pods, nodes and Services."""

    api_version: str = always("v1")
    kind: str = always("PodProxyOptions")
    path: Annotated[str, wire(1)] = ""


PodStream = PodExecOptions | PodAttachOptions | PodPortForwardOptions
"""What a connection is asked for that goes on to a kubelet."""

_SUBRESOURCES: Final = ("exec", "attach", "portforward", "proxy")
_PROXIED: Final = {"pods": "PodProxyOptions", "nodes": "NodeProxyOptions", "services": "ServiceProxyOptions"}


def is_connection(call: Call) -> bool:
    """Whether a call asks for a connection."""
    resource = call.resource
    return resource is not None and call.info.subresource in _SUBRESOURCES and not resource.group


async def admit(admission: AdmissionPlugin, call: Call) -> Struct | None:
    """Ask admission whether a connection may be made; returns what it is asked for then, which webhooks may change.

    Raises:
        ApiError: somebody refuses it.
    """
    assert call.resource is not None
    info = call.info
    request = AdmissionRequest(
        operation="CONNECT",
        resource=call.resource,
        namespace=info.namespace,
        name=info.name,
        subresource=info.subresource,
        user=call.user,
        object=options_of(info.plural, info.subresource, call.target or info.path),
        old=None,
        options={},
        dry_run=False,
        warnings=call.warnings,
        annotations=call.annotations,
        verb=info.verb,
        excuse=call.excuse,
    )
    await admission.admit(request)
    await admission.validate(request)
    return request.object


def options_of(plural: str, subresource: str, target: str) -> Struct:
    """Return what a connection is asked for, by path and query as they were sent. Pure."""
    path, _, query = target.partition("?")
    given = parse_qs(query, keep_blank_values=True)

    def is_set(name: str) -> bool:
        return bool(given.get(name)) and given[name][0].lower() in ("true", "1", "t")

    streams: dict[str, Any] = {name: is_set(name) for name in ("stdin", "stdout", "stderr", "tty")}
    container = given.get("container", [""])[0]
    match subresource:
        case "exec":
            return PodExecOptions(**streams, container=container, command=given.get("command", []))
        case "attach":
            return PodAttachOptions(**streams, container=container)
        case "portforward":
            numbers = [port for value in given.get("ports", []) for port in value.split(",")]
            return PodPortForwardOptions(ports=[int(number) for number in numbers if number.isdecimal()])
    # Behind /api/v1/namespaces/NAMESPACE/pods/NAME/proxy, or /api/v1/nodes/NAME/proxy.
    onward = path.split("/", 6 if plural == "nodes" else 8)[6 if plural == "nodes" else 8 :]
    return ProxyOptions(kind=_PROXIED[plural], path=f"/{unquote(onward[0])}" if onward else "/")
