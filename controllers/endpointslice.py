"""Writes down which pods stand behind each Service, in slices of at most 100 endpoints.

Reads Services with a selector, the pods it matches, and nodes' zones; writes EndpointSlices (KEP-752) whose readers
are the proxies and the DNS. Services without a selector, and slices of other writers, are left alone. One address
family, IPv4. An endpoint stays in the slice where it is, so that a change of one pod rewrites one slice. The names of
slices come from the Service, so that a repeated create meets AlreadyExists. `zone_hints.py` says which zones endpoints
are for.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from api.core import node as nodes
from api.core import pod as pods
from api.core import service as services
from api.core.node import Node
from api.core.pod import Pod
from api.core.references import ObjectReference
from api.core.service import Service
from api.discovery import endpointslice as slices
from api.discovery.endpointslice import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
)
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Action, Create, Delete, Emit, Patch, Plan
from controllers.endpoint_labels import BY_SERVICE, MANAGED_BY, SERVICE_NAME, index_slices_by_service
from controllers.endpoint_trigger import LAST_CHANGE, trigger_time
from controllers.ownership import reference_as_controller
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
from controllers.slice_names import slice_name, slice_prefix
from controllers.zone_hints import ZONE, choose_zones, has_wish, is_proportional, is_ready_node, shares_of, why_none

MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
ENDPOINTS_MAX = 100
BY_WISH = "wish"
OF_TYPE = "addressType: IPv4"


@dataclass(frozen=True, slots=True)
class Observed:
    """A Service with a selector, and what is behind it."""

    service: Service
    pods: Sequence[Pod]
    """Pods of its namespace that it selects."""
    slices: Sequence[EndpointSlice]
    """The slices we keep for it."""
    taken: frozenset[str]
    """Names in use among all slices of the Service."""
    zones: Mapping[str, str]
    """Zones of the pods' nodes, by node name, where they have one."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of each zone in all CPUs, where the Service asks for endpoints by them."""
    was_shared_out: bool = False
    """Whether its endpoints were shared out among the zones before."""


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the Service, its pods and its slices; None if it is not ours to do."""
    service = listers[services.RESOURCE].get(key)
    if service is None or not service.spec.selector or service.spec.type == "ExternalName":
        return None
    found = pods_behind(service, listers)
    everything = listers[slices.RESOURCE].by_index(BY_SERVICE, str(key))
    zones = {}
    for node_name in {pod.spec.node_name for pod in found if pod.spec.node_name}:
        node = listers[nodes.RESOURCE].get(ObjectKey("", node_name))
        if node is not None and ZONE in node.metadata.labels:
            zones[node_name] = node.metadata.labels[ZONE]
    return Observed(
        service,
        found,
        [each for each in everything if each.metadata.labels.get(MANAGED_BY) == MANAGER],
        frozenset(each.metadata.name for each in everything),
        zones,
        shares_of(listers[nodes.RESOURCE].list()) if is_proportional(service) else {},
    )


def endpoints_of(observed: Observed) -> dict[Ports, dict[str, Endpoint]]:
    """Return the endpoints that there should be, by ports and by the pod's UID, with their zones to be used from."""
    service = observed.service
    wanted: dict[Ports, dict[str, Endpoint]] = defaultdict(dict)
    for pod in observed.pods:
        if pod.status.pod_ip and not is_finished(pod):
            wanted[ports_of(service, pod)][pod.metadata.uid] = compute_endpoint(
                service, pod, observed.zones.get(pod.spec.node_name)
            )
    everybody = {uid: endpoint for group in wanted.values() for uid, endpoint in group.items()}
    for uid, zone in choose_zones(service, everybody, observed.shares).items():
        everybody[uid].hints = EndpointHints(for_zones=[ForZone(name=zone)])
    return wanted


def is_shared_out(service: Service, endpoints: Iterable[Endpoint]) -> bool:
    """Whether endpoints are shared out among the zones, as their Service asks."""
    return is_proportional(service) and any(each.hints is not None for each in endpoints)


