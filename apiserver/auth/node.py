"""The node authorizer: a kubelet reads the Secrets, ConfigMaps and storage of its own pods, each by name.

RBAC has one role for all nodes and cannot say "yours". So these kinds are not in that role; whether a node may read one
is decided here, by whether any pod bound to it names it, or names the claim that a volume is bound to. Of Pods it reads
those bound to it: lists and watches select by `spec.nodeName` (KEP-4601; unlike there it still reads all Nodes, which
tell workers where the API servers are). Everything else about nodes is RBAC's, and what they write is
`apiserver.admission.node_restriction`'s. After upstream's node authorizer ("Using Node Authorization").
"""

from __future__ import annotations

from api.core.local_volumes import node_of as node_of_directory
from api.core.persistentvolume import PersistentVolume
from api.core.pod import Pod
from api.core.pod_references import references
from api.errors import ApiError
from api.lister import Lister
from api.rbac.rules import PolicyRule
from api.resource import ObjectKey
from api.selectors import parse_fields
from apiserver.request import Authorizer, Decision, RequestInfo, RuleSource, User

NODES_GROUP = "system:nodes"
USER_PREFIX = "system:node:"
_KINDS = ("secrets", "configmaps", "persistentvolumeclaims", "persistentvolumes")
_VERBS = ("get", "list", "watch")


def node_of(user: User) -> str:
    """Return the name of the node that `user` is, empty for anybody else."""
    if NODES_GROUP in user.groups and user.name.startswith(USER_PREFIX):
        return user.name[len(USER_PREFIX) :]
    return ""


class NodeAuthorizer:
    """Decides about nodes reading Secrets, ConfigMaps, claims and volumes; asks `then` about all else."""

    def __init__(self, pods: Lister[Pod], volumes: Lister[PersistentVolume], then: Authorizer) -> None:
        self._pods = pods
        self._volumes = volumes
        self._then = then

    def authorize(self, user: User, request: RequestInfo) -> Decision:
        """Say whether `user` may do it. A list or watch counts as by name if it selects one by metadata.name."""
        name = node_of(user)
        if name and (request.group, request.plural, request.subresource) == ("", "pods", "") and request.verb in _VERBS:
            return self._read_pods(name, request)
        if not name or request.group or request.plural not in _KINDS:
            return self._then.authorize(user, request)
        if request.plural == "persistentvolumes" and request.verb in ("get", "patch") and not request.subresource:
            found = self._volumes.get(ObjectKey("", request.name))
            if found is not None and node_of_directory(found) == name:
                # What a node may change of a volume is `NodeRestriction`'s to say.
                return Decision(True)
        if request.verb not in _VERBS or request.subresource:
            return Decision(False, f"node '{name}' may only read {request.plural}")
        namespace, wanted = request.namespace, (request.plural, request.name)
        if request.plural == "persistentvolumes":
            volume = self._volumes.get(ObjectKey("", request.name)) if request.name else None
            ref = volume.spec.claim_ref if volume is not None else None
            if ref is not None:
                namespace, wanted = ref.namespace, ("persistentvolumeclaims", ref.name)
        if not request.name or not (namespace or request.plural == "persistentvolumes"):
            return Decision(False, f"node '{name}' may only read {request.plural} by name")
        if request.plural == "secrets" and request.verb == "get" and self._is_of_a_volume(name, request):
            return Decision(True)
        for pod in self._pods.list(namespace) if namespace else ():
            if pod.spec.node_name == name and wanted in references(pod):
                return Decision(True)
        return Decision(False, f"no relationship found between node '{name}' and this object")

    def _read_pods(self, node: str, request: RequestInfo) -> Decision:
        if request.verb != "get":
            try:
                selects_its_own = parse_fields(request.field_selector).exact("spec.nodeName") == node
            except ApiError:
                selects_its_own = False  # The verb says what is wrong with it.
            if selects_its_own:
                return Decision(True)
            if not request.name:
                return Decision(False, "can only list/watch pods with spec.nodeName field selector")
        found = self._pods.get(ObjectKey(request.namespace, request.name))
        # What is not there is told to be not there: a kubelet asks for pods that were deleted.
        if found is None or found.spec.node_name == node:
            return Decision(True)
        return Decision(False, f"no relationship found between node '{node}' and this object")

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
        """Return the rules that `then` knows of; what a node may do beside them depends on its pods."""
        return self._then.rules_of(user, namespace) if isinstance(self._then, RuleSource) else []
