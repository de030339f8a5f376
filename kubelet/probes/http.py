"""HTTP probes: a GET that must answer with 200 to 399."""

from __future__ import annotations

import aiohttp

from api.core.containers import HTTPGetAction
from kubelet.probes.streak import Result

_BODY_MAX = 10 * 1024


async def probe(
    session: aiohttp.ClientSession, host: str, port: int, action: HTTPGetAction, timeout_s: float
) -> Result:
    """Ask once; redirects on the same host are followed, certificates are not verified (as upstream)."""
    scheme = (action.scheme or "HTTP").lower()
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    address = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{address}:{port}{path}"
    headers = {"User-Agent": "kube-probe/1.32", "Accept": "*/*"}
    headers |= {header.name: header.value for header in action.http_headers}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with session.get(
            url, headers=headers, timeout=timeout, ssl=False, allow_redirects=True, max_redirects=10
        ) as answer:
            body = await answer.content.read(_BODY_MAX)
            if 200 <= answer.status < 400:
                return Result(True, body.decode(errors="replace"))
            return Result(False, f"HTTP probe failed with statuscode: {answer.status}")
    except TimeoutError:
        return Result(
            False,
            f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        )
    except aiohttp.ClientConnectorError as error:
        reason = (error.os_error.strerror or str(error.os_error)).lower()
        return Result(False, f'Get "{url}": dial tcp {address}:{port}: connect: {reason}')
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Result(False, f'Get "{url}": {error}')
