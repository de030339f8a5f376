"""The node authorizer: a kubelet does what its own node and its own pods need, and no more.

Rules of RBAC name kinds and cannot say "yours". So Secrets, ConfigMaps, accounts' tokens, claims, volumes and their
attachments are decided here by whether a pod bound to the node names them, or names the claim that a volume is bound
to; Nodes, Pods, Leases and CSINodes by whose they are (KEP-4601: lists and watches of pods select by `spec.nodeName`);
all else that kubelets do by one list of rules (`policy.NODE`). What is not allowed here may still be by others, such
as RBAC: an administrator can give nodes more. What nodes write into their objects is
`apiserver.admission.node_restriction`'s. After upstream's node authorizer ("Using Node Authorization").
"""

from __future__ import annotations

from collections.abc import Callable

from api.core.local_volumes import node_of as node_of_directory
from api.core.persistentvolume import PersistentVolume
from api.core.pod import Pod
from api.core.pod_references import references
from api.errors import ApiError
from api.lister import Lister
from api.rbac.rules import PolicyRule
from api.resource import ObjectKey
from api.selectors import parse_fields
from api.storage.volumeattachment import VolumeAttachment
from apiserver.auth import policy
from apiserver.auth.rbac import covers
from apiserver.request import NO_OPINION, Decision, RequestInfo, User

NODES_GROUP = "system:nodes"
USER_PREFIX = "system:node:"
LEASES = "kube-node-lease"
_READS = ("get", "list", "watch")
_KEEPS = ("get", "create", "update", "patch", "delete")
_ALLOWED = Decision(True)


def node_of(user: User) -> str:
    """Return the name of the node that `user` is, empty for anybody else."""
    if NODES_GROUP in user.groups and user.name.startswith(USER_PREFIX):
        return user.name[len(USER_PREFIX) :]
    return ""


