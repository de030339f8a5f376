"""What whoever creates or changes a Service is warned of, though it is taken (KEP-1693). Pure.

Source: upstream's pkg/api/service, "warnings". Addresses are read as by Go's net/netip, more strictly than validated.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING

from api.validation import show

if TYPE_CHECKING:
    from api.core.service import Service

_HINTS = "service.kubernetes.io/topology-aware-hints"
_LATER = "was accepted, but will be invalid in a future Kubernetes release"
_CANONICAL = "is not in RFC 5952 canonical format"
_LOOPS = "which may cause controller apply-loops"


def warn(new: Service, old: Service | None) -> Iterator[str]:
    """Warn of what has no effect, or will not be taken for ever."""
    spec = new.spec
    if _HINTS in new.metadata.annotations:
        yield f"annotation {_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
    is_headless = spec.type == "ClusterIP" and spec.cluster_ip == "None"
    if spec.cluster_ip not in ("", "None"):
        for i, address in enumerate(spec.cluster_ips):
            yield from _warn_of_address(f"spec.clusterIPs[{i}]", address)
    if is_headless:
        if spec.load_balancer_ip:
            yield "spec.loadBalancerIP is ignored for headless services"
        if spec.external_ips:
            yield "spec.externalIPs is ignored for headless services"
        if spec.session_affinity != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    for i, address in enumerate(spec.external_ips):
        yield from _warn_of_address(f"spec.externalIPs[{i}]", address)
    if spec.load_balancer_ip:
        yield from _warn_of_address("spec.loadBalancerIP", spec.load_balancer_ip)
    for i, block in enumerate(spec.load_balancer_source_ranges):
        yield from _warn_of_block(f"spec.loadBalancerSourceRanges[{i}]", block)
    if spec.type == "ExternalName" and spec.external_ips:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if spec.type != "ExternalName" and spec.external_name:
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'


def _warn_of_address(path: str, address: str) -> Iterator[str]:
    wrong = _unreadable(address)
    if wrong:
        yield f"{path}: IP address {_LATER}: {wrong}"
        return
    canonical = _canonical(address)
    if ":" in address and canonical != address:
        yield f"{path}: IPv6 address {show(address)} {_CANONICAL} ({show(canonical)}), {_LOOPS}"


def _warn_of_block(path: str, block: str) -> Iterator[str]:
    address, _, bits = block.partition("/")
    wrong = _unreadable(address)
    if wrong:
        yield f"{path}: IP prefix {_LATER}: netip.ParsePrefix({show(block)}): {wrong}"
        return
    canonical = f"{_canonical(address)}/{bits}"
    if ":" in address and canonical != block:
        yield f"{path}: IPv6 prefix {show(block)} {_CANONICAL} ({show(canonical)}), {_LOOPS}"


def _unreadable(address: str) -> str:
    """Return why Go will not read an address; of what validation has let through, that is a leading zero, or none."""
    parts = address.rpartition(":")[2].split(".")
    if len(parts) == 4 and any(len(part) > 1 and part.startswith("0") for part in parts):
        return f"ParseAddr({show(address)}): IPv4 field has octet with leading zero"
    return ""


def _canonical(address: str) -> str:
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped is not None:
        return f"::ffff:{read.ipv4_mapped}"
    return str(read)
