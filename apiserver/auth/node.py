"""The node authorizer: a kubelet reads the Secrets, ConfigMaps and storage of its own pods, each by name.

RBAC has one role for all nodes and cannot say "yours". So these kinds are not in that role; whether a node may read one
is decided here, by whether any pod bound to it names it, or names the claim that a volume is bound to. Everything else
about nodes is RBAC's, and what they write is `apiserver.admission.node_restriction`'s. After upstream's node authorizer
("Using Node Authorization").
"""

from __future__ import annotations

from collections.abc import Iterator

from api.core.containers import Container, EphemeralContainer
from api.core.persistentvolume import PersistentVolume
from api.core.pod import Pod
from api.core.volume_matching import claims_of
from api.core.volumes import Volume
from api.lister import Lister
from api.rbac.rules import PolicyRule
from api.resource import ObjectKey
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
        if not name or request.group or request.plural not in _KINDS:
            return self._then.authorize(user, request)
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
        for pod in self._pods.list(namespace) if namespace else ():
            if pod.spec.node_name == name and wanted in references(pod):
                return Decision(True)
        return Decision(False, f"no relationship found between node '{name}' and this object")

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return the rules that `then` knows of; what a node may do beside them depends on its pods."""
        return self._then.rules_of(user, namespace) if isinstance(self._then, RuleSource) else []


def references(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield (plural, name) for everything of its namespace that a pod refers to."""
    spec = pod.spec
    for claim in claims_of(pod).values():
        yield "persistentvolumeclaims", claim
    for ref in spec.image_pull_secrets:
        yield "secrets", ref.name
    for volume in spec.volumes:
        yield from _of_volume(volume)
    containers: list[Container | EphemeralContainer] = [*spec.init_containers, *spec.containers]
    containers += spec.ephemeral_containers
    for container in containers:
        yield from _of_container(container)


def _of_volume(volume: Volume) -> Iterator[tuple[str, str]]:
    if volume.secret is not None:
        yield "secrets", volume.secret.secret_name
    if volume.config_map is not None:
        yield "configmaps", volume.config_map.name
    if volume.projected is not None:
        for source in volume.projected.sources:
            if source.secret is not None:
                yield "secrets", source.secret.name
            if source.config_map is not None:
                yield "configmaps", source.config_map.name
    if volume.csi is not None and volume.csi.node_publish_secret_ref is not None:
        yield "secrets", volume.csi.node_publish_secret_ref.name


def _of_container(container: Container | EphemeralContainer) -> Iterator[tuple[str, str]]:
    for source in container.env_from:
        if source.secret_ref is not None:
            yield "secrets", source.secret_ref.name
        if source.config_map_ref is not None:
            yield "configmaps", source.config_map_ref.name
    for variable in container.env:
        if variable.value_from is None:
            continue
        if variable.value_from.secret_key_ref is not None:
            yield "secrets", variable.value_from.secret_key_ref.name
        if variable.value_from.config_map_key_ref is not None:
            yield "configmaps", variable.value_from.config_map_key_ref.name
