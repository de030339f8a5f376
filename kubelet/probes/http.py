"""HTTP probes: a GET that must answer with 200 to 399."""

from __future__ import annotations

import aiohttp
from yarl import URL

from api.core.containers import HTTPGetAction
from kubelet.probes.streak import Result
from kubelet.probes.tcp import reason
from kubelet.probes.time_limit import TimeLimit

_BODY_MAX = 10 * 1024
_REDIRECTS_MAX = 10
_NO_LIMIT = aiohttp.ClientTimeout(total=None)


async def probe(
    session: aiohttp.ClientSession, host: str, port: int, action: HTTPGetAction, timeout_s: float
) -> Result:
    """Ask once; certificates are not verified (as upstream).

    Redirects are followed on the same host only. One that leads elsewhere says nothing of this container: it counts
    as a success, with a warning.
    """
    scheme = (action.scheme or "HTTP").lower()
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    address = f"[{host}]" if ":" in host else host
    url = URL(f"{scheme}://{address}:{port}{path}")
    headers = {"User-Agent": "kube-probe/1.32", "Accept": "*/*"}
    headers |= {header.name: header.value for header in action.http_headers}
    try:
        async with TimeLimit(timeout_s):
            return await _follow(session, url, headers)
    except TimeoutError:
        return Result(
            False,
            f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        )
    except aiohttp.ClientConnectorError as error:
        return Result(False, f'Get "{url}": dial tcp {address}:{port}: connect: {reason(error.os_error)}')
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Result(False, f'Get "{url}": {error}')


async def _follow(session: aiohttp.ClientSession, url: URL, headers: dict[str, str]) -> Result:
    for _ in range(_REDIRECTS_MAX):
        async with session.get(url, headers=headers, timeout=_NO_LIMIT, ssl=False, allow_redirects=False) as answer:
            body = (await answer.content.read(_BODY_MAX)).decode(errors="replace")
            if not 200 <= answer.status < 400:
                return Result(False, f"HTTP probe failed with statuscode: {answer.status}")
            onward = answer.headers.get("Location", "") if answer.status in (301, 302, 303, 307, 308) else ""
            if not onward:
                return Result(True, body)
            following = url.join(URL(onward))
            if following.host != url.host:
                return Result(True, f"Probe terminated redirects, Response body: {body}", is_warning=True)
            url = following
    return Result(False, f'Get "{url}": stopped after {_REDIRECTS_MAX} redirects')
