"""pods/exec, pods/attach and pods/portforward: where an upgraded connection goes, decided before it is made.

Pure but for looking up the pod and its node. `apiserver.rest.upgrade` does the carrying. Names are upstream's on both
sides: `stdin=true` here becomes `input=1` at the kubelet.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from api.core import pod
from api.errors import BadRequest, Unauthorized
from api.resource import ObjectKey
from apiserver.admission.connections import PodExecOptions, PodPortForwardOptions, PodStream
from apiserver.auth.tokens import Read
from apiserver.request import RequestInfo
from apiserver.subresources import node_proxy
from apiserver.subresources.node_proxy import KubeletAddress, Kubelets

SUBRESOURCES: Final = ("exec", "attach", "portforward")
BEARER_PROTOCOL: Final = "base64url.bearer.authorization.k8s.io."
"""A WebSocket client in a browser cannot set headers, so it may send its token as a subprotocol."""

_STREAMS: Final = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"))
_WEBSOCKET_EXEC: Final = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
_WEBSOCKET_PORTFORWARD: Final = (
    "SPDY/3.1+portforward.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "portforward.k8s.io",
)


def token_of(protocols: Iterable[str]) -> str:
    """Return the token among the subprotocols that a WebSocket client offers, if there is one.

    Raises:
        Unauthorized: it cannot be read.
    """
    for protocol in protocols:
        if protocol.startswith(BEARER_PROTOCOL):
            encoded = protocol[len(BEARER_PROTOCOL) :]
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("ascii")
            except (binascii.Error, ValueError):
                raise Unauthorized("Unauthorized") from None
    return ""


@dataclass(frozen=True, slots=True)
class Destination:
    """The kubelet to go on to, and what to ask it for."""

    address: KubeletAddress
    target: str


class Streams:
    """Finds the destination of a streaming request."""

    def __init__(self, kubelets: Kubelets, read: Read) -> None:
        self._kubelets = kubelets
        self._read = read

    async def locate(self, info: RequestInfo, asked: PodStream) -> Destination:
        """Return where a request goes, by what is asked for in the end: webhooks may have changed what the query says.

        Raises:
            NotFound: no such pod, or its node is gone.
            BadRequest: no such container, no stream asked for, no command, or the pod runs nowhere yet.
        """
        key = ObjectKey(info.namespace, info.name)
        found: pod.Pod = await self._read(pod.RESOURCE, key)
        if isinstance(asked, PodPortForwardOptions):
            address = await self._kubelets.locate(found)
            ports = [str(port) for port in asked.ports]
            return Destination(
                address, node_proxy.target(["portForward", key.namespace, key.name], {"port": ports} if ports else {})
            )
        container = node_proxy.choose_container(found, asked.container)
        wanted: dict[str, str | list[str]] = {theirs: "1" for ours, theirs in _STREAMS if getattr(asked, ours)}
        if not wanted:
            raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
        if asked.tty:
            # A terminal has one output: asking for stderr beside it would never end.
            wanted.pop("error", None)
            wanted["tty"] = "1"
        if isinstance(asked, PodExecOptions):
            if not asked.command:
                raise BadRequest("you must specify at least 1 command for the container")
            wanted["command"] = asked.command
        address = await self._kubelets.locate(found)
        return Destination(address, node_proxy.target([info.subresource, key.namespace, key.name, container], wanted))


def choose_subprotocols(offered: Sequence[str], subresource: str) -> list[str]:
    """Return which of the WebSocket subprotocols a client offers can be relayed, in its order.

    Kubelets speak these, or translate them for the runtime behind them. A client that offers nothing gets the first,
    unnamed version.

    Raises:
        BadRequest: none of them; kubectl then comes again with SPDY/3.1 (KEP-4006).
    """
    known = _WEBSOCKET_PORTFORWARD if subresource == "portforward" else _WEBSOCKET_EXEC
    wanted = [protocol for protocol in offered if not protocol.startswith(BEARER_PROTOCOL)]
    chosen = [protocol for protocol in wanted if protocol in known]
    if wanted and not chosen:
        raise BadRequest(
            f"unable to upgrade: none of the subprotocols {', '.join(wanted)} is spoken here: use SPDY/3.1 or "
            f"{', '.join(known)}"
        )
    return chosen
