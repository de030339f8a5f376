"""Ingress: which HTTP requests from outside go to which Service; a controller of the cluster's choice acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE, NONE, joined
from api.core.ip_addresses import check_ip, parse_ip
from api.core.references import TypedLocalObjectReference
from api.core.service import PortStatus
from api.go_types import Verbatim
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, wire

_OLD_CLASS: Final = "kubernetes.io/ingress.class"
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_IN_PATHS: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS: Final = ("/..", "/.")


class IngressPortStatus(PortStatus):
    """A port of a load balancer, and whether it works."""


class IngressLoadBalancerIngress(Struct):
    """An address of a load balancer: an ip or a hostname.

    Attributes:
        ip: The IP address, for load balancers that have one.
        hostname: The DNS name, for load balancers that have one instead.
        ports: Its ports, and whether they work.
    """

    ip: Annotated[str, wire(1)] = ""
    hostname: Annotated[str, wire(2)] = ""
    ports: Annotated[list[IngressPortStatus], wire(4, list_type="atomic")] = []


class IngressLoadBalancerStatus(Struct):
    """Where a load balancer can be reached.

    Attributes:
        ingress: Its addresses; empty until there are any.
    """

    ingress: Annotated[list[IngressLoadBalancerIngress], wire(1, list_type="atomic")] = []


class IngressStatus(Struct):
    """Where an Ingress can be reached.

    Attributes:
        load_balancer: The load balancer that serves it.
    """

    load_balancer: Annotated[IngressLoadBalancerStatus, wire(1)] = field(default_factory=IngressLoadBalancerStatus)


class IngressBackend(Struct):
    """Where requests go; one of both is set.

    Attributes:
        service: The Service that answers requests; not together with a resource.
        resource: Another object of the namespace that answers requests; not together with a Service.
    """

    service: Annotated[IngressServiceBackend | None, wire(4)] = None
    resource: Annotated[TypedLocalObjectReference | None, wire(3)] = None


class HTTPIngressPath(Struct):
    """Requests whose path matches, and where they go.

    Attributes:
        path: The path to match; begins with / for Exact and Prefix.
        path_type: How path is compared: Exact, Prefix (whole elements between slashes), or ImplementationSpecific as
            the controller likes.
        backend: Where the requests go.
    """

    path: Annotated[str, wire(1)] = ""
    path_type: Annotated[str | None, wire(3, required=True)] = None
    backend: Annotated[IngressBackend, wire(2, required=True)] = field(default_factory=IngressBackend)


class HTTPIngressRuleValue(Struct):
    """The paths of one host.

    Attributes:
        paths: Each with its backend; the longest match wins, and Exact before Prefix.
    """

    paths: Annotated[list[HTTPIngressPath], wire(1, required=True, list_type="atomic")] = []


class IngressRule(Struct):
    """What happens to requests for one host.

    Attributes:
        host: The host, as in the request's Host header; *.example.com is any one label before it. Unset, all hosts.
        http: Where requests go, by path; unset, all to the default backend.
    """

    host: Annotated[str, wire(1)] = ""
    http: Annotated[HTTPIngressRuleValue | None, wire(2, 1)] = None


class IngressTLS(Struct):
    """A certificate, and for which hosts.

    Attributes:
        hosts: The hosts that the certificate is for; by default those that the controller finds in it.
        secret_name: The Secret with certificate and key (of type kubernetes.io/tls), in the Ingress's namespace.
    """

    hosts: Annotated[list[str], wire(1, list_type="atomic")] = []
    secret_name: Annotated[str, wire(2)] = ""


class ServiceBackendPort(Struct):
    """A port of a Service, by name or number; one of both is set.

    Attributes:
        name: Which port of the Service, by its name.
        number: Which port of the Service, by its number.
    """

    name: Annotated[str, wire(1)] = ""
    number: Annotated[Int32, wire(2)] = 0


class IngressServiceBackend(Struct):
    """A Service of the Ingress's namespace, and which of its ports.

    Attributes:
        name: The Service's name.
        port: Which port; required.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    port: Annotated[ServiceBackendPort, wire(2)] = field(default_factory=ServiceBackendPort)


class IngressSpec(Struct):
    """The rules, and who acts on them.

    Attributes:
        ingress_class_name: The IngressClass, and by it the controller that acts; unset, the class marked as the
            default.
        default_backend: Where requests go that no rule matches; unset, the controller decides. Required without rules.
        tls: Certificates by host, all served at port 443; none by default.
        rules: What happens to requests, by host and path.
    """

    ingress_class_name: Annotated[str | None, wire(4)] = None
    default_backend: Annotated[IngressBackend | None, wire(1)] = None
    tls: Annotated[list[IngressTLS], wire(2, list_type="atomic")] = []
    rules: Annotated[list[IngressRule], wire(3, list_type="atomic")] = []


class Ingress(Struct):
    """Which HTTP requests from outside go to which Service."""

    api_version: str = always("networking.k8s.io/v1")
    kind: str = always("Ingress")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[IngressSpec, wire(2)] = field(default_factory=IngressSpec)
    status: Annotated[IngressStatus, wire(3)] = field(default_factory=IngressStatus)


