"""NodeRestriction: a node writes about itself and its own pods, and nothing else.

RBAC gives all nodes one role; this takes away from each what is another's. So a kubelet that was broken into
cannot lure pods to itself, speak for other nodes, or ask for tokens of pods it does not run.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from api.authentication.tokenrequest import TokenRequest
from api.coordination import lease
from api.core import node, persistentvolume, persistentvolumeclaim, pod, serviceaccount
from api.core.local_volumes import DIRECTORY
from api.core.local_volumes import node_of as node_of_directory
from api.core.pod_references import of_static_pod
from api.core.static_pods import MIRROR
from api.errors import NotFound
from api.resource import ObjectKey
from api.storage import csinode
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.node import node_of
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

LEASE_NAMESPACE: Final = "kube-node-lease"

_KUBELET_LABELS: Final = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)
_KUBELET_LABEL_DOMAINS: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESERVED_DOMAINS: Final = ("kubernetes.io", "k8s.io")


class NodeRestriction:
    """Refuses what a node writes beyond its own."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def admit(self, request: AdmissionRequest) -> None:
        """Judge early: the other plugins need not work for what will be refused.

        Raises:
            Forbidden: the object is not this node's to write.
        """
        name = node_of(request.user)
        if not name:
            return
        if request.resource is pod.RESOURCE:
            await self._check_pod(request, name)
        elif request.resource is node.RESOURCE:
            _check_node(request, name)
        elif request.resource is lease.RESOURCE:
            _check_lease(request, name)
        elif request.resource is csinode.RESOURCE:
            written = request.name or request.object.metadata.name  # type: ignore[union-attr]
            if written != name:
                raise refusal(request, "can only access CSINode with the same name as the requesting node")
        elif request.resource is persistentvolumeclaim.RESOURCE:
            _check_claim(request, name)
        elif request.resource is persistentvolume.RESOURCE:
            _check_volume(request, name)
        elif request.resource is serviceaccount.RESOURCE and request.subresource == "token":
            await self._check_token(request, name)

    async def _check_pod(self, request: AdmissionRequest, name: str) -> None:
        old: Any = request.old
        new: Any = request.object
        match request.subresource, request.operation:
            case "", "CREATE":
                if MIRROR not in new.metadata.annotations:
                    why = f'pod does not have "{MIRROR}" annotation, node "{name}" can only create mirror pods'
                    raise refusal(request, why)
                await self._check_mirror(request, name)
            case "", "DELETE":
                if old is not None and old.spec.node_name != name:
                    raise refusal(request, f'node "{name}" can only delete pods with spec.nodeName set to itself')
            case "status", "UPDATE":
                if old.spec.node_name != name:
                    why = f'node "{name}" can only update pod status for pods with spec.nodeName set to itself'
                    raise refusal(request, why)
                if new.metadata.labels != old.metadata.labels:
                    raise refusal(request, f'node "{name}" cannot update labels through pod status')
            case "eviction", "CREATE":
                found = await self._read(pod.RESOURCE, ObjectKey(request.namespace, request.name))
                if found.spec.node_name != name:
                    raise refusal(request, f"node {name} can only evict pods with spec.nodeName set to itself")
            case _:
                where = f"/{request.subresource}" if request.subresource else ""
                raise refusal(request, f'node "{name}" may not {request.operation.lower()} pods{where}')

    async def _check_mirror(self, request: AdmissionRequest, name: str) -> None:
        """Let a node show a pod of its own, which is bound to the node's life and can get at nothing of the API's."""
        new: Any = request.object
        if new.spec.node_name != name:
            raise refusal(request, f'node "{name}" can only create pods with spec.nodeName set to itself')
        owners = new.metadata.owner_references
        itself = "an owner reference set to itself"
        if len(owners) != 1:
            what = "a single owner reference set to itself" if owners else itself
            raise refusal(request, f'node "{name}" can only create pods with {what}')
        owner = owners[0]
        if (owner.api_version, owner.kind, owner.name) != ("v1", "Node", name):
            raise refusal(request, f'node "{name}" can only create pods with {itself}')
        if not owner.controller:
            itself = "a controller owner reference set to itself"
            raise refusal(request, f'node "{name}" can only create pods with {itself}')
        if owner.block_owner_deletion:
            raise refusal(request, f'node "{name}" must not set blockOwnerDeletion on an owner reference')
        found = await self._read(node.RESOURCE, ObjectKey("", name))
        if owner.uid != found.metadata.uid:
            why = f"node {name} UID mismatch: expected {owner.uid} got {found.metadata.uid}"
            raise refusal(request, why)
        referred = next(of_static_pod(new), "")
        if referred:
            raise refusal(request, f'node "{name}" can not create pods that reference {referred}')

    async def _check_token(self, request: AdmissionRequest, name: str) -> None:
        assert isinstance(request.object, TokenRequest)
        ref = request.object.spec.bound_object_ref
        if ref is None or ref.api_version != "v1" or ref.kind != "Pod" or not ref.name:
            raise refusal(request, "node requested token not bound to a pod")
        if not ref.uid:
            raise refusal(request, "node requested token with a pod binding without a uid")
        try:
            found = await self._read(pod.RESOURCE, ObjectKey(request.namespace, ref.name))
        except NotFound:
            raise refusal(request, f'node requested token bound to pod "{ref.name}", which does not exist') from None
        if found.metadata.uid != ref.uid:
            why = f"({ref.uid}) does not match the UID in record ({found.metadata.uid})"
            again = "The object might have been deleted and then recreated"
            raise refusal(request, f"the UID in the bound object reference {why}. {again}")
        if found.spec.node_name != name:
            raise refusal(request, "node requested token bound to a pod scheduled on a different node")
        if (found.spec.service_account_name or "default") != request.name:
            raise refusal(request, "node requested token of an account that the pod does not run as")