def _told_of_zones(observed: Observed, endpoints: Sequence[Endpoint]) -> list[Action]:
    """Tell that endpoints are shared out from now on, or are not any more, or why they cannot be."""
    service = observed.service
    if is_shared_out(service, endpoints):
        if observed.was_shared_out:
            return []
        return [Emit(service, NORMAL, "TopologyAwareHintsEnabled", f"Topology Aware Hints has been enabled, {OF_TYPE}")]
    if is_proportional(service):
        why = why_none(endpoints, observed.shares)
    elif observed.was_shared_out:
        why = "Topology Aware Hints has been disabled"
    else:
        return []
    return [Emit(service, WARNING, "TopologyAwareHintsDisabled", f"{why}, {OF_TYPE}")]


def reconcile(observed: Observed, now: float) -> Plan:
    """Keep endpoints where they are, fill gaps, then add slices; delete slices left empty."""
    service = observed.service
    if service.metadata.deletion_timestamp:
        return Plan()
    wanted = endpoints_of(observed)
    everybody = {uid: endpoint for group in wanted.values() for uid, endpoint in group.items()}
    actions = _told_of_zones(observed, [*everybody.values()])
    if not wanted:
        # One slice without endpoints says that there are none, as opposed to that nobody has looked.
        wanted[_ports_in(observed.slices[0]) if observed.slices else ()] = {}
    by_ports: dict[Ports, list[EndpointSlice]] = defaultdict(list)
    for current in observed.slices:
        ports = _ports_in(current)
        if ports in wanted and not current.metadata.deletion_timestamp and current.address_type == "IPv4":
            by_ports[ports].append(current)
        elif not current.metadata.deletion_timestamp:
            actions.append(Delete(slices.RESOURCE, key_of(current), current.metadata.uid))
    taken = set(observed.taken)
    trigger = trigger_time(service, observed.pods, _told(observed.slices), everybody)
    for ports in sorted(wanted, key=str):
        actions += _fit(service, ports, wanted[ports], by_ports[ports], taken, trigger)
    # Endpoints appear before others disappear, so that a Service with pods is never seen without.
    return Plan(tuple(sorted(actions, key=lambda action: isinstance(action, Delete))))


def _told(written: Sequence[EndpointSlice]) -> dict[str, bool] | None:
    """Return which pods slices tell of, by UID, and whether as ready; None where there are no slices."""
    endpoints = [endpoint for each in written for endpoint in each.endpoints]
    told = {each.target_ref.uid: bool(each.conditions.serving) for each in endpoints if each.target_ref}
    return told if written else None


def _fit(
    service: Service,
    ports: Ports,
    wanted: dict[str, Endpoint],
    current: Sequence[EndpointSlice],
    taken: set[str],
    trigger: str,
) -> list[Action]:
    """Return the writes that make slices of the same ports hold exactly `wanted`, changing as few as possible."""
    left = dict(wanted)
    contents: list[list[Endpoint]] = []
    for each in current:
        kept: list[Endpoint] = []
        for endpoint in each.endpoints:
            uid = endpoint.target_ref.uid if endpoint.target_ref else ""
            if uid in left and len(kept) < ENDPOINTS_MAX:
                kept.append(left.pop(uid))
        contents.append(kept)
    missing = list(left.values())
    # Fill those that change anyway, then the fullest.
    order = sorted(range(len(current)), key=lambda at: (contents[at] == current[at].endpoints, -len(contents[at])))
    for at in order:
        room = ENDPOINTS_MAX - len(contents[at])
        contents[at] += missing[:room]
        missing = missing[room:]
    actions: list[Action] = []
    nonempty = sum(bool(content) for content in contents) + bool(missing)
    for each, content in zip(current, contents, strict=True):
        if not content and nonempty:
            actions.append(Delete(slices.RESOURCE, key_of(each), each.metadata.uid))
            continue
        nonempty += 1
        labels = _labels(service)
        patch: dict[str, Any] = {}
        if each.metadata.labels != labels:
            changed: dict[str, str | None] = dict.fromkeys(set(each.metadata.labels) - set(labels))
            patch["metadata"] = {"labels": changed | labels}
        if each.endpoints != content:
            patch["endpoints"] = msgspec.to_builtins(content)
        if patch and each.metadata.annotations.get(LAST_CHANGE, "") != trigger:
            patch.setdefault("metadata", {})["annotations"] = {LAST_CHANGE: trigger or None}
        if patch:
            actions.append(Patch(slices.RESOURCE, key_of(each), patch))
    first = not current and not missing
    while missing or first:
        first = False
        actions.append(_creation(service, ports, missing[:ENDPOINTS_MAX], taken, trigger))
        missing = missing[ENDPOINTS_MAX:]
    return actions


