"""The labels that say whose an EndpointSlice is, and who writes it."""

from __future__ import annotations

from collections.abc import Iterable

from api.discovery.endpointslice import EndpointSlice

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
BY_SERVICE = "service"


def index_slices_by_service(each: EndpointSlice) -> Iterable[str]:
    """Index slices by their Service."""
    name = each.metadata.labels.get(SERVICE_NAME)
    return (f"{each.metadata.namespace}/{name}",) if name else ()
