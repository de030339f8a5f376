"""Where a Service is reached from this server, which has no DNS of the cluster and need not route cluster IPs. Pure.

A Service with endpoints is reached at one that is ready, drawn at random; one that has a cluster IP and nobody who
keeps its endpoints is reached there; one that is another name for a host, under that name.
"""

from __future__ import annotations

from random import Random
from typing import Final, Protocol

from api.core.service import Service, ServicePort
from api.discovery.endpointslice import EndpointSlice
from api.lister import Lister
from api.resource import ObjectKey

SERVICE_LABEL: Final = "kubernetes.io/service-name"


class Unreachable(Exception):
    """A Service cannot be reached, and why."""


class Locate(Protocol):
    """Says where a Service's port is reached from here: host and port; raises Unreachable."""

    def __call__(self, namespace: str, name: str, port: int) -> tuple[str, int]: ...


def no_services(namespace: str, name: str, port: int) -> tuple[str, int]:
    """A `Locate` of whoever is asked by URL alone."""
    raise Unreachable(f"Services are not asked here: {namespace}/{name}")


class ServiceLocator:
    """Finds Services in the caches; a `Locate`."""

    def __init__(self, services: Lister[Service], slices: Lister[EndpointSlice], random: Random) -> None:
        self._services = services
        self._slices = slices
        self._random = random

    def __call__(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Return a host and port to connect to.

        Raises:
            Unreachable: there is no such Service or port, or nobody behind it is ready.
        """
        service = self._services.get(ObjectKey(namespace, name))
        if service is None:
            raise Unreachable(f'service "{name}" not found')
        if service.spec.type == "ExternalName":
            return service.spec.external_name, port
        found = next((each for each in service.spec.ports if each.port == port), None)
        if found is None:
            raise Unreachable(f'no service port {port} found for service "{name}"')
        slices = [each for each in self._slices.list(namespace) if each.metadata.labels.get(SERVICE_LABEL) == name]
        ready = endpoints_of(found, slices)
        if ready:
            return self._random.choice(ready)
        if slices or service.spec.selector:
            raise Unreachable(f'no endpoints available for service "{name}"')
        if service.spec.cluster_ip in ("", "None"):
            raise Unreachable('cannot route to service with ClusterIP "None"')
        return service.spec.cluster_ip, port


def endpoints_of(port: ServicePort, slices: list[EndpointSlice]) -> list[tuple[str, int]]:
    """Return the addresses that are ready to answer at a Service's port, in the slices' order."""
    found: list[tuple[str, int]] = []
    for each in slices:
        number = next(
            (one.port for one in each.ports if (one.name or "") == port.name and one.protocol in (None, "TCP")), None
        )
        if number is None or each.address_type == "FQDN":
            continue
        for endpoint in each.endpoints:
            if endpoint.conditions.ready is not False and endpoint.addresses:
                found.append((endpoint.addresses[0], number))
    return found
