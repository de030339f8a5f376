"""Service: one address and name for a changing set of pods.

Cluster IPs and node ports are handed out by the server between `prepare_for_create` and `validate`; what is here only
says which Services have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE, NONE, joined, labels_text
from api.core.ip_addresses import check_cidr, check_ip, check_usable_ip
from api.core.service_warnings import warn
from api.go_types import texts
from api.meta import Condition, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, IntOrString, Struct, always, field, wire


class PortStatus(Struct):
    """A port of a load balancer, and whether it works.

    Attributes:
        port: The port's number.
        protocol: TCP, UDP or SCTP.
        error: Why it does not work, as a CamelCase word (with a domain in front if it is the provider's own); unset if
            it does.
    """

    port: Annotated[Int32, wire(1, required=True)] = always(0)
    protocol: Annotated[str, wire(2, required=True)] = always("")
    error: Annotated[str | None, wire(3)] = None


class LoadBalancerIngress(Struct):
    """An address of a load balancer: an ip or a hostname.

    Attributes:
        ip: The IP address, for load balancers that have one.
        hostname: The DNS name, for load balancers that have one instead.
        ip_mode: How traffic to ip arrives at nodes: VIP (the default) still addressed to it, so that nodes handle it
            themselves, Proxy addressed to the node or pod.
        ports: Its ports; all of the Service's if nothing is said.
    """

    ip: Annotated[str, wire(1)] = ""
    hostname: Annotated[str, wire(2)] = ""
    ip_mode: Annotated[str | None, wire(3)] = None
    ports: Annotated[list[PortStatus], wire(4, list_type="atomic")] = []


class LoadBalancerStatus(Struct):
    """Where a load balancer can be reached.

    Attributes:
        ingress: Its addresses; empty until there are any.
    """

    ingress: Annotated[list[LoadBalancerIngress], wire(1, list_type="atomic")] = []


class ServiceStatus(Struct):
    """What became of a Service outside the cluster.

    Attributes:
        load_balancer: Where its load balancer can be reached, if it has one.
        conditions: Answers to questions about the Service.
    """

    load_balancer: Annotated[LoadBalancerStatus, wire(1)] = field(default_factory=LoadBalancerStatus)
    conditions: Annotated[list[Condition], wire(2, merge_key="type", list_type="map", list_keys=("type",))] = []


class ClientIPConfig(Struct):
    """How long a client stays with its pod.

    Attributes:
        timeout_seconds: For how many seconds after its last connection, 1 to 86400; 10800 (3 hours) by default.
    """

    timeout_seconds: Annotated[Int32 | None, wire(1)] = None


class SessionAffinityConfig(Struct):
    """How clients are kept with their pods.

    Attributes:
        client_ip: How it is done by the client's address.
    """

    client_ip: Annotated[ClientIPConfig | None, wire(1)] = field(name="clientIP", default=None)


class ServicePort(Struct):
    """A port of a Service, and the port of the pods that it leads to.

    Attributes:
        name: By which it is found in DNS and in EndpointSlices; a DNS label, required where there are several ports.
        protocol: TCP (the default), UDP or SCTP.
        app_protocol: What is spoken there, such as https or kubernetes.io/h2c; a hint for proxies and load balancers.
        port: The port of the Service's address, 1 to 65535.
        target_port: The pods' port, by number or by the name of a container port, which may differ from pod to pod; the
            same as port by default.
        node_port: For NodePort and LoadBalancer, the port of every node, from 30000 to 32767 unless configured
            otherwise; chosen by the server by default.
    """

    name: Annotated[str, wire(1)] = ""
    protocol: Annotated[str, wire(2)] = ""
    app_protocol: Annotated[str | None, wire(6)] = None
    port: Annotated[Int32, wire(3, required=True)] = always(0)
    target_port: Annotated[IntOrString, wire(4)] = 0
    node_port: Annotated[Int32, wire(5)] = 0


class ServiceSpec(Struct):
    """How a Service can be reached, and which pods are behind it.

    Attributes:
        ports: What is reachable; required but for headless Services and ExternalName.
        selector: Labels of the pods behind it. Empty, its endpoints are made by somebody else. Ignored for
            ExternalName.
        cluster_ip: Its address inside the cluster; chosen by the server by default, and never changed. None makes it
            headless: its name leads straight to the pods.
        cluster_ips: Its addresses inside the cluster, at most one of each family; the first is clusterIP.
        type: ClusterIP (the default: an address inside), NodePort (and a port of every node), LoadBalancer (and an
            address outside) or ExternalName (only an alias in DNS).
        external_ips: Addresses at which nodes take traffic for it too; somebody else must bring it there.
        session_affinity: ClientIP sends a client to the same pod again; None is the default.
        load_balancer_ip: An address asked of the load balancer. Deprecated: not all have this.
        load_balancer_source_ranges: Ranges of addresses from which the load balancer may be used; all by default.
        external_name: For ExternalName: the DNS name that this one is an alias (CNAME) of.
        external_traffic_policy: To which pods traffic from outside goes: Cluster (the default) to any, Local only to
            those on the node where it arrives, which then see the client's address.
        health_check_node_port: For a LoadBalancer with externalTrafficPolicy Local: the port at which a node says
            whether it has pods. Chosen by the server by default, and never changed.
        publish_not_ready_addresses: Whether pods that are not ready count as ready in DNS and EndpointSlices, for peers
            to find each other; false by default.
        session_affinity_config: For how long a client is kept with its pod; only with sessionAffinity ClientIP.
        ip_families: Of which families its addresses are, IPv4 or IPv6, the first one first. The first never changes.
        ip_family_policy: SingleStack (the default), PreferDualStack (both families if the cluster has them) or
            RequireDualStack (both, or refused).
        allocate_load_balancer_node_ports: Whether a LoadBalancer gets node ports too; true by default.
        load_balancer_class: Which implementation makes the load balancer, as a qualified name; unset, the cloud's own.
            Never changes once set.
        internal_traffic_policy: To which pods traffic from inside goes: Cluster (the default) to any, Local only to
            those on the client's node.
        traffic_distribution: A wish where traffic goes: PreferClose is to pods of the same zone. Unset, to all alike.
    """

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
    """One address and name for a changing set of pods."""

    api_version: str = always("v1")
    kind: str = always("Service")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ServiceSpec, wire(2)] = field(default_factory=ServiceSpec)
    status: Annotated[ServiceStatus, wire(3)] = field(default_factory=ServiceStatus)


_SESSION_S = 10800
_SESSION_S_MAX = 86400
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_HEADLESS = "None"


def is_external(service: Service) -> bool:
    """Return whether traffic from outside the cluster can arrive at the Service."""
    spec = service.spec
    return spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.external_ips))


def default(service: Service) -> None:
    """A cluster IP; TCP; each port leads to the same port of the pods."""
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    spec.session_affinity = spec.session_affinity or "None"
    if spec.session_affinity == "None":
        spec.session_affinity_config = None
    elif spec.session_affinity == "ClientIP":
        config = spec.session_affinity_config = spec.session_affinity_config or SessionAffinityConfig()
        config.client_ip = config.client_ip or ClientIPConfig()
        if config.client_ip.timeout_seconds is None:
            config.client_ip.timeout_seconds = _SESSION_S
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        port.target_port = port.target_port or port.port
    if is_external(service):
        spec.external_traffic_policy = spec.external_traffic_policy or "Cluster"
    if spec.type != "ExternalName" and spec.internal_traffic_policy is None:
        spec.internal_traffic_policy = "Cluster"
    if spec.type == "LoadBalancer" and spec.allocate_load_balancer_node_ports is None:
        spec.allocate_load_balancer_node_ports = True
    if spec.type == "LoadBalancer":
        for ingress in service.status.load_balancer.ingress:
            if ingress.ip and ingress.ip_mode is None:
                ingress.ip_mode = "VIP"


def prepare_for_create(service: Service) -> None:
    """Begin without status; the two forms of the address agree."""
    service.status = ServiceStatus()
    agree(service)


def prepare_for_update(new: Service, old: Service) -> None:
    """Keep the status, and let go of what the new type has no use for, if it is only left over from the old one."""
    new.status = old.status
    spec, before = new.spec, old.spec
    if spec.cluster_ip != before.cluster_ip and spec.cluster_ips == before.cluster_ips:
        spec.cluster_ips = [spec.cluster_ip] if spec.cluster_ip else []
    agree(new)
    if not is_external(new) and spec.external_traffic_policy == before.external_traffic_policy:
        spec.external_traffic_policy = ""
    if spec.type == "ExternalName":
        spec.internal_traffic_policy = None
        if before.type != "ExternalName":
            _drop_addresses(spec, before)
    if spec.type != "LoadBalancer":
        spec.allocate_load_balancer_node_ports = None
        if spec.load_balancer_class == before.load_balancer_class:
            spec.load_balancer_class = None
    if spec.type != "ExternalName" and spec.external_name == before.external_name:
        spec.external_name = ""


def _drop_addresses(spec: ServiceSpec, before: ServiceSpec) -> None:
    """Take off what only addresses have, where it was not asked for together with the type that has none."""
    if spec.cluster_ips == before.cluster_ips:
        spec.cluster_ip, spec.cluster_ips = "", []
    if spec.ip_families == before.ip_families:
        spec.ip_families = []
    if spec.ip_family_policy == before.ip_family_policy:
        spec.ip_family_policy = None


def agree(service: Service) -> None:
    """Put the one address that an older client gives where all addresses are."""
    spec = service.spec
    if spec.cluster_ip and not spec.cluster_ips:
        spec.cluster_ips = [spec.cluster_ip]


# --- validation -----------------------------------------------------------------------------------------------------


_TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def validate(new: Service, old: Service | None) -> v.Errors:
    """Check type, ports, addresses and policies; a cluster IP once given stays."""
    if old is not None:
        yield from _check_update(new, old)
    spec, annotations = new.spec, new.metadata.annotations
    mode = annotations.get(_TOPOLOGY_MODE)
    if mode is not None and annotations.get(_TOPOLOGY_HINTS, mode) != mode:
        why = f"must match annotations[{_TOPOLOGY_HINTS}] when both are specified"
        yield v.invalid(f"metadata.annotations[{_TOPOLOGY_MODE}]", mode, why)
    if spec.type == "ExternalName":
        yield from _check_external_name(spec)
    elif spec.type in ("NodePort", "LoadBalancer") and spec.cluster_ip == _HEADLESS:
        yield v.invalid("spec.clusterIPs[0]", _HEADLESS, f"may not be set to 'None' for {spec.type} services")
    yield from _check_ports(spec)
    yield from v.check_labels("spec.selector", spec.selector)
    yield from v.check_supported("spec.sessionAffinity", spec.session_affinity, ("ClientIP", "None"))
    yield from _check_affinity(spec)
    if spec.type != "ExternalName":
        yield from check_addresses(spec)
    for i, address in enumerate(spec.external_ips):
        wrong = list(check_ip(f"spec.externalIPs[{i}]", address))
        yield from wrong or check_usable_ip(f"spec.externalIPs[{i}]", address)
    yield from v.check_supported("spec.type", spec.type, _TYPES)
    yield from _check_source_ranges(new)
    yield from _check_policies(new)


def validate_status(new: Service, old: Service) -> v.Errors:
    """Check where a load balancer is said to be, and what is said of the Service."""
    path = "status.loadBalancer"
    balancer = new.status.load_balancer
    if old.spec.type != "LoadBalancer" and balancer.ingress:
        yield v.forbidden(f"{path}.ingress", 'may only be used when `spec.type` is "LoadBalancer"')
        return
    for i, ingress in enumerate(balancer.ingress):
        where = f"{path}.ingress[{i}]"
        if ingress.ip:
            yield from check_ip(f"{where}.ip", ingress.ip)
            if ingress.ip_mode is None:
                yield v.required(f"{where}.ipMode", "must be specified when `ip` is set")
        elif ingress.ip_mode is not None:
            yield v.forbidden(f"{where}.ipMode", "may not be specified when `ip` is not set")
        if ingress.ip_mode not in (None, "Proxy", "VIP"):
            yield v.not_supported(f"{where}.ipMode", ingress.ip_mode or "", ("Proxy", "VIP"))
        if ingress.hostname:
            for message in names.check_subdomain(ingress.hostname):
                yield v.invalid(f"{where}.hostname", ingress.hostname, message)
            if _is_ip(ingress.hostname):
                yield v.invalid(f"{where}.hostname", ingress.hostname, "must be a DNS name, not an IP address")


def _is_ip(text: str) -> bool:
    return not list(check_ip("", text))


def _check_external_name(spec: ServiceSpec) -> v.Errors:
    for label, given in (
        ("clusterIPs", spec.cluster_ips),
        ("ipFamilies", spec.ip_families),
        ("ipFamilyPolicy", spec.ip_family_policy is not None),
    ):
        if given:
            yield v.forbidden(f"spec.{label}", "may not be set for ExternalName services")
    yield from v.check_name("spec.externalName", spec.external_name.removesuffix("."), names.check_subdomain)


def _check_affinity(spec: ServiceSpec) -> v.Errors:
    config, path = spec.session_affinity_config, "spec.sessionAffinityConfig"
    if spec.session_affinity == "None" and config is not None:
        yield v.forbidden(path, "must not be set when session affinity is None")
    if spec.session_affinity != "ClientIP":
        return
    why = "when session affinity type is ClientIP"
    if config is None:
        yield v.required(path, why)
    elif config.client_ip is None:
        yield v.required(f"{path}.clientIP", why)
    elif config.client_ip.timeout_seconds is None:
        yield v.required(f"{path}.clientIP.timeoutSeconds", why)
    elif not 0 < config.client_ip.timeout_seconds <= _SESSION_S_MAX:
        yield v.invalid(
            f"{path}.clientIP.timeoutSeconds",
            config.client_ip.timeout_seconds,
            f"must be greater than 0 and less than {_SESSION_S_MAX}",
        )


def _check_source_ranges(service: Service) -> v.Errors:
    """Check who may reach a load balancer; upstream writes this field's path with a capital."""
    spec, path = service.spec, "spec.LoadBalancerSourceRanges"
    ranges = [(f"{path}[{i}]", each.strip()) for i, each in enumerate(spec.load_balancer_source_ranges)]
    told = service.metadata.annotations.get(_SOURCE_RANGES)
    if not ranges and told is not None:
        path = f"metadata.annotations[{_SOURCE_RANGES}]"
        ranges = [(path, each.strip()) for each in told.split(",")] if told.strip() else []
    if (ranges or (told is not None and path.startswith("metadata"))) and spec.type != "LoadBalancer":
        yield v.forbidden(path, "may only be used when `type` is 'LoadBalancer'")
    for where, each in ranges:
        yield from check_cidr(where, each)


def _check_ports(spec: ServiceSpec) -> v.Errors:
    is_headless = spec.cluster_ip == _HEADLESS
    if not spec.ports and not is_headless and spec.type != "ExternalName":
        yield v.required("spec.ports")
    seen_names: set[str] = set()
    seen_ports: set[tuple[str, int]] = set()
    seen_node_ports: set[tuple[str, int]] = set()
    for i, port in enumerate(spec.ports):
        where = f"spec.ports[{i}]"
        if port.name:
            for message in names.check_label(port.name):
                yield v.invalid(f"{where}.name", port.name, message)
            if port.name in seen_names:
                yield v.duplicate(f"{where}.name", port.name)
            seen_names.add(port.name)
        elif len(spec.ports) > 1:
            yield v.required(f"{where}.name")
        yield from v.check_port(f"{where}.port", port.port)
        yield from v.check_supported(f"{where}.protocol", port.protocol, _PROTOCOLS)
        yield from v.check_port_or_name(f"{where}.targetPort", port.target_port)
        if port.app_protocol is not None:
            for message in names.check_qualified_name(port.app_protocol):
                yield v.invalid(f"{where}.appProtocol", port.app_protocol, message)
        if (port.protocol, port.port) in seen_ports:
            yield v.duplicate(where, ServicePort(protocol=port.protocol, port=port.port))
        seen_ports.add((port.protocol, port.port))
        if not port.node_port:
            continue
        if spec.type == "ClusterIP":
            yield v.forbidden(f"{where}.nodePort", "may not be used when `type` is 'ClusterIP'")
        if (port.protocol, port.node_port) in seen_node_ports:
            yield v.duplicate(f"{where}.nodePort", port.node_port)
        seen_node_ports.add((port.protocol, port.node_port))


def check_addresses(spec: ServiceSpec) -> v.Errors:
    """Check addresses, of which there is at most one in each family, and what is said of families."""
    path, addresses = "spec.clusterIPs", spec.cluster_ips
    wrong = []
    if spec.cluster_ip and not addresses:
        wrong.append(v.required(path))
    elif spec.cluster_ip and addresses[0] != spec.cluster_ip:
        wrong.append(v.invalid(path, addresses, "first value must match `clusterIP`"))
    elif addresses and not spec.cluster_ip:
        wrong.append(v.invalid(path, addresses, "must be empty when `clusterIP` is not specified"))
    for i, family in enumerate(spec.ip_families):
        if family not in _FAMILIES:
            wrong.append(v.not_supported(f"spec.ipFamilies[{i}]", family, _FAMILIES))
        if family in spec.ip_families[:i]:
            wrong.append(v.duplicate(f"spec.ipFamilies[{i}]", family))
    if spec.ip_family_policy is not None and spec.ip_family_policy not in _FAMILY_POLICIES:
        wrong.append(v.not_supported("spec.ipFamilyPolicy", spec.ip_family_policy, _FAMILY_POLICIES))
    yield from wrong
    is_headless = addresses[:1] == [_HEADLESS]
    unreadable = []
    if is_headless and len(addresses) > 1:
        unreadable.append(v.invalid(path, addresses, "'None' must be the first and only value"))
    for i, address in enumerate(addresses):
        if i or not is_headless:
            unreadable += check_ip(f"{path}[{i}]", address)
    yield from unreadable
    if len(addresses) > 2:
        yield v.invalid(path, addresses, "may only hold up to 2 values")
    if unreadable or is_headless:
        return
    of = ["IPv6" if ":" in address else "IPv4" for address in addresses]
    if len(of) > 1 and len(set(of)) == 1:
        yield v.invalid(path, addresses, "may specify no more than one IP for each IP family")
    elif not wrong:
        for i, (address, is_of, family) in enumerate(zip(addresses, of, spec.ip_families, strict=False)):
            if is_of != family:
                why = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
                yield v.invalid(f"{path}[{i}]", address, why)


def _check_policies(service: Service) -> v.Errors:
    spec = service.spec
    if spec.external_traffic_policy:
        if not is_external(service):
            yield v.invalid(
                "spec.externalTrafficPolicy",
                spec.external_traffic_policy,
                "may only be set for externally-accessible services",
            )
        else:
            yield from v.check_supported("spec.externalTrafficPolicy", spec.external_traffic_policy, _POLICIES)
    if spec.internal_traffic_policy is not None:
        yield from v.check_given("spec.internalTrafficPolicy", spec.internal_traffic_policy, _POLICIES)
    if spec.traffic_distribution is not None:
        yield from v.check_given("spec.trafficDistribution", spec.traffic_distribution, ("PreferClose",))
    if spec.allocate_load_balancer_node_ports is not None and spec.type != "LoadBalancer":
        yield v.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'")
    if spec.load_balancer_class is not None:
        if spec.type != "LoadBalancer":
            yield v.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
        for message in names.check_qualified_name(spec.load_balancer_class):
            yield v.invalid("spec.loadBalancerClass", spec.load_balancer_class, message)
    keeps_local = spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"
    if spec.health_check_node_port and not keeps_local:
        yield v.invalid(
            "spec.healthCheckNodePort",
            spec.health_check_node_port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    elif spec.health_check_node_port:
        yield from v.check_port("spec.healthCheckNodePort", spec.health_check_node_port)


def _check_update(new: Service, old: Service) -> v.Errors:
    is_headless = new.spec.cluster_ip == _HEADLESS == old.spec.cluster_ip
    if not is_headless and "ExternalName" not in (new.spec.type, old.spec.type):
        yield from _check_kept("clusterIP", new.spec, new.spec.cluster_ips, old.spec.cluster_ips)
        yield from _check_kept("ipFamily", new.spec, new.spec.ip_families, old.spec.ip_families)
    is_balanced = new.spec.type == "LoadBalancer" == old.spec.type
    if is_balanced and new.spec.load_balancer_class != old.spec.load_balancer_class:
        yield v.invalid("spec.loadBalancerClass", new.spec.load_balancer_class, "may not change once set")
    kept = (old.spec.external_traffic_policy, new.spec.external_traffic_policy) == ("Local", "Local")
    if is_balanced and kept and new.spec.health_check_node_port != old.spec.health_check_node_port:
        yield v.forbidden("spec.healthCheckNodePort", "field is immutable")


def _check_kept(what: str, spec: ServiceSpec, new: Sequence[str], old: Sequence[str]) -> v.Errors:
    """Require that what was given stays: a second address may come, and go with the policy SingleStack."""
    path = "spec.clusterIPs" if what == "clusterIP" else "spec.ipFamilies"
    shown = texts("string" if what == "clusterIP" else "core.IPFamily", list(new))
    if len(old) <= len(new):
        for i, value in enumerate(old):
            if new[i] != value:
                where = 0 if what == "ipFamily" else i  # As upstream has it, however odd.
                yield v.invalid(f"{path}[{where}]", shown, "may not change once set")
        return
    if not new:
        yield v.invalid(f"{path}[0]", shown, f"primary {what} can not be unset")
        return
    if new[0] != old[0]:
        yield v.invalid(f"{path}[0]", shown, "may not change once set")
    if len(new) == 1 and spec.ip_family_policy != "SingleStack":
        why = f"must be set to 'SingleStack' when releasing the secondary {what}"
        yield v.invalid("spec.ipFamilyPolicy", spec.ip_family_policy, why)


# --- columns --------------------------------------------------------------------------------------------------------


def _external_ip(service: Service, now: float) -> str:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.external_name
    if spec.type != "LoadBalancer":
        return joined(spec.external_ips)
    given = [ingress.ip or ingress.hostname for ingress in service.status.load_balancer.ingress]
    return joined([*given, *spec.external_ips]) if given or spec.external_ips else "<pending>"


def _ports(service: Service, now: float) -> str:
    return joined(
        f"{port.port}:{port.node_port}/{port.protocol}" if port.node_port else f"{port.port}/{port.protocol}"
        for port in service.spec.ports
    )


RESOURCE: Final[Resource[Service]] = Resource(
    type=Service,
    group="",
    version="v1",
    kind="Service",
    plural="services",
    namespaced=True,
    short_names=("svc",),
    categories=("all",),
    check_name=names.check_label_1035,
    subresources=("proxy", "status"),
    default=default,
    validate=validate,
    warn=warn,
    validate_status=validate_status,
    prepare_for_create=prepare_for_create,
    prepare_for_update=prepare_for_update,
    columns=(
        Column("Type", "string", lambda service, now: service.spec.type, "How the Service can be reached."),
        Column("Cluster-IP", "string", lambda service, now: service.spec.cluster_ip or NONE, "Its address."),
        Column("External-IP", "string", _external_ip, "Its addresses outside the cluster."),
        Column("Port(s)", "string", _ports, "Its ports, with those on every node."),
        AGE,
        Column(
            "Selector",
            "string",
            lambda service, now: labels_text(service.spec.selector),
            "Which pods are behind it.",
            priority=1,
        ),
    ),
    selectable_fields={
        "spec.clusterIP": lambda service: service.spec.cluster_ip,
        "spec.type": lambda service: service.spec.type,
    },
)