def compute_endpoint(service: Service, pod: Pod, zone: str | None) -> Endpoint:
    """Return the endpoint that a pod is."""
    serving, terminating = is_ready(pod), bool(pod.metadata.deletion_timestamp)
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return Endpoint(
        addresses=[pod.status.pod_ip],
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=pod.spec.hostname if named else None,
        node_name=pod.spec.node_name or None,
        zone=zone,
        target_ref=ObjectReference(
            kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid
        ),
    )


def _ports_in(each: EndpointSlice) -> Ports:
    found = [(port.name or "", port.protocol or "TCP", port.port or 0, port.app_protocol) for port in each.ports]
    return tuple(sorted(found, key=str))


def _labels(service: Service) -> dict[str, str]:
    labels = {name: value for name, value in service.metadata.labels.items() if name != HEADLESS}
    if service.spec.cluster_ip == "None":
        labels[HEADLESS] = ""
    return labels | {SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}


def _creation(service: Service, ports: Ports, endpoints: list[Endpoint], taken: set[str], trigger: str) -> Create:
    number = 0
    while (name := slice_name(service.metadata.name, f"{service.metadata.uid}{ports}{number}")) in taken:
        number += 1
    taken.add(name)
    made = EndpointSlice(
        metadata=ObjectMeta(
            name=name,
            generate_name=slice_prefix(service.metadata.name),
            namespace=service.metadata.namespace,
            labels=_labels(service),
            annotations={LAST_CHANGE: trigger} if trigger else {},
            owner_references=[reference_as_controller(service)],
        ),
        address_type="IPv4",
        endpoints=endpoints,
        ports=[
            EndpointPort(name=name, protocol=protocol, port=port, app_protocol=app_protocol)
            for name, protocol, port, app_protocol in ports
        ],
    )
    return Create(slices.RESOURCE, made)


def keys_of_slice(each: EndpointSlice, listers: Listers) -> Iterable[ObjectKey]:
    """Map a slice to its Service, if it is ours."""
    name = each.metadata.labels.get(SERVICE_NAME)
    if name and each.metadata.labels.get(MANAGED_BY) == MANAGER:
        yield ObjectKey(each.metadata.namespace, name)


def index_services_by_wish(service: Service) -> Iterable[str]:
    """Index Services that care in which zones nodes are."""
    return [BY_WISH] if has_wish(service) else []


def keys_of_node(node: Node, listers: Listers) -> Iterable[ObjectKey]:
    """Map any node to the Services that care."""
    return [key_of(service) for service in listers[services.RESOURCE].by_index(BY_WISH, BY_WISH)]


def is_news_of_node(old: Node, new: Node) -> bool:
    """Whether a node's zone may be another, or its share in the work: nodes report their state all the time."""

    def seen(node: Node) -> tuple[object, ...]:
        return node.metadata.labels, node.status.allocatable, is_ready_node(node)

    return seen(old) != seen(new)


def controller() -> Controller[Service, Observed]:
    """Return the controller, with a memory of which Services have their endpoints shared out among the zones."""
    shared_out: set[ObjectKey] = set()

    def look(key: ObjectKey, listers: Listers) -> Observed | None:
        observed = observe(key, listers)
        was, now = key in shared_out, False
        if observed is not None and is_proportional(observed.service):
            endpoints = [each for group in endpoints_of(observed).values() for each in group.values()]
            now = is_shared_out(observed.service, endpoints)
        (shared_out.add if now else shared_out.discard)(key)
        return None if observed is None else dataclasses.replace(observed, was_shared_out=was)

    return Controller(
        name="endpoint-slice-controller",
        resource=services.RESOURCE,
        observe=look,
        reconcile=reconcile,
        indexes={BY_LABEL: index_services_by_label, BY_WISH: index_services_by_wish},
        watches=(
            Watch(resource=pods.RESOURCE, keys=keys_of_pod, indexes={BY_LABEL: index_pods_by_label}),
            Watch(resource=slices.RESOURCE, keys=keys_of_slice, indexes={BY_SERVICE: index_slices_by_service}),
            Watch(resource=nodes.RESOURCE, keys=keys_of_node, is_news=is_news_of_node),
        ),
    )
