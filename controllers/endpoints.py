"""Writes Endpoints, the older form of EndpointSlices, for each Service with a selector.

One object names all ready and unready addresses, grouped by the ports they serve; beyond a thousand they are cut short,
which an annotation tells. A Service's Endpoints go with it. Those of Services without a selector are their users' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api.core import endpoints as endpoints_kind
from api.core import pod as pods
from api.core import service as services
from api.core.endpoints import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from api.core.pod import Pod
from api.core.references import ObjectReference
from api.core.service import Service
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Create, Delete, Patch, Plan
from controllers.endpoint_trigger import LAST_CHANGE, trigger_time
from controllers.pods import is_finished, is_ready
from controllers.runner import Controller, Listers, Watch
from controllers.services import (
    BY_LABEL,
    Ports,
    index_pods_by_label,
    index_services_by_label,
    keys_of_pod,
    pods_behind,
    ports_of,
)

ADDRESSES_MAX = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
HEADLESS = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True)
class Observed:
    """A Service with a selector, or none where it has gone, and its Endpoints."""

    service: Service | None
    pods: Sequence[Pod]
    endpoints: Endpoints | None


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the Service, its pods and its Endpoints; None if they are not ours to write."""
    service = listers[services.RESOURCE].get(key)
    written = listers[endpoints_kind.RESOURCE].get(key)
    if service is None:
        return Observed(None, (), written)
    if not service.spec.selector or service.spec.type == "ExternalName":
        return None
    return Observed(service, pods_behind(service, listers), written)


def reconcile(observed: Observed, now: float) -> Plan:
    """Write what differs."""
    service, written = observed.service, observed.endpoints
    if service is None:
        if written is None:
            return NOTHING
        return Plan((Delete(endpoints_kind.RESOURCE, key_of(written), written.metadata.uid),))
    if service.metadata.deletion_timestamp:
        return NOTHING
    subsets, is_cut = compute_subsets(service, observed.pods)
    labels = {name: value for name, value in service.metadata.labels.items() if name != HEADLESS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    trigger = trigger_time(service, observed.pods, _told(service, observed), _uids(subsets))
    annotations: dict[str, Any] = {OVER_CAPACITY: "truncated"} if is_cut else {}
    if trigger:
        annotations[LAST_CHANGE] = trigger
    if written is None:
        metadata = ObjectMeta(namespace=service.metadata.namespace, name=service.metadata.name)
        metadata.labels, metadata.annotations = labels, annotations
        return Plan((Create(endpoints_kind.RESOURCE, Endpoints(metadata=metadata, subsets=subsets)),))
    told = OVER_CAPACITY in written.metadata.annotations
    if (written.subsets, written.metadata.labels, told) == (subsets, labels, is_cut):
        return NOTHING
    gone: dict[str, str | None] = dict.fromkeys(written.metadata.labels.keys() - labels.keys())
    change = {
        "metadata": {
            "resourceVersion": written.metadata.resource_version,
            "labels": gone | labels,
            "annotations": {OVER_CAPACITY: None, LAST_CHANGE: None} | annotations,
        },
        "subsets": msgspec.to_builtins(subsets),
    }
    return Plan((Patch(endpoints_kind.RESOURCE, key_of(written), change),))


def _told(service: Service, observed: Observed) -> dict[str, bool] | None:
    """Return which pods the Endpoints tell of, by UID, and whether as ready; None where there are none."""
    written = observed.endpoints
    if written is None:
        return None
    if service.spec.publish_not_ready_addresses:
        # All are told as ready, so what they were does not show: none of them has changed.
        known = _uids(written.subsets)
        return {pod.metadata.uid: is_ready(pod) for pod in observed.pods if pod.metadata.uid in known}
    unready = {at.target_ref.uid for each in written.subsets for at in each.not_ready_addresses if at.target_ref}
    return {uid: uid not in unready for uid in _uids(written.subsets)}


def _uids(subsets: Sequence[EndpointSubset]) -> set[str]:
    named = [at for each in subsets for at in (*each.addresses, *each.not_ready_addresses)]
    return {at.target_ref.uid for at in named if at.target_ref}


def compute_subsets(service: Service, found: Sequence[Pod]) -> tuple[list[EndpointSubset], bool]:
    """Return addresses by the ports they have in common, and whether there were too many."""
    publishes_all = service.spec.publish_not_ready_addresses
    by_ports: dict[Ports, tuple[list[EndpointAddress], list[EndpointAddress]]] = {}
    count = 0
    for pod in sorted(found, key=lambda pod: (not is_ready(pod), pod.status.pod_ip, pod.metadata.uid)):
        if not pod.status.pod_ip or is_finished(pod) or (pod.metadata.deletion_timestamp and not publishes_all):
            continue
        ports = ports_of(service, pod)
        if not ports and service.spec.ports:
            continue
        count += 1
        if count <= ADDRESSES_MAX:
            ready, unready = by_ports.setdefault(ports, ([], []))
            (ready if publishes_all or is_ready(pod) else unready).append(_address(service, pod))
    subsets = []
    for ports in sorted(by_ports, key=str):
        ready, unready = by_ports[ports]
        named = [
            EndpointPort(name=name, port=number, protocol=protocol, app_protocol=app_protocol)
            for name, protocol, number, app_protocol in ports
        ]
        subsets.append(EndpointSubset(addresses=ready, not_ready_addresses=unready, ports=named))
    return subsets, count > ADDRESSES_MAX


def _address(service: Service, pod: Pod) -> EndpointAddress:
    metadata = pod.metadata
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return EndpointAddress(
        ip=pod.status.pod_ip,
        hostname=pod.spec.hostname if named else "",
        node_name=pod.spec.node_name or None,
        target_ref=ObjectReference(kind="Pod", namespace=metadata.namespace, name=metadata.name, uid=metadata.uid),
    )


CONTROLLER: Controller[Service, Observed] = Controller(
    name="endpoint-controller",
    resource=services.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    indexes={BY_LABEL: index_services_by_label},
    watches=(
        Watch(resource=pods.RESOURCE, keys=keys_of_pod, indexes={BY_LABEL: index_pods_by_label}),
        Watch(resource=endpoints_kind.RESOURCE, keys=lambda each, listers: (key_of(each),), only_deleted=True),
    ),
)
