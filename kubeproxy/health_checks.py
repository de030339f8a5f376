"""What load balancers outside ask a node: has a Service with externalTrafficPolicy Local any endpoint here?

Such a Service has a health check port of its own on every node (healthCheckNodePort). It answers 200 where at least one
ready endpoint is, and 503 elsewhere, in upstream's words; how many there are is also in a header, for weights.
`local_check` is pure, `HealthChecks` listens.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.core.service import Service
from api.discovery.endpointslice import EndpointSlice
from api.resource import ObjectKey
from component.health import Page, listen
from kubeproxy.topology import NodeView, is_served

log = logging.getLogger(__name__)

WEIGHT_HEADER = "X-Load-Balancing-Endpoint-Weight"


@dataclass(frozen=True, slots=True)
class LocalCheck:
    """What is answered for one Service."""

    port: int
    service: ObjectKey
    endpoints: int
    """How many ready ones this node has."""


def local_check(service: Service, slices: Sequence[EndpointSlice], node: NodeView) -> LocalCheck | None:
    """Return what a node answers for a Service; None if nobody asks for it."""
    spec, metadata = service.spec, service.metadata
    port = spec.health_check_node_port
    if not port or spec.external_traffic_policy != "Local" or not is_served(service):
        return None
    here = {
        endpoint.addresses[0]
        for slice in slices
        if slice.address_type == "IPv4"
        for endpoint in slice.endpoints
        if endpoint.addresses and endpoint.node_name == node.name and endpoint.conditions.ready is not False
    }
    return LocalCheck(port, ObjectKey(metadata.namespace, metadata.name), len(here))


def page_of(check: LocalCheck, *, is_healthy: bool) -> Page:
    """Return the answer: whether traffic for the Service may come to this node."""
    body = {
        "service": {"namespace": check.service.namespace, "name": check.service.name},
        "localEndpoints": check.endpoints,
        "serviceProxyHealthy": is_healthy,
    }
    status = 200 if check.endpoints and is_healthy else 503
    headers = ("X-Content-Type-Options: nosniff", f"{WEIGHT_HEADER}: {check.endpoints}")
    return Page(status, "application/json", json.dumps(body).encode(), headers)


class HealthChecks:
    """The health check ports of one node.

    Args:
        is_healthy: whether the node's rules are right; if not, no traffic should come.
        host: the address to listen on.
    """

    def __init__(self, is_healthy: Callable[[], bool], host: str = "0.0.0.0") -> None:
        self._is_healthy = is_healthy
        self._host = host
        self._checks: dict[int, LocalCheck] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def update(self, checks: Sequence[LocalCheck]) -> None:
        """Answer for exactly these from now on."""
        self._checks = {check.port: check for check in checks}
        for port in [port for port in self._servers if port not in self._checks]:
            self._servers.pop(port).close()
        await self.open()

    async def open(self) -> None:
        """Listen where nobody does yet. A port that somebody else has is tried again next time."""
        for port, check in self._checks.items():
            if port in self._servers:
                continue
            try:
                self._servers[port] = await listen(self._host, port, self._answer(port))
            except OSError as error:
                log.warning("health check port not opened", extra={"service": check.service, "error": error})

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _answer(self, port: int) -> Callable[[str, str], Page]:
        def answer(path: str, query: str) -> Page:
            return page_of(self._checks[port], is_healthy=self._is_healthy())

        return answer