def _check_node(request: AdmissionRequest, name: str) -> None:
    new: Any = request.object
    old: Any = request.old
    written = request.name or (new.metadata.name if new is not None else "")
    if written != name:
        raise refusal(request, f'node "{name}" is not allowed to modify node "{written}"')
    if request.operation == "CREATE":
        if new.spec.config_source is not None:
            raise refusal(request, f'node "{name}" is not allowed to create pods with a non-nil configSource')
        _check_labels(request, f'node "{name}" is not allowed to set the following labels', {}, new.metadata.labels)
    elif request.operation == "UPDATE":
        if new.spec.taints != old.spec.taints:
            raise refusal(request, f'node "{name}" is not allowed to modify taints')
        if new.metadata.owner_references != old.metadata.owner_references:
            raise refusal(request, f'node "{name}" is not allowed to modify ownerReferences')
        _check_labels(request, "is not allowed to modify labels", old.metadata.labels, new.metadata.labels)


def _check_claim(request: AdmissionRequest, name: str) -> None:
    """Let a node say how large a volume has become, and nothing else of a claim."""
    if request.subresource != "status" or request.operation != "UPDATE":
        raise refusal(request, "may only update PVC status")
    new: Any = request.object
    old: Any = request.old
    free = ("capacity", "conditions", "allocated_resources", "allocated_resource_statuses")
    status = copy.copy(new.status)
    for field in free:
        setattr(status, field, getattr(old.status, field))
    metadata = copy.copy(new.metadata)
    metadata.resource_version, metadata.managed_fields = old.metadata.resource_version, old.metadata.managed_fields
    if (metadata, new.spec, status) != (old.metadata, old.spec, old.status):
        why = f'node "{name}" is not allowed to update fields other than status.quantity and status.conditions'
        raise refusal(request, why)


def _check_volume(request: AdmissionRequest, name: str) -> None:
    """Let a node say that it has, or no longer has, the directory of a volume that is on it, and nothing else."""
    new: Any = request.object
    old: Any = request.old
    if request.subresource or request.operation != "UPDATE" or node_of_directory(old) != name:
        raise refusal(request, f'node "{name}" may only update volumes whose directories it has')
    fields = ("labels", "annotations", "owner_references", "deletion_timestamp")
    is_same = new.spec == old.spec and all(getattr(new.metadata, f) == getattr(old.metadata, f) for f in fields)
    changed = set(new.metadata.finalizers) ^ set(old.metadata.finalizers)
    if not is_same or changed - {DIRECTORY}:
        raise refusal(request, f'node "{name}" may only add and remove the finalizer "{DIRECTORY}" of volumes')


def _check_labels(request: AdmissionRequest, what: str, old: dict[str, str], new: dict[str, str]) -> None:
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    forbidden = [key for key in changed if not _is_kubelets_label(key)]
    if forbidden:
        raise refusal(request, f"{what}: {', '.join(forbidden)}")


def _is_kubelets_label(key: str) -> bool:
    """Whether kubelets may set a label: not those by which administrators keep pods to nodes (KEP-279)."""
    domain, slash, _ = key.partition("/")
    if not slash or not _is_within(domain, _RESERVED_DOMAINS):
        return True
    return key in _KUBELET_LABELS or _is_within(domain, _KUBELET_LABEL_DOMAINS)


def _is_within(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith("." + parent) for parent in parents)


def _check_lease(request: AdmissionRequest, name: str) -> None:
    if request.namespace != LEASE_NAMESPACE:
        raise refusal(request, f'can only access leases in the "{LEASE_NAMESPACE}" system namespace')
    written = request.name or request.object.metadata.name  # type: ignore[union-attr]
    if written != name:
        raise refusal(request, "can only access node lease with the same name as the requesting node")
