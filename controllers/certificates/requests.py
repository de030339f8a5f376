"""What each of Kubernetes' signers signs, and what nodes may ask for ("Kubernetes signers" in its docs). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from api import timestamps
from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.certificates.reading import read_request

CLIENT: Final = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"
LEGACY: Final = "kubernetes.io/legacy-unknown"

NODES: Final = "system:nodes"
NODE_PREFIX: Final = "system:node:"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a PEM request asks for."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    others: tuple[str, ...]
    """Alternative names of other kinds: e-mail addresses and URIs."""
    usages: frozenset[str]


def asked_in(request: CertificateSigningRequest) -> Asked:
    """Read a request; raises ValueError when it is none."""
    parsed = read_request(request.spec.request)

    def named(oid: x509.ObjectIdentifier) -> list[str]:
        return [str(attribute.value) for attribute in parsed.subject.get_attributes_for_oid(oid)]

    try:
        found: Sequence[x509.GeneralName] = list(
            parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
    except x509.ExtensionNotFound:
        found = ()
    dns_names = tuple(name.value for name in found if isinstance(name, x509.DNSName))
    addresses = tuple(str(name.value) for name in found if isinstance(name, x509.IPAddress))
    others = tuple(str(name.value) for name in found if not isinstance(name, (x509.DNSName, x509.IPAddress)))
    common_names = named(NameOID.COMMON_NAME)
    return Asked(
        common_names[-1] if common_names else "",
        tuple(named(NameOID.ORGANIZATION_NAME)),
        dns_names,
        addresses,
        others,
        frozenset(request.spec.usages),
    )


def check_client(asked: Asked) -> str:
    """Say why it is no request of a client of the API server; empty if it is one."""
    allowed = {"digital signature", "key encipherment", "client auth"}
    if not asked.usages <= allowed:
        return "invalid usage for client certificate: " + ", ".join(sorted(asked.usages - allowed))
    return "" if "client auth" in asked.usages else "usages did not contain client auth"


def check_kubelet_client(asked: Asked) -> str:
    """Say why it is no request of a kubelet as a client; empty if it is one."""
    if asked.dns_names or asked.addresses or asked.others:
        return "subject alternative names are not allowed"
    return _check_node(asked, "client auth")


def check_kubelet_serving(asked: Asked) -> str:
    """Say why it is no request of a kubelet as a server; empty if it is one."""
    if asked.others:
        return "only DNS and IP subjectAltNames are allowed"
    if not asked.dns_names and not asked.addresses:
        return "DNS or IP subjectAltName is required"
    return _check_node(asked, "server auth")


def _check_node(asked: Asked, purpose: str) -> str:
    if asked.organizations != (NODES,):
        return "subject organization is not system:nodes"
    if not asked.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node: "
    needed = {"digital signature", purpose}
    if asked.usages not in (needed, needed | {"key encipherment"}):
        return f"usages did not match {sorted(needed)}"
    return ""


SIGNERS: Final[Mapping[str, Callable[[Asked], str]]] = {
    CLIENT: check_client,
    KUBELET_CLIENT: check_kubelet_client,
    KUBELET_SERVING: check_kubelet_serving,
    LEGACY: lambda asked: "",
}
"""By name, what says why a signer refuses."""


def has_condition(request: CertificateSigningRequest, *types: str) -> bool:
    """Return whether one of these was said of the request."""
    return any(condition.type in types for condition in request.status.conditions)


def approval(request: CertificateSigningRequest, message: str, now: float) -> dict[str, Any]:
    """Return the patch of `approval` by which a request is approved; it fails if the request changed meanwhile."""
    moment = timestamps.render(now)
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "AutoApproved",
        "message": message,
        "lastUpdateTime": moment,
        "lastTransitionTime": moment,
    }
    return {
        "metadata": {"resourceVersion": request.metadata.resource_version},
        "status": {"conditions": [*msgspec.to_builtins(request.status.conditions), condition]},
    }
