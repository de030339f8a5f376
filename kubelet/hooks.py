"""Lifecycle hooks: what a container is told after it starts and before it stops."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from api.core.containers import HTTPGetAction, LifecycleHandler
from component.clock import Clock
from kubelet.lifecycle import AnyContainer
from kubelet.probes.prober import UnknownPort, port_number
from kubelet.runtime.cri import Cri, CriError, RuntimeUnavailable

_HTTP_TIMEOUT_S = 30.0


class HookFailed(Exception):
    """A hook did not end well; the message is the event's."""


async def run_hook(
    handler: LifecycleHandler,
    container: AnyContainer,
    container_id: str,
    host: str,
    cri: Cri,
    http: Callable[[], aiohttp.ClientSession],
    clock: Clock,
) -> None:
    """Run a hook once; cancelling it is safe. Raises HookFailed; RuntimeUnavailable if nobody knows how it went."""
    try:
        if handler.exec is not None:
            answer = await cri.exec_sync(container_id, handler.exec.command, 0)
            if answer.exit_code != 0:
                output = (answer.stdout + answer.stderr).decode(errors="replace")[:1024]
                command = " ".join(handler.exec.command)
                raise HookFailed(f"command '{command}' exited with {answer.exit_code}: {output}")
        elif handler.http_get is not None:
            port = port_number(container, handler.http_get.port)
            await _get(http(), handler.http_get, handler.http_get.host or host, port)
        elif handler.sleep is not None:
            await clock.sleep(handler.sleep.seconds)
        else:
            # tcpSocket is taken by the API for old manifests' sake, and never worked.
            raise HookFailed("invalid handler: a lifecycle hook must be exec, httpGet or sleep")
    except RuntimeUnavailable:
        raise
    except (CriError, aiohttp.ClientError, OSError, TimeoutError, UnknownPort) as error:
        raise HookFailed(str(error) or type(error).__name__) from None


async def _get(session: aiohttp.ClientSession, action: HTTPGetAction, host: str, port: int) -> None:
    """Ask once; whatever is answered will do (as upstream), even without TLS where TLS was asked for."""
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    address = f"[{host}]" if ":" in host else host
    headers = {"User-Agent": "kube-lifecycle/1.32", "Accept": "*/*"}
    headers |= {header.name: header.value for header in action.http_headers}
    timeout = aiohttp.ClientTimeout(total=_HTTP_TIMEOUT_S)
    scheme = (action.scheme or "HTTP").lower()
    try:
        async with session.get(f"{scheme}://{address}:{port}{path}", headers=headers, timeout=timeout, ssl=False):
            return
    except aiohttp.ClientConnectorSSLError:
        # Something without TLS listens there.
        headers.pop("Authorization", None)
    async with session.get(f"http://{address}:{port}{path}", headers=headers, timeout=timeout):
        return
