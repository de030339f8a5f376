"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import Condition, ObjectMeta
from api.resource import Resource
from api.schema import Int32, IntOrString, Struct, always, field, wire


class PortStatus(Struct):
    port: Annotated[Int32, wire(1, required=True)] = always(0)
    protocol: Annotated[str, wire(2, required=True)] = always("")
    error: Annotated[str | None, wire(3)] = None


class LoadBalancerIngress(Struct):
    ip: Annotated[str, wire(1)] = ""
    hostname: Annotated[str, wire(2)] = ""
    ip_mode: Annotated[str | None, wire(3)] = None
    ports: Annotated[list[PortStatus], wire(4, list_type="atomic")] = []


class LoadBalancerStatus(Struct):
    ingress: Annotated[list[LoadBalancerIngress], wire(1, list_type="atomic")] = []


class ServiceStatus(Struct):
    load_balancer: Annotated[LoadBalancerStatus, wire(1)] = field(default_factory=LoadBalancerStatus)
    conditions: Annotated[list[Condition], wire(2, merge_key="type", list_type="map", list_keys=("type",))] = []


class ClientIPConfig(Struct):
    timeout_seconds: Annotated[Int32 | None, wire(1)] = None


class SessionAffinityConfig(Struct):
    client_ip: Annotated[ClientIPConfig | None, wire(1)] = field(name="clientIP", default=None)


class ServicePort(Struct):
    name: Annotated[str, wire(1)] = ""
    protocol: Annotated[str, wire(2)] = ""
    app_protocol: Annotated[str | None, wire(6)] = None
    port: Annotated[Int32, wire(3, required=True)] = always(0)
    target_port: Annotated[IntOrString, wire(4)] = 0
    node_port: Annotated[Int32, wire(5)] = 0


class ServiceSpec(Struct):
    ports: Annotated[
        list[ServicePort],
        wire(
            1,
            merge_key="port",
            list_type="map",
            list_keys=(
                "port",
                "protocol",
            ),
        ),
    ] = []
    selector: Annotated[dict[str, str], wire(2, atomic=True)] = {}
    cluster_ip: Annotated[str, wire(3)] = field(name="clusterIP", default="")
    cluster_ips: Annotated[list[str], wire(18, list_type="atomic")] = field(name="clusterIPs", default_factory=list)
    type: Annotated[str, wire(4)] = ""
    external_ips: Annotated[list[str], wire(5, list_type="atomic")] = field(name="externalIPs", default_factory=list)
    session_affinity: Annotated[str, wire(7)] = ""
    load_balancer_ip: Annotated[str, wire(8)] = field(name="loadBalancerIP", default="")
    load_balancer_source_ranges: Annotated[list[str], wire(9, list_type="atomic")] = []
    external_name: Annotated[str, wire(10)] = ""
    external_traffic_policy: Annotated[str, wire(11)] = ""
    health_check_node_port: Annotated[Int32, wire(12)] = 0
    publish_not_ready_addresses: Annotated[bool, wire(13)] = False
    session_affinity_config: Annotated[SessionAffinityConfig | None, wire(14)] = None
    ip_families: Annotated[list[str], wire(19, list_type="atomic")] = []
    ip_family_policy: Annotated[str | None, wire(17)] = None
    allocate_load_balancer_node_ports: Annotated[bool | None, wire(20)] = None
    load_balancer_class: Annotated[str | None, wire(21)] = None
    internal_traffic_policy: Annotated[str | None, wire(22)] = None
    traffic_distribution: Annotated[str | None, wire(23)] = None


class Service(Struct):
    api_version: str = always("v1")
    kind: str = always("Service")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ServiceSpec, wire(2)] = field(default_factory=ServiceSpec)
    status: Annotated[ServiceStatus, wire(3)] = field(default_factory=ServiceStatus)


RESOURCE: Final[Resource[Service]] = Resource(
    type=Service,
    group="",
    version="v1",
    kind="Service",
    plural="services",
    namespaced=True,
    short_names=("svc",),
    categories=("all",),
    subresources=("status",),
)