class NodeAuthorizer:
    """Decides about nodes, and has no opinion on anybody else.

    Args:
        pods: of all namespaces.
        volumes: the PersistentVolumes.
        attachments: the VolumeAttachments.
    """

    def __init__(
        self,
        pods: Lister[Pod],
        volumes: Lister[PersistentVolume],
        attachments: Lister[VolumeAttachment],
    ) -> None:
        self._pods = pods
        self._volumes = volumes
        self._attachments = attachments
        self._by_kind: dict[tuple[str, str], Callable[[str, RequestInfo], Decision]] = {
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
            ("", "secrets"): self._read_of_pods,
            ("", "configmaps"): self._read_of_pods,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._volume,
            ("", "serviceaccounts"): self._account,
            ("storage.k8s.io", "volumeattachments"): self._attachment,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("coordination.k8s.io", "leases"): self._lease,
        }

    def authorize(self, user: User, request: RequestInfo) -> Decision:
        """Say whether `user` may do it. A list or watch counts as by name if it selects one by metadata.name."""
        name = node_of(user)
        if not name:
            return NO_OPINION
        of_kind = self._by_kind.get((request.group, request.plural))
        if of_kind is not None:
            return of_kind(name, request)
        return _ALLOWED if any(covers(rule, request) for rule in policy.NODE) else NO_OPINION

    # -- what is the node itself

    def _node(self, node: str, request: RequestInfo) -> Decision:
        is_written = request.verb in ("update", "patch")
        if request.subresource:
            return Decision(request.subresource == "status" and is_written)
        if request.verb in _READS:
            if request.name == node:
                return _ALLOWED
            what = f"'{request.name}'" if request.name else "all nodes"
            return Decision(False, f"node '{node}' cannot read {what}, only its own Node object")
        return Decision(is_written or request.verb == "create")

    def _lease(self, node: str, request: RequestInfo) -> Decision:
        if request.verb not in _KEEPS:
            return Decision(False, "can only get, create, update, patch, or delete a node lease")
        if request.namespace != LEASES:
            return Decision(False, f'can only access leases in the "{LEASES}" system namespace')
        if request.verb != "create" and request.name != node:
            return Decision(False, "can only access node lease with the same name as the requesting node")
        return _ALLOWED

    def _csi_node(self, node: str, request: RequestInfo) -> Decision:
        if request.verb not in _KEEPS:
            return Decision(False, "can only get, create, update, patch, or delete a CSINode")
        if request.subresource:
            return Decision(False, "cannot authorize CSINode subresources")
        if request.verb != "create" and request.name != node:
            return Decision(False, "can only access CSINode with the same name as the requesting node")
        return _ALLOWED

    # -- its pods, and what they name

    def _pod(self, node: str, request: RequestInfo) -> Decision:
        if request.subresource:
            can = {"status": ("update", "patch"), "eviction": ("create",)}
            return Decision(request.verb in can.get(request.subresource, ()))
        if request.verb not in _READS:
            return Decision(request.verb in ("create", "delete"))
        if request.verb != "get":
            try:
                selects_its_own = parse_fields(request.field_selector).exact("spec.nodeName") == node
            except ApiError:
                selects_its_own = False  # The verb says what is wrong with it.
            if selects_its_own:
                return _ALLOWED
            if not request.name:
                return Decision(False, "can only list/watch pods with spec.nodeName field selector")
        found = self._pods.get(ObjectKey(request.namespace, request.name))
        # What is not there is told to be not there: a kubelet asks for pods that were deleted.
        if found is None or found.spec.node_name == node:
            return _ALLOWED
        return _unrelated(node)

    def _read_of_pods(self, node: str, request: RequestInfo) -> Decision:
        """Secrets and ConfigMaps."""
        if request.verb not in _READS:
            return Decision(False, "can only read resources of this type")
        if request.subresource:
            return Decision(False, "cannot read subresource")
        if not request.namespace:
            return Decision(False, "can only read namespaced object of this type")
        if not request.name:
            return Decision(False, "No Object name found")
        if request.plural == "secrets" and request.verb == "get" and self._is_of_a_volume(node, request):
            return _ALLOWED
        return self._named_by_pods(node, request.namespace, request.plural, request.name)

    def _account(self, node: str, request: RequestInfo) -> Decision:
        if request.verb != "create" or not request.name:
            return Decision(False, "can only create tokens for individual service accounts")
        if request.subresource != "token":
            return Decision(False, "can only create token subresource of serviceaccount")
        for pod in self._pods.list(request.namespace):
            if pod.spec.node_name == node and pod.spec.service_account_name == request.name:
                return _ALLOWED
        return _unrelated(node)

    # -- storage

    def _claim(self, node: str, request: RequestInfo) -> Decision:
        if request.subresource == "status":
            if request.verb not in ("update", "patch"):
                return Decision(False, "can only get/update/patch this type")
        elif (refused := _not_one(request)) is not None:
            return refused
        return self._named_by_pods(node, request.namespace, request.plural, request.name)

    def _volume(self, node: str, request: RequestInfo) -> Decision:
        found = self._volumes.get(ObjectKey("", request.name)) if request.name else None
        is_of_one = request.verb in ("get", "patch") and not request.subresource
        if found is not None and is_of_one and node_of_directory(found) == node:
            # What a node may change of a volume is `NodeRestriction`'s to say.
            return _ALLOWED
        if (refused := _not_one(request)) is not None:
            return refused
        claim = found.spec.claim_ref if found is not None else None
        if claim is None:
            return _unrelated(node)
        return self._named_by_pods(node, claim.namespace, "persistentvolumeclaims", claim.name)

    def _attachment(self, node: str, request: RequestInfo) -> Decision:
        if (refused := _not_one(request)) is not None:
            return refused
        found = self._attachments.get(ObjectKey("", request.name))
        return _ALLOWED if found is not None and found.spec.node_name == node else _unrelated(node)

    def _named_by_pods(self, node: str, namespace: str, plural: str, name: str) -> Decision:
        """Whether a pod bound to the node refers to something of its namespace."""
        for pod in self._pods.list(namespace) if namespace and name else ():
            if pod.spec.node_name == node and (plural, name) in references(pod):
                return _ALLOWED
        return _unrelated(node)

    def _is_of_a_volume(self, node: str, request: RequestInfo) -> bool:
        """Whether a storage driver needs a secret to mount a volume that is claimed by a pod of this node."""
        for volume in self._volumes.list():
            source, claim = volume.spec.csi, volume.spec.claim_ref
            if source is None or claim is None:
                continue
            needed = (source.node_stage_secret_ref, source.node_publish_secret_ref, source.node_expand_secret_ref)
            if not any(ref and (ref.namespace, ref.name) == (request.namespace, request.name) for ref in needed):
                continue
            wanted = ("persistentvolumeclaims", claim.name)
            if any(
                pod.spec.node_name == node and wanted in references(pod) for pod in self._pods.list(claim.namespace)
            ):
                return True
        return False

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return nothing: what a node may do depends on its pods."""
        return []

    def why_incomplete(self, user: User) -> str:
        """Return that for a node rules are not all."""
        return "node authorizer does not support user rule resolution" if node_of(user) else ""


def _not_one(request: RequestInfo) -> Decision | None:
    """Return the refusal of what is not `get` of one object; None if it is. Pure."""
    if request.verb != "get":
        return Decision(False, "can only get individual resources of this type")
    if request.subresource:
        return Decision(False, "cannot get subresource")
    if not request.name:
        return Decision(False, "No Object name found")
    return None


def _unrelated(node: str) -> Decision:
    return Decision(False, f"no relationship found between node '{node}' and this object")
