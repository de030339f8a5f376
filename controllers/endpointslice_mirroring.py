"""Copies Endpoints that users write for Services without a selector into EndpointSlices, which is what proxies read.

Left alone are Endpoints labelled `endpointslice.kubernetes.io/skip-mirror`, those that a leader election lives in, and
those of Services with a selector, whose slices have a writer of their own (KEP-752). Slices go with their Endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api.core import endpoints as endpoints_kind
from api.core import service as services
from api.core.endpoints import EndpointAddress, Endpoints, EndpointSubset
from api.core.ip_addresses import parse_ip
from api.discovery import endpointslice as slices
from api.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import Action, Create, Delete, Patch, Plan
from controllers.endpoint_labels import BY_SERVICE, MANAGED_BY, SERVICE_NAME, index_slices_by_service
from controllers.ownership import reference_as_controller
from controllers.runner import Controller, Listers, Watch
from controllers.slice_names import slice_name, slice_prefix

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time")
ENDPOINTS_MAX = 100
ADDRESSES_MAX = 1000
"""Of one subset; the rest is left out."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Endpoints, or none if they are not to be mirrored, and the slices made of them."""

    endpoints: Endpoints | None
    slices: Sequence[EndpointSlice]


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read Endpoints, their Service and slices."""
    found = listers[endpoints_kind.RESOURCE].get(key)
    service = listers[services.RESOURCE].get(key)
    mirrored = [
        each
        for each in listers[slices.RESOURCE].by_index(BY_SERVICE, str(key))
        if each.metadata.labels.get(MANAGED_BY) == MANAGER
    ]
    if found is not None and (service is None or service.spec.selector or not is_mirrored(found)):
        found = None
    return Observed(found, mirrored) if found is not None or mirrored else None


def is_mirrored(endpoints: Endpoints) -> bool:
    """Whether Endpoints say nothing against being mirrored."""
    metadata = endpoints.metadata
    skips = metadata.labels.get(SKIP) == "true" or LEADER in metadata.annotations
    return not skips and not metadata.deletion_timestamp


def reconcile(observed: Observed, now: float) -> Plan:
    """Make the slices what they should be; new ones before old ones go."""
    wanted = {each.metadata.name: each for each in compute_slices(observed.endpoints)} if observed.endpoints else {}
    writes: list[Action] = []
    deletes: list[Action] = []
    for current in observed.slices:
        new = wanted.pop(current.metadata.name, None)
        if new is None or (new.address_type, new.ports) != (current.address_type, current.ports):
            deletes.append(Delete(slices.RESOURCE, key_of(current), current.metadata.uid))
            continue
        change = _difference(current, new)
        if change:
            writes.append(Patch(slices.RESOURCE, key_of(current), change))
    writes += [Create(slices.RESOURCE, wanted[name]) for name in sorted(wanted)]
    return Plan((*writes, *deletes))


def compute_slices(endpoints: Endpoints) -> list[EndpointSlice]:
    """Return the slices that say what Endpoints say: by subset and family, at most a hundred endpoints each."""
    made = []
    for index, subset in enumerate(endpoints.subsets):
        for family, found in _by_family(subset).items():
            for start in range(0, len(found), ENDPOINTS_MAX):
                made.append(
                    _slice(endpoints, subset, f"{index}{family}{start}", family, found[start : start + ENDPOINTS_MAX])
                )
    return made


def _by_family(subset: EndpointSubset) -> dict[str, list[Endpoint]]:
    found: dict[str, list[Endpoint]] = {}
    addresses = [(address, True) for address in subset.addresses]
    addresses += [(address, False) for address in subset.not_ready_addresses]
    for address, ready in addresses[:ADDRESSES_MAX]:
        parsed = parse_ip(address.ip)
        if parsed is None:
            continue
        family = f"IPv{parsed.version}"
        found.setdefault(family, []).append(_endpoint(address, ready=ready))
    return found


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=[address.ip],
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


def _slice(
    endpoints: Endpoints, subset: EndpointSubset, seed: str, family: str, found: list[Endpoint]
) -> EndpointSlice:
    metadata = endpoints.metadata
    ports = [
        EndpointPort(name=port.name, port=port.port, protocol=port.protocol or "TCP", app_protocol=port.app_protocol)
        for port in subset.ports
    ]
    # Ports never change in a slice, so other ports are another slice.
    told = [(port.name, port.port, port.protocol, port.app_protocol) for port in ports]
    return EndpointSlice(
        metadata=ObjectMeta(
            name=slice_name(metadata.name, f"{metadata.uid}{seed}{told}"),
            generate_name=slice_prefix(metadata.name),
            namespace=metadata.namespace,
            labels=metadata.labels | {SERVICE_NAME: metadata.name, MANAGED_BY: MANAGER},
            annotations={name: text for name, text in metadata.annotations.items() if name not in NOT_COPIED},
            owner_references=[reference_as_controller(endpoints)],
        ),
        address_type=family,
        endpoints=found,
        ports=ports,
    )


def _difference(current: EndpointSlice, new: EndpointSlice) -> dict[str, Any]:
    change: dict[str, Any] = {}
    for name in ("labels", "annotations"):
        had, wanted = getattr(current.metadata, name), getattr(new.metadata, name)
        if had != wanted:
            gone: dict[str, str | None] = dict.fromkeys(had.keys() - wanted.keys())
            change.setdefault("metadata", {})[name] = gone | wanted
    if current.endpoints != new.endpoints:
        change["endpoints"] = msgspec.to_builtins(new.endpoints)
    return change


def keys_of_slice(each: EndpointSlice, listers: Listers) -> Iterable[ObjectKey]:
    """Map a slice to its Endpoints, if it mirrors them."""
    if each.metadata.labels.get(MANAGED_BY) == MANAGER:
        yield ObjectKey(each.metadata.namespace, each.metadata.labels.get(SERVICE_NAME, ""))


CONTROLLER: Controller[Endpoints, Observed] = Controller(
    name="endpoint-slice-mirroring-controller",
    resource=endpoints_kind.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(
        Watch(resource=services.RESOURCE, keys=lambda service, listers: (key_of(service),)),
        Watch(resource=slices.RESOURCE, keys=keys_of_slice, indexes={BY_SERVICE: index_slices_by_service}),
    ),
)
