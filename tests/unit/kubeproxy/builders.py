"""Services and slices in few words."""

from __future__ import annotations

from typing import Any

from api.core.service import ClientIPConfig, Service, ServicePort, ServiceSpec, SessionAffinityConfig
from api.discovery.endpointslice import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForZone,
)
from api.meta import ObjectMeta
from kubeproxy.topology import NodeView

NODE = NodeView("n1", "10.244.0.0/16")


def service(
    name: str = "web", ip: str = "10.96.0.20", *, affinity_s: int = 0, node_port: int = 0, **spec: Any
) -> Service:
    protocol = spec.pop("protocol", "TCP")
    ports = spec.pop("ports", [ServicePort(name="http", protocol=protocol, port=80, node_port=node_port)])
    if affinity_s:
        spec["session_affinity"] = "ClientIP"
        spec["session_affinity_config"] = SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=affinity_s))
    spec.setdefault("type", "NodePort" if node_port else "ClusterIP")
    return Service(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=ServiceSpec(cluster_ip=ip, cluster_ips=[ip], ports=ports, **spec),
    )


def endpoint(
    address: str,
    node: str = "n2",
    *,
    ready: bool | None = True,
    serving: bool | None = None,
    terminating: bool | None = None,
    zones: tuple[str, ...] = (),
    hostname: str | None = None,
) -> Endpoint:
    return Endpoint(
        addresses=[address],
        node_name=node,
        hostname=hostname,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hints=EndpointHints(for_zones=[ForZone(name=zone) for zone in zones]) if zones else None,
    )


def endpoint_slice(
    *endpoints: Endpoint, service: str = "web", name: str = "", port: int = 8080, protocol: str = "TCP"
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name=name or f"{service}-abc", namespace="default", labels={"kubernetes.io/service-name": service}
        ),
        address_type="IPv4",
        endpoints=list(endpoints),
        ports=[EndpointPort(name="http", port=port, protocol=protocol)],
    )
