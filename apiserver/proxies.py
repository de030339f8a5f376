"""Which requests somebody else answers, and how it is found out who: proxy subresources, and aggregated groups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

from api.errors import NotFound
from apiserver.admission import connections
from apiserver.admission.connections import ProxyOptions
from apiserver.onward import Onward
from apiserver.request import Call, RequestInfo
from apiserver.subresources.proxy import KINDS, ProxyLocator

Finder = Callable[[Call], Awaitable[Onward]]
"""The end of the chain for such a request: returns where it goes."""


class Aggregated(Protocol):
    """Knows which groups other servers have."""

    def finder(self, info: RequestInfo, target: str) -> Finder | None: ...


class Proxies:
    """Finds who answers in this server's place."""

    def __init__(self, locator: ProxyLocator, aggregated: Aggregated | None = None) -> None:
        self._locator = locator
        self._aggregated = aggregated

    def finder(self, info: RequestInfo, method: str, target: str) -> Finder | None:
        """Return what finds the destination; None for what this server answers itself.

        Args:
            info: what is asked.
            method: of HTTP.
            target: path and query as they were sent.
        """
        if info.subresource == "proxy" and not info.group and info.plural in KINDS:

            async def find(call: Call) -> Onward:
                if info.version != "v1" or bool(info.namespace) is (info.plural == "nodes"):
                    raise NotFound("the server could not find the requested resource")
                onward = await self._locator.locate(call.info, method, target)
                asked = connections.options_of(info.plural, "proxy", call.target or info.path)
                if not isinstance(call.connection, ProxyOptions) or call.connection == asked:
                    return onward
                # A webhook wants another path to be asked for.
                _, mark, query = onward.target.partition("?")
                return onward._replace(target=quote(f"/{call.connection.path.lstrip('/')}") + mark + query)

            return find
        return self._aggregated.finder(info, target) if self._aggregated is not None else None
