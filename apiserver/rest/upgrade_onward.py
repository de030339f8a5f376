"""Carries upgraded connections to where proxied requests go: a WebSocket to a pod, Service or aggregated server.

Whatever is asked for (WebSocket, SPDY) is asked for there, and from the 101 on bytes are copied. A server that does
not switch has its answer passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from api.errors import ApiError
from apiserver.egress import Egress
from apiserver.filters.request_info import request_info
from apiserver.onward import Onward
from apiserver.proxies import Finder, Proxies
from apiserver.request import Call, RequestInfo
from apiserver.rest.forward import headers_onward
from apiserver.rest.upgrade import credentials_of
from apiserver.subresources.streaming import BEARER_PROTOCOL
from component import relay

_PROTOCOLS: Final = "Sec-WebSocket-Protocol"


class OnwardUpgrades:
    """Serves the upgraded connections that others answer.

    Args:
        handle: the chain, from a call to what its handler returns.
        proxies: finds who answers.
        egress: connects to them.
    """

    def __init__(self, handle: Callable[[Call], Awaitable[Any]], proxies: Proxies, egress: Egress) -> None:
        self._handle = handle
        self._proxies = proxies
        self._egress = egress

    def takes(self, method: str, target: str) -> bool:
        """Whether an upgrade asked for there is ours."""
        _, finder = self._found(method, target)
        return finder is not None

    async def serve(self, upgrade: relay.Upgrade) -> None:
        """Carry one connection until it ends, or say why not."""
        try:
            onward = await self._onward(upgrade)
        except ApiError as error:
            await upgrade.refuse(error.code, relay.status_body(error.status()))
            return
        try:
            backend = await self._egress.dial(onward.host, onward.port, tls=onward.tls, server_name=onward.server_name)
        except (OSError, TimeoutError) as error:
            failed = onward.failed(str(error) or "dial: i/o timeout")
            await upgrade.refuse(failed.code, relay.status_body(failed.status()))
            return
        try:
            answer = await relay.request_upgrade(
                backend, upgrade.method, onward.target or "/", _headers(upgrade, onward)
            )
            if not answer.switched:
                body = await relay.read_body(backend, answer.headers)
                said = relay.header(answer.headers, "Content-Type") or "text/plain"
                await upgrade.refuse(answer.status, body, said)
                return
            await relay.send_switch(upgrade.connection, answer.headers)
            await relay.relay(upgrade.connection, backend)
        except (OSError, TimeoutError, relay.BadHead) as error:
            failed = onward.failed(str(error) or "no answer in time")
            await upgrade.refuse(failed.code, relay.status_body(failed.status()))
        finally:
            backend.abort()

    def _found(self, method: str, target: str) -> tuple[RequestInfo, Finder | None]:
        path, _, query = target.partition("?")
        info = request_info(method, unquote(path), dict(parse_qsl(query, keep_blank_values=True)))
        return info, self._proxies.finder(info, method, target)

    async def _onward(self, upgrade: relay.Upgrade) -> Onward:
        info, finder = self._found(upgrade.method, upgrade.target)
        peer = upgrade.connection.transport.get_extra_info("peername")
        found: Onward = await self._handle(
            Call(
                info,
                credentials_of(upgrade, relay.tokens(upgrade.headers, _PROTOCOLS)),
                options=dict(parse_qsl(upgrade.target.partition("?")[2], keep_blank_values=True)),
                handler=finder,
                remote=str(peer[0]) if peer else "",
                user_agent=upgrade.header("User-Agent"),
            )
        )
        return found


def _headers(upgrade: relay.Upgrade, onward: Onward) -> list[tuple[str, str]]:
    peer = upgrade.connection.transport.get_extra_info("peername")
    headers = headers_onward(upgrade.headers, onward, str(peer[0]) if peer else "")
    # A token that came as a subprotocol was for this server.
    spoken = [each for each in relay.tokens(upgrade.headers, _PROTOCOLS) if not each.startswith(BEARER_PROTOCOL)]
    headers.popall(_PROTOCOLS, None)
    if spoken:
        headers[_PROTOCOLS] = ", ".join(spoken)
    return [*headers.items(), ("Connection", "Upgrade"), ("Upgrade", upgrade.header("Upgrade"))]
