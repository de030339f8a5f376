"""The cluster as informers know it, looked up the way names ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from api.core import service as service_api
from api.core.ip_addresses import plain
from api.core.service import Service
from api.discovery import endpointslice as slice_api
from api.discovery.endpointslice import EndpointSlice
from api.resource import ObjectKey
from client.informer import Informers

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_BY_ADDRESS, _BY_SERVICE = "address", "service"


class InformerDirectory:
    """A `records.Directory` over two shared caches."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.of(service_api.RESOURCE)
        self._slices = informers.of(slice_api.RESOURCE)
        self._services.add_index(_BY_ADDRESS, _service_addresses)
        self._slices.add_index(_BY_ADDRESS, _slice_addresses)
        self._slices.add_index(_BY_SERVICE, _service_of)

    def service(self, namespace: str, name: str) -> Service | None:
        """Return a Service, or None."""
        return self._services.store.get(ObjectKey(namespace, name))

    def slices(self, namespace: str, name: str) -> Sequence[EndpointSlice]:
        """Return a Service's slices."""
        return self._slices.store.by_index(_BY_SERVICE, f"{namespace}/{name}")

    def has_namespace(self, namespace: str) -> bool:
        """Whether there is a Service in it, which is all that names can tell."""
        return bool(self._services.store.list(namespace))

    def services_at(self, address: str) -> Sequence[Service]:
        """Return the Services that have a ClusterIP."""
        return self._services.store.by_index(_BY_ADDRESS, address)

    def slices_at(self, address: str) -> Sequence[EndpointSlice]:
        """Return the slices with an endpoint at an address."""
        return self._slices.store.by_index(_BY_ADDRESS, address)


def _service_addresses(service: Service) -> Sequence[str]:
    addresses = service.spec.cluster_ips or [service.spec.cluster_ip]
    return [plain(address) for address in addresses if address not in ("", "None")]


def _slice_addresses(slice: EndpointSlice) -> Sequence[str]:
    return [plain(address) for endpoint in slice.endpoints for address in endpoint.addresses]


def _service_of(slice: EndpointSlice) -> Sequence[str]:
    return [f"{slice.metadata.namespace}/{slice.metadata.labels.get(SERVICE_NAME_LABEL, '')}"]
