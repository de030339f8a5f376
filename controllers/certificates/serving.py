"""Approves kubelets' requests for the certificate of their server: each for its own name and its own addresses.

Upstream leaves these to a person or to an add-on, since a node says itself where it can be reached. Here a node gets
what it asks for if it asks as itself, for its Node's name and addresses and no others, and no other Node claims one of
them. A request that comes before its Node is looked at again; one that asks for more waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api import timestamps
from api.certificates import certificatesigningrequest as requests_kind
from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.core import node as nodes
from api.core.node import Node
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Patch, Plan
from controllers.certificates.requests import (
    KUBELET_SERVING,
    NODE_PREFIX,
    NODES,
    approval,
    asked_in,
    check_kubelet_serving,
    has_condition,
)
from controllers.runner import Controller, Listers, Watch

MESSAGE = "Auto approving the serving certificate of a node for its own name and addresses."
LOOK_AGAIN_S = 5.0
LOOK_S_MAX = 600.0
"""How long a request waits for its Node to say that it has the addresses."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A request, and who has which name and address."""

    request: CertificateSigningRequest
    nodes: tuple[Node, ...]


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the request and all Nodes; None unless it waits for us."""
    request = listers[requests_kind.RESOURCE].get(key)
    if request is None or request.spec.signer_name != KUBELET_SERVING:
        return None
    if request.status.certificate or has_condition(request, "Approved", "Denied"):
        return None
    return Observed(request, tuple(listers[nodes.RESOURCE].list()))


def is_own(request: CertificateSigningRequest, present: Iterable[Node]) -> bool:
    """Whether who asks is the node it asks for, and asks for nothing that is not its Node's alone."""
    try:
        asked = asked_in(request)
    except ValueError:
        return False
    if check_kubelet_serving(asked) or NODES not in request.spec.groups:
        return False
    if asked.common_name != request.spec.username:
        return False
    name = asked.common_name.removeprefix(NODE_PREFIX)
    wanted = {*asked.dns_names, *asked.addresses}
    claims = {node.metadata.name: {node.metadata.name, *(a.address for a in node.status.addresses)} for node in present}
    if name not in claims or not wanted <= claims[name]:
        return False
    return not any(wanted & claimed for other, claimed in claims.items() if other != name)


def reconcile(observed: Observed, now: float) -> Plan:
    """Approve it, look again later, or leave it to somebody else."""
    request = observed.request
    if request.metadata.deletion_timestamp:
        return NOTHING
    if not is_own(request, observed.nodes):
        is_new = now - timestamps.parse(request.metadata.creation_timestamp) < LOOK_S_MAX
        return Plan(requeue_after_s=LOOK_AGAIN_S if is_new else None)
    change = approval(request, MESSAGE, now)
    return Plan((Patch(requests_kind.RESOURCE, key_of(request), change, "approval"),))


def requests_of(node: Node, listers: Listers) -> Iterable[ObjectKey]:
    """Map a Node to the requests that its kubelet made."""
    name = f"{NODE_PREFIX}{node.metadata.name}"
    return [key_of(each) for each in listers[requests_kind.RESOURCE].list() if each.spec.username == name]


CONTROLLER: Controller[CertificateSigningRequest, Observed] = Controller(
    name="csrservingapproving",
    resource=requests_kind.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(Watch(resource=nodes.RESOURCE, keys=requests_of),),
    workers=1,
)
