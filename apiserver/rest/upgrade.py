"""exec, attach and port-forward: from kubectl's upgraded connection to the kubelet's, bytes unread.

The head of the request goes through the same chain as every other (who, may they, which pod); then a connection to
the kubelet is opened with the apiserver's own certificate and asked for the same upgrade, and from its 101 on the two
are joined. Which protocol is translated to which is the kubelet's affair (`kubelet.streaming`): nodes share that work,
and this process copies bytes. What no kubelet knows is refused with 400, which makes kubectl come again with SPDY.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from api.core import pod
from api.errors import ApiError, BadRequest, InternalError, MethodNotAllowed, from_status
from apiserver.admission.connections import PodStream
from apiserver.filters.request_info import request_info
from apiserver.request import Call, Credentials
from apiserver.subresources.node_proxy import Kubelets, unreachable
from apiserver.subresources.streaming import Destination, Streams, choose_subprotocols, token_of
from component import relay

log = logging.getLogger(__name__)

_PATH: Final = re.compile(r"/api/v1/namespaces/[^/]+/pods/[^/]+/(exec|attach|portforward)/?")
_ANSWER_HEADERS: Final = ("Upgrade", "X-Stream-Protocol-Version", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol")


def takes_upgrade(method: str, target: str) -> bool:
    """Whether upgrades are for this door: `relay.Switchboard`'s question."""
    return _PATH.fullmatch(target.partition("?")[0]) is not None


class UpgradeDoor:
    """Serves upgraded connections; a `relay.Switchboard`'s `on_upgrade`.

    Args:
        handle: the chain, from a call to what its handler returns.
        streams: finds the kubelet.
        kubelets: connects to it.
    """

    def __init__(self, handle: Callable[[Call], Awaitable[Any]], streams: Streams, kubelets: Kubelets) -> None:
        self._handle = handle
        self._streams = streams
        self._kubelets = kubelets

    async def __call__(self, upgrade: relay.Upgrade) -> None:
        """Carry one connection until it ends, or say why not."""
        with contextlib.ExitStack() as on_finish:
            await self._carry(upgrade, on_finish)

    async def _carry(self, upgrade: relay.Upgrade, on_finish: contextlib.ExitStack) -> None:
        try:
            backend, answer = await self._open(upgrade, on_finish)
        except ApiError as error:
            await upgrade.refuse(error.code, relay.status_body(error.status()))
            return
        try:
            passed = [(name, value) for name in _ANSWER_HEADERS if (value := relay.header(answer.headers, name))]
            await relay.send_switch(upgrade.connection, [("Connection", "Upgrade"), *passed])
            await relay.relay(upgrade.connection, backend)
        finally:
            backend.abort()

    async def _open(
        self, upgrade: relay.Upgrade, on_finish: contextlib.ExitStack
    ) -> tuple[relay.Connection, relay.Answer]:
        path, _, query = upgrade.target.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        info = request_info(upgrade.method, unquote(path), options)
        protocols = relay.tokens(upgrade.headers, "Sec-WebSocket-Protocol")

        async def locate(call: Call) -> Destination:
            if upgrade.method not in ("GET", "POST"):
                raise MethodNotAllowed("the server does not allow this method on the requested resource")
            asked = call.connection
            assert isinstance(asked, PodStream), "admission saw it"
            return await self._streams.locate(call.info, asked)

        peer = upgrade.connection.transport.get_extra_info("peername")
        call = Call(
            info,
            credentials_of(upgrade, protocols),
            resource=pod.RESOURCE,
            options=options,
            handler=locate,
            remote=str(peer[0]) if peer else "",
            user_agent=upgrade.header("User-Agent"),
            target=upgrade.target,
        )
        destination: Destination = await self._handle(call)
        on_finish.callback(call.finish)
        headers = _headers_onward(upgrade, destination, protocols, info.subresource)
        backend = await self._kubelets.dial(destination.address)
        try:
            answer = await relay.request_upgrade(backend, upgrade.method, destination.target, headers)
            if not answer.switched:
                raise _refused(answer, await relay.read_body(backend, answer.headers))
        except (OSError, TimeoutError, relay.BadHead) as error:
            backend.abort()
            raise unreachable(destination.address, error) from error
        except BaseException:
            backend.abort()
            raise
        return backend, answer


def credentials_of(upgrade: relay.Upgrade, protocols: list[str]) -> Credentials:
    """Return what a connection shows of its client: certificate, bearer token (or subprotocol), impersonation.

    Raises:
        Unauthorized: a token subprotocol that cannot be read.
    """
    scheme, _, token = upgrade.header("Authorization").partition(" ")
    bearer = (token.strip() if scheme.lower() == "bearer" else "") or token_of(protocols)
    told: dict[str, tuple[str, ...]] = {}
    for name, value in upgrade.headers:
        lower = name.lower()
        if lower.startswith(("impersonate-", "x-remote-")):
            told[lower] = (*told.get(lower, ()), value)
    impersonate = {name: values for name, values in told.items() if name.startswith("impersonate-")}
    remote = {name: values for name, values in told.items() if name.startswith("x-remote-")}
    return Credentials(upgrade.certificate, bearer, impersonate, remote)


def _headers_onward(
    upgrade: relay.Upgrade, destination: Destination, protocols: list[str], subresource: str
) -> list[tuple[str, str]]:
    """Return the head for the kubelet: the upgrade and its versions, and nothing of who asked."""
    headers = [("Host", f"{destination.address.node}:{destination.address.port}"), ("Connection", "Upgrade")]
    if upgrade.protocol == "spdy/3.1":
        versions = [value for name, value in upgrade.headers if name.lower() == "x-stream-protocol-version"]
        return [
            *headers,
            ("Upgrade", "SPDY/3.1"),
            ("Content-Length", "0"),
            *(("X-Stream-Protocol-Version", version) for version in versions),
        ]
    if upgrade.method != "GET":
        raise BadRequest("unable to upgrade: a WebSocket is opened with GET")
    chosen = choose_subprotocols(protocols, subresource)
    headers += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", upgrade.header("Sec-WebSocket-Version") or "13")]
    headers.append(("Sec-WebSocket-Key", upgrade.header("Sec-WebSocket-Key")))
    # Servers of this kind want an origin, and a browser's would mean nothing to the kubelet.
    headers.append(("Origin", f"https://{destination.address.node}:{destination.address.port}"))
    if chosen:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(chosen)))
    return headers


def _refused(answer: relay.Answer, body: bytes) -> ApiError:
    """Return the error for a kubelet that did not switch: its own Status, or its words in one of ours."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return from_status(status)
    said = body.decode(errors="replace").strip() or answer.reason
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        # Ours was the credential that failed, not the client's.
        return InternalError(f"the kubelet does not admit this server: {answer.status} {said}")
    return from_status({"code": answer.status, "message": said})
