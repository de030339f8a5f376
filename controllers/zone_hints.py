"""From which zone each endpoint of a Service should be used, where the Service wishes for traffic to stay near. Pure.

A Service says so in either of two ways. `trafficDistribution: PreferClose` (KEP-4444): each endpoint for its own zone.
The annotation `service.kubernetes.io/topology-mode: Auto` (KEP-2433), which counts for more: each zone gets endpoints
in proportion to the CPUs of its nodes, of its own where it has enough; no endpoint may end up with over a fifth more
load than its share, and where that cannot be, or too little is known, there are no hints at all.

Hints are for ready endpoints. A node heeds them where every ready endpoint has some (`kubeproxy/topology.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from api.core.node import Node
from api.core.service import Service
from api.discovery.endpointslice import Endpoint
from api.quantity import millis

ZONE = "topology.kubernetes.io/zone"
ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
"""The first is the older name, which counts for more where both are there."""
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OVERLOAD = 0.2
PREFER_CLOSE = "PreferClose"


def is_proportional(service: Service) -> bool:
    """Whether a Service wants endpoints shared out among the zones."""
    annotations = service.metadata.annotations
    mode = next((annotations[name] for name in ANNOTATIONS if name in annotations), "")
    return mode in ("Auto", "auto")


def has_wish(service: Service) -> bool:
    """Whether a Service wants traffic to stay near at all."""
    return is_proportional(service) or service.spec.traffic_distribution == PREFER_CLOSE


def shares_of(nodes: Iterable[Node]) -> dict[str, float]:
    """Return each zone's share of the CPUs of all ready workers; empty where one says too little, or all are in one."""
    cpus: Counter[str] = Counter()
    for node in nodes:
        labels = node.metadata.labels
        if any(role in labels for role in CONTROL_PLANE) or not is_ready_node(node):
            continue
        zone, cpu = labels.get(ZONE, ""), millis(node.status.allocatable.get("cpu", "0"))
        if not zone or not cpu:
            return {}
        cpus[zone] += cpu
    total = sum(cpus.values())
    return {zone: cpu / total for zone, cpu in cpus.items()} if len(cpus) > 1 else {}


def is_ready_node(node: Node) -> bool:
    """Whether a node runs pods."""
    return any(entry.type == "Ready" and entry.status == "True" for entry in node.status.conditions)


def choose_zones(service: Service, endpoints: Mapping[str, Endpoint], shares: Mapping[str, float]) -> dict[str, str]:
    """Return by endpoint the zone it should be used from; endpoints that are left out have no hint.

    `endpoints` may be under any keys; the same keys in the same order give the same answer.
    """
    ready = {key: each.zone or "" for key, each in endpoints.items() if each.conditions.ready}
    if is_proportional(service):
        return _share_out(ready, shares) if all(zone in shares for zone in ready.values()) else {}
    if service.spec.traffic_distribution == PREFER_CLOSE:
        return {key: zone for key, zone in ready.items() if zone}
    return {}


def why_none(endpoints: Iterable[Endpoint], shares: Mapping[str, float]) -> str:
    """Return why endpoints cannot be shared out among the zones, in upstream's words."""
    zones = [each.zone for each in endpoints if each.conditions.ready]
    told = f"({len(zones)} endpoints, {len(shares)} zones)"
    if not shares:
        return "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
    if len(zones) < len(shares):
        return f"Insufficient number of endpoints {told}"
    if sum(_fewest(len(zones), shares).values()) > len(zones):
        why = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        return f"{why} {told}"
    if not all(zones):
        return "One or more endpoints do not have a zone specified"
    return "No hints allocated for zones"


def _fewest(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return with how many endpoints no zone has too much to do."""
    return {zone: math.ceil(count * share / (1 + OVERLOAD)) for zone, share in shares.items()}


def _share_out(own: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, str]:
    """Leave each endpoint to its own zone, but for those that other zones need to have enough."""
    count = len(own)
    fewest = _fewest(count, shares)
    if not shares or count < len(shares) or sum(fewest.values()) > count:
        return {}
    chosen, has = dict(own), Counter(own.values())
    for zone in sorted(shares):
        while has[zone] < fewest[zone]:
            giver = max(sorted(shares), key=lambda each: (has[each] > fewest[each], has[each] - count * shares[each]))
            chosen[max(key for key, at in chosen.items() if at == giver)] = zone
            has[giver] -= 1
            has[zone] += 1
    return chosen
