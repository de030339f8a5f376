"""NetworkPolicy: which traffic to and from pods is let through. Without one, all is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from api import validation as v
from api.columns import AGE, selector_text
from api.core.ip_addresses import parse_cidr
from api.go_types import texts
from api.meta import LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, IntOrString, Struct, always, field, wire


class NetworkPolicyEgressRule(Struct):
    """Where chosen pods may connect to: to these peers, on these ports.

    Attributes:
        ports: On which ports; empty is all.
        to: To whom: any of these; empty is everybody.
    """

    ports: Annotated[list[NetworkPolicyPort], wire(1, list_type="atomic")] = []
    to: Annotated[list[NetworkPolicyPeer], wire(2, list_type="atomic")] = []


class IPBlock(Struct):
    """A range of addresses, with holes.

    Attributes:
        cidr: The range, such as 192.168.0.0/16 or 2001:db8::/64.
        except_: Ranges within it that do not belong.
    """

    cidr: Annotated[str, wire(1, required=True)] = always("")
    except_: Annotated[list[str], wire(2, list_type="atomic")] = []


class NetworkPolicyPeer(Struct):
    """Who is at the other end: pods, by labels and namespaces, or a range of addresses.

    Attributes:
        pod_selector: Pods by their labels; in the policy's own namespace unless namespaceSelector says otherwise. Empty
            is all of them.
        namespace_selector: Namespaces by their labels; empty is all of them. Alone it means all of their pods.
        ip_block: A range of addresses; then no selector may be set.
    """

    pod_selector: Annotated[LabelSelector | None, wire(1)] = None
    namespace_selector: Annotated[LabelSelector | None, wire(2)] = None
    ip_block: Annotated[IPBlock | None, wire(3)] = None


class NetworkPolicyPort(Struct):
    """A port, or a range of them.

    Attributes:
        protocol: TCP (the default), UDP or SCTP.
        port: The pods' port, by number or by the name of a container port; unset, all of the protocol.
        end_port: The last port of a range that begins at port, which then is a number.
    """

    protocol: Annotated[str | None, wire(1)] = None
    port: Annotated[IntOrString | None, wire(2)] = None
    end_port: Annotated[Int32 | None, wire(3)] = None


class NetworkPolicyIngressRule(Struct):
    """Who may connect to chosen pods: these peers, on these ports.

    Attributes:
        ports: On which ports; empty is all.
        from_: From whom: any of these; empty is everybody.
    """

    ports: Annotated[list[NetworkPolicyPort], wire(1, list_type="atomic")] = []
    from_: Annotated[list[NetworkPolicyPeer], wire(2, list_type="atomic")] = []


class NetworkPolicySpec(Struct):
    """Which pods, and what they may receive and send.

    Attributes:
        pod_selector: To which pods of the namespace it applies; an empty selector is all of them.
        ingress: Who may connect to them. Rules add up, over all policies; nobody may without any, if the policy is
            about ingress.
        egress: Where they may connect to. Rules add up likewise; nowhere without any, if the policy is about egress.
        policy_types: Ingress, Egress or both: what it is about. By default Ingress, and Egress if there are egress
            rules.
    """

    pod_selector: Annotated[LabelSelector, wire(1, required=True)] = field(default_factory=LabelSelector)
    ingress: Annotated[list[NetworkPolicyIngressRule], wire(2, list_type="atomic")] = []
    egress: Annotated[list[NetworkPolicyEgressRule], wire(3, list_type="atomic")] = []
    policy_types: Annotated[list[str], wire(4, list_type="atomic")] = []


class NetworkPolicy(Struct):
    """Which traffic to and from pods is let through. Pods that no policy chooses are open."""

    api_version: str = always("networking.k8s.io/v1")
    kind: str = always("NetworkPolicy")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[NetworkPolicySpec, wire(2)] = field(default_factory=NetworkPolicySpec)


def default(policy: NetworkPolicy) -> None:
    """A policy is about what comes in, and about what goes out if it says anything of that; ports are TCP."""
    spec = policy.spec
    for ports in (*(rule.ports for rule in spec.ingress), *(rule.ports for rule in spec.egress)):
        for port in ports:
            if port.protocol is None:
                port.protocol = "TCP"
    if not spec.policy_types:
        spec.policy_types = ["Ingress", "Egress"] if spec.egress else ["Ingress"]


def validate(new: NetworkPolicy, old: NetworkPolicy | None) -> v.Errors:
    """Check selectors, ports and peers."""
    spec = new.spec
    yield from v.check_label_selector("spec.podSelector", spec.pod_selector)
    for i, ingress in enumerate(spec.ingress):
        yield from _check_ports(f"spec.ingress[{i}].ports", ingress.ports)
        yield from _check_peers(f"spec.ingress[{i}].from", ingress.from_)
    for i, egress in enumerate(spec.egress):
        yield from _check_ports(f"spec.egress[{i}].ports", egress.ports)
        yield from _check_peers(f"spec.egress[{i}].to", egress.to)
    if len(spec.policy_types) > 2:
        yield v.invalid(
            "spec.policyTypes",
            texts("networking.PolicyType", spec.policy_types),
            "may not specify more than two policyTypes",
        )
        return
    for i, kind in enumerate(spec.policy_types):
        if kind not in ("Ingress", "Egress"):
            yield v.not_supported(f"spec.policyTypes[{i}]", kind, ("Ingress", "Egress"), in_order=True)


def _check_ports(path: str, ports: Sequence[NetworkPolicyPort]) -> v.Errors:
    for i, port in enumerate(ports):
        where = f"{path}[{i}]"
        if port.protocol not in (None, "TCP", "UDP", "SCTP"):
            yield v.not_supported(f"{where}.protocol", port.protocol, ("TCP", "UDP", "SCTP"), in_order=True)
        if port.port is not None:
            yield from v.check_port_or_name(f"{where}.port", port.port)
        if port.end_port is None:
            continue
        if port.port is None:
            yield v.invalid(f"{where}.endPort", port.end_port, "may not be specified when `port` is not specified")
        elif isinstance(port.port, str):
            yield v.invalid(f"{where}.endPort", port.end_port, "may not be specified when `port` is non-numeric")
        else:
            yield from v.check_port(f"{where}.endPort", port.end_port)
            if port.end_port < port.port:
                yield v.invalid(f"{where}.endPort", port.end_port, "must be greater than or equal to `port`")


def _check_peers(path: str, peers: Sequence[NetworkPolicyPeer]) -> v.Errors:
    for i, peer in enumerate(peers):
        where = f"{path}[{i}]"
        yield from v.check_label_selector(f"{where}.podSelector", peer.pod_selector)
        yield from v.check_label_selector(f"{where}.namespaceSelector", peer.namespace_selector)
        if peer.ip_block is not None:
            if peer.pod_selector is not None or peer.namespace_selector is not None:
                yield v.forbidden(where, "may not specify both ipBlock and another peer")
            yield from _check_block(f"{where}.ipBlock", peer.ip_block)
        elif peer.pod_selector is None and peer.namespace_selector is None:
            yield v.required(where, "must specify a peer")


def _check_block(path: str, block: IPBlock) -> v.Errors:
    if not block.cidr:
        yield v.required(f"{path}.cidr")
        return
    outer = parse_cidr(block.cidr)
    if outer is None:
        yield v.invalid(f"{path}.cidr", block.cidr, _BAD_CIDR)
        return
    for i, hole in enumerate(block.except_):
        inner, where = parse_cidr(hole), f"{path}.except[{i}]"
        if inner is None:
            yield v.invalid(where, hole, _BAD_CIDR)
        elif inner.version != outer.version or not inner.subnet_of(outer) or inner == outer:  # type: ignore[arg-type]
            yield v.invalid(where, hole, "must be a strict subset of `cidr`")


_BAD_CIDR: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


RESOURCE: Final[Resource[NetworkPolicy]] = Resource(
    type=NetworkPolicy,
    group="networking.k8s.io",
    version="v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    namespaced=True,
    short_names=("netpol",),
    default=default,
    validate=validate,
    generation=True,
    columns=(
        Column("Pod-Selector", "string", lambda policy, now: selector_text(policy.spec.pod_selector), "Which pods."),
        AGE,
    ),
)
