"""Lifecycle hooks: what a container is told after it starts and before it stops."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from api.core.containers import HTTPGetAction, LifecycleHandler
from api.go_types import quoted
from component.clock import Clock
from kubelet.lifecycle import AnyContainer
from kubelet.probes.prober import UnknownPort, port_number
from kubelet.runtime.cri import Cri, CriError, RuntimeUnavailable

_HTTP_TIMEOUT_S = 30.0


class HookFailed(Exception):
    """A hook did not end well; the message says why. Events do not repeat it: it may hold what is secret."""


async def run_hook(
    handler: LifecycleHandler,
    container: AnyContainer,
    container_id: str,
    host: str,
    cri: Cri,
    http: Callable[[], aiohttp.ClientSession],
    clock: Clock,
) -> str:
    """Run a hook once; cancelling it is safe.

    Returns:
        What its pod is to be warned of, empty if nothing.

    Raises:
        HookFailed: it did not end well.
        RuntimeUnavailable: nobody knows how it went.
    """
    try:
        if handler.exec is not None:
            answer = await cri.exec_sync(container_id, handler.exec.command, 0)
            if answer.exit_code != 0:
                output = (answer.stdout + answer.stderr).decode(errors="replace")[:1024]
                command = " ".join(handler.exec.command)
                ended = f"command '{command}' exited with {answer.exit_code}: {answer.stderr.decode(errors='replace')}"
                raise HookFailed(f"{ended}, message: {quoted(output)}")
        elif handler.http_get is not None:
            port = port_number(container, handler.http_get.port)
            return await _get(http(), handler.http_get, handler.http_get.host or host, port)
        elif handler.sleep is not None:
            await clock.sleep(handler.sleep.seconds)
        else:
            # tcpSocket is taken by the API for old manifests' sake, and never worked.
            raise HookFailed("invalid handler: a lifecycle hook must be exec, httpGet or sleep")
        return ""
    except RuntimeUnavailable:
        raise
    except (CriError, aiohttp.ClientError, OSError, TimeoutError, UnknownPort) as error:
        raise HookFailed(str(error) or type(error).__name__) from None


def describe_failure(handler: LifecycleHandler, container: str, pod: str, error: HookFailed) -> str:
    """Return what the state of a container says whose hook failed; `pod` is NAME_NAMESPACE(UID)."""
    match handler:
        case LifecycleHandler(exec=None, http_get=None, sleep=None):
            return f"Cannot run handler: {error}"
        case LifecycleHandler(exec=None, http_get=None):
            assert handler.sleep is not None
            kind, what = "Sleep", str(handler.sleep.seconds)
        case LifecycleHandler(exec=None):
            assert handler.http_get is not None
            kind, what = "HTTP", handler.http_get.path
        case _:
            assert handler.exec is not None
            kind, what = "Exec", f"[{' '.join(handler.exec.command)}]"
    return f'{kind} lifecycle hook ({what}) for Container "{container}" in Pod "{pod}" failed - error: {error}'


async def _get(session: aiohttp.ClientSession, action: HTTPGetAction, host: str, port: int) -> str:
    """Ask once; whatever is answered will do (as upstream), even without TLS where TLS was asked for."""
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    address = f"[{host}]" if ":" in host else host
    headers = {"User-Agent": "kube-lifecycle/1.32", "Accept": "*/*"}
    headers |= {header.name: header.value for header in action.http_headers}
    timeout = aiohttp.ClientTimeout(total=_HTTP_TIMEOUT_S)
    scheme = (action.scheme or "HTTP").lower()
    try:
        async with session.get(f"{scheme}://{address}:{port}{path}", headers=headers, timeout=timeout, ssl=False):
            return ""
    except aiohttp.ClientConnectorSSLError:
        # Something without TLS listens there.
        headers.pop("Authorization", None)
    async with session.get(f"http://{address}:{port}{path}", headers=headers, timeout=timeout):
        return f"request to HTTPS lifecycle hook {address}:{port} got HTTP response, retry with HTTP succeeded"