def validate(new: Ingress, old: Ingress | None) -> v.Errors:
    """Check rules and backends; a class is named in one way only."""
    spec = new.spec
    told = new.metadata.annotations.get(_OLD_CLASS)
    if old is None and told is not None and spec.ingress_class_name not in (None, told):
        why = "must match `ingressClassName` when both are specified"
        yield v.invalid(f"annotations.{_OLD_CLASS}", told, why)
    if not spec.rules and spec.default_backend is None:
        yield v.invalid(
            "spec", Verbatim("[]networking.IngressRule(nil)"), "either `defaultBackend` or `rules` must be specified"
        )
    if spec.default_backend is not None:
        yield from _check_backend("spec.defaultBackend", spec.default_backend)
    for i, rule in enumerate(spec.rules):
        yield from _check_rule(f"spec.rules[{i}]", rule)
    for i, tls in enumerate(spec.tls):
        for j, host in enumerate(tls.hosts):
            yield from _check_host(f"spec.tls[{i}].hosts[{j}]", host)
        if tls.secret_name:
            yield from v.check_name(f"spec.tls[{i}].secretName", tls.secret_name, names.check_subdomain)
    if spec.ingress_class_name is not None:
        for message in names.check_subdomain(spec.ingress_class_name):
            yield v.invalid("spec.ingressClassName", spec.ingress_class_name, message)


def _check_host(path: str, host: str) -> v.Errors:
    for message in names.check_wildcard_subdomain(host) if "*" in host else names.check_subdomain(host):
        yield v.invalid(path, host, message)


def _check_rule(path: str, rule: IngressRule) -> v.Errors:
    if rule.host:
        if parse_ip(rule.host) is not None:
            yield v.invalid(f"{path}.host", rule.host, "must be a DNS name, not an IP address")
        else:
            yield from _check_host(f"{path}.host", rule.host)
    if rule.http is None:
        return
    if not rule.http.paths:
        yield v.required(f"{path}.http.paths")
    for i, one in enumerate(rule.http.paths):
        where = f"{path}.http.paths[{i}]"
        if one.path_type is None:
            yield v.required(f"{where}.pathType", "pathType must be specified")
            continue
        if one.path_type not in _PATH_TYPES:
            yield v.not_supported(f"{where}.pathType", one.path_type, _PATH_TYPES)
        elif one.path_type == "ImplementationSpecific":
            if one.path and not one.path.startswith("/"):
                yield v.invalid(f"{where}.path", one.path, "must be an absolute path")
        else:
            yield from _check_path(f"{where}.path", one.path)
        yield from _check_backend(f"{where}.backend", one.backend)


def _check_path(path: str, value: str) -> v.Errors:
    if not value.startswith("/"):
        yield v.invalid(path, value, "must be an absolute path")
    for part in _BAD_IN_PATHS:
        if part in value:
            yield v.invalid(path, value, f"must not contain '{part}'")
    for end in _BAD_ENDS:
        if value.endswith(end):
            yield v.invalid(path, value, f"cannot end with '{end}'")


def _check_backend(path: str, backend: IngressBackend) -> v.Errors:
    service, resource = backend.service, backend.resource
    if service is not None and resource is not None:
        yield v.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        if resource.api_group is not None:
            for message in names.check_subdomain(resource.api_group):
                yield v.invalid(f"{path}.resource.apiGroup", resource.api_group, message)
        for label, value in (("kind", resource.kind), ("name", resource.name)):
            where = f"{path}.resource.{label}"
            yield from v.check_name(where, value, names.check_path_segment, why=f"{label} is required")
    elif service is None:
        yield v.invalid(path, "", "resource or service backend is required")
    else:
        yield from v.check_name(f"{path}.service.name", service.name, names.check_label_1035)
        port, where = service.port, f"{path}.service.port"
        if port.name and port.number:
            yield v.invalid(path, "", "cannot set both port name & port number")
        elif port.name:
            for message in names.check_port_name(port.name):
                yield v.invalid(f"{where}.name", port.name, message)
        elif port.number:
            yield from v.check_port(f"{where}.number", port.number)
        else:
            yield v.required(path, "port name or number is required")


def validate_status(new: Ingress, old: Ingress) -> v.Errors:
    """Check where the Ingress is said to be reached."""
    for i, point in enumerate(new.status.load_balancer.ingress):
        where = f"status.loadBalancer.ingress[{i}]"
        if point.ip:
            yield from check_ip(f"{where}.ip", point.ip)
        if point.hostname:
            for message in names.check_subdomain(point.hostname):
                yield v.invalid(f"{where}.hostname", point.hostname, message)
            if parse_ip(point.hostname) is not None:
                yield v.invalid(f"{where}.hostname", point.hostname, "must be a DNS name, not an IP address")


def _class(ingress: Ingress, now: float) -> str:
    return ingress.spec.ingress_class_name or ingress.metadata.annotations.get(_OLD_CLASS) or NONE


def _hosts(ingress: Ingress, now: float) -> str:
    hosts = [rule.host for rule in ingress.spec.rules if rule.host]
    return joined(hosts, limit=3) if hosts else "*"


def _address(ingress: Ingress, now: float) -> str:
    return ",".join(point.ip or point.hostname for point in ingress.status.load_balancer.ingress)


def warn(new: Ingress, old: Ingress | None) -> Iterator[str]:
    """Warn who creates one that names its class the old way."""
    if old is None and _OLD_CLASS in new.metadata.annotations and new.spec.ingress_class_name is None:
        yield f"annotation \"{_OLD_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"


RESOURCE: Final[Resource[Ingress]] = Resource(
    type=Ingress,
    group="networking.k8s.io",
    version="v1",
    kind="Ingress",
    plural="ingresses",
    namespaced=True,
    short_names=("ing",),
    subresources=("status",),
    validate=validate,
    warn=warn,
    validate_status=validate_status,
    generation=True,
    columns=(
        Column("Class", "string", _class, "Which controller acts on it."),
        Column("Hosts", "string", _hosts, "The first few hosts it is about."),
        Column("Address", "string", _address, "Where it can be reached."),
        Column("Ports", "string", lambda ingress, now: "80, 443" if ingress.spec.tls else "80", "Its ports."),
        AGE,
    ),
)
