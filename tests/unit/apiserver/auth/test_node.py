from __future__ import annotations

import copy

import pytest

from api.core.containers import (
    ConfigMapEnvSource,
    ConfigMapKeySelector,
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    SecretEnvSource,
    SecretKeySelector,
)
from api.core.persistentvolume import PersistentVolume, PersistentVolumeSpec
from api.core.pod import Pod, PodSpec
from api.core.pod_references import references
from api.core.references import LocalObjectReference, ObjectReference
from api.core.volumes import (
    ConfigMapVolumeSource,
    EphemeralVolumeSource,
    PersistentVolumeClaimVolumeSource,
    SecretVolumeSource,
    Volume,
)
from api.meta import ObjectMeta
from api.rbac.clusterrole import ClusterRole
from api.rbac.clusterrolebinding import ClusterRoleBinding
from api.rbac.rules import PolicyRule, RoleRef, Subject
from api.storage.volumeattachment import VolumeAttachment, VolumeAttachmentSpec
from apiserver.admission.service_account import token_volume
from apiserver.auth.authorizers import Authorizers, Step
from apiserver.auth.node import NodeAuthorizer
from apiserver.auth.rbac import RbacAuthorizer, RbacListers
from apiserver.request import Decision, RequestInfo, User
from tests.builders import store
from tests.unit.apiserver.auth.test_rbac import Cache

NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))

_ENV_C = ConfigMapKeySelector(name="env-c", key="k")
POD = Pod(
    metadata=ObjectMeta(name="web", namespace="a"),
    spec=PodSpec(
        node_name="n1",
        image_pull_secrets=[LocalObjectReference(name="registry")],
        volumes=[
            Volume(name="s", secret=SecretVolumeSource(secret_name="volume-s")),
            Volume(name="c", config_map=ConfigMapVolumeSource(name="volume-c")),
            token_volume("t"),
            Volume(name="p", persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="data")),
            Volume(name="e", ephemeral=EphemeralVolumeSource()),
        ],
        init_containers=[
            Container(
                name="i",
                env_from=[
                    EnvFromSource(secret_ref=SecretEnvSource(name="from-s")),
                    EnvFromSource(config_map_ref=ConfigMapEnvSource(name="from-c")),
                ],
            )
        ],
        containers=[
            Container(
                name="c",
                env=[
                    EnvVar(name="A", value="plain"),
                    EnvVar(name="B", value_from=EnvVarSource(secret_key_ref=SecretKeySelector(name="env-s", key="k"))),
                    EnvVar(name="C", value_from=EnvVarSource(config_map_key_ref=_ENV_C)),
                ],
            )
        ],
    ),
)


VOLUME = PersistentVolume(
    metadata=ObjectMeta(name="pv"), spec=PersistentVolumeSpec(claim_ref=ObjectReference(namespace="a", name="data"))
)
OTHER_VOLUME = PersistentVolume(
    metadata=ObjectMeta(name="other"), spec=PersistentVolumeSpec(claim_ref=ObjectReference(namespace="b", name="data"))
)


def test_everything_a_pod_refers_to_is_found() -> None:
    assert set(references(POD)) == {
        *(("secrets", name) for name in ("registry", "volume-s", "from-s", "env-s")),
        *(("configmaps", name) for name in ("volume-c", "from-c", "env-c", "kube-root-ca.crt")),
        *(("persistentvolumeclaims", name) for name in ("data", "web-e")),
    }


@pytest.mark.parametrize(
    ("verb", "plural", "namespace", "name", "allowed"),
    [
        ("get", "secrets", "a", "volume-s", True),
        ("watch", "configmaps", "a", "kube-root-ca.crt", True),
        ("get", "secrets", "b", "volume-s", False),
        ("get", "secrets", "a", "other", False),
        ("get", "secrets", "a", "volume-c", False),
        ("list", "secrets", "a", "", False),
        ("list", "secrets", "", "", False),
        ("update", "secrets", "a", "volume-s", False),
        ("get", "persistentvolumeclaims", "a", "data", True),
        ("get", "persistentvolumeclaims", "b", "data", False),
        ("get", "persistentvolumes", "", "pv", True),
        ("get", "persistentvolumes", "", "other", False),
        ("get", "persistentvolumes", "", "unknown", False),
        ("list", "persistentvolumes", "", "", False),
    ],
)
def test_a_node_reads_what_its_pods_refer_to_by_name(verb, plural, namespace, name, allowed) -> None:
    tested = NodeAuthorizer(Cache(POD), store(VOLUME, OTHER_VOLUME), store())
    asked = RequestInfo(verb, "", "", "v1", plural, "", namespace, name)
    assert tested.authorize(NODE, asked).allowed is allowed
    assert not tested.authorize(User("system:node:n2", groups=NODE.groups), asked).allowed


def test_a_refusal_says_that_no_pod_needs_it() -> None:
    asked = RequestInfo("get", "", "", "v1", "secrets", "", "a", "other")
    decision = NodeAuthorizer(Cache(POD), store(VOLUME, OTHER_VOLUME), store()).authorize(NODE, asked)
    assert decision.reason == "no relationship found between node 'n1' and this object"


def test_everybody_else_is_others_to_judge() -> None:
    root = User("root", groups=("system:masters",))
    asked = RequestInfo("list", "", "", "v1", "secrets", "", "a", "")
    assert NodeAuthorizer(Cache(), store(), store()).authorize(root, asked) == Decision(False)


@pytest.mark.parametrize(
    ("verb", "namespace", "name", "selector", "is_allowed"),
    [
        ("list", "", "", "spec.nodeName=n1", True),
        ("watch", "a", "", "status.phase!=Failed,spec.nodeName=n1", True),
        ("list", "", "", "", False),
        ("watch", "", "", "spec.nodeName=n2", False),
        ("list", "", "", "spec.nodeName!=n1", False),
        ("list", "", "", "=,", False),
        ("get", "a", "web", "", True),
        ("watch", "a", "web", "metadata.name=web", True),
        ("get", "a", "other", "", False),
        ("watch", "a", "other", "metadata.name=other", False),
        ("get", "a", "gone", "", True),
    ],
)
def test_a_node_reads_its_own_pods(verb: str, namespace: str, name: str, selector: str, is_allowed: bool) -> None:
    other = Pod(metadata=ObjectMeta(name="other", namespace="a"), spec=PodSpec(node_name="n2"))
    node = NodeAuthorizer(Cache(POD, other), store(), store())
    asked = RequestInfo(verb, "", "", "v1", "pods", "", namespace, name, selector)
    assert node.authorize(NODE, asked).allowed is is_allowed


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
def test_a_node_reads_only_its_own_node(verb: str) -> None:
    node = NodeAuthorizer(Cache(), store(), store())
    assert node.authorize(NODE, RequestInfo(verb, "", "", "v1", "nodes", "", "", "n1")).allowed
    refused = node.authorize(NODE, RequestInfo(verb, "", "", "v1", "nodes", "", "", "n2"))
    assert refused.reason == "node 'n1' cannot read 'n2', only its own Node object"
    refused = node.authorize(NODE, RequestInfo("list", "", "", "v1", "nodes"))
    assert refused.reason == "node 'n1' cannot read all nodes, only its own Node object"


ATTACHMENT = VolumeAttachment(metadata=ObjectMeta(name="att"), spec=VolumeAttachmentSpec(node_name="n1"))


@pytest.mark.parametrize(
    ("verb", "group", "plural", "subresource", "namespace", "name", "is_allowed"),
    [
        ("create", "", "nodes", "", "", "", True),
        ("patch", "", "nodes", "status", "", "n1", True),
        ("delete", "", "nodes", "", "", "n1", False),
        ("create", "", "serviceaccounts", "token", "a", "web", True),
        ("create", "", "serviceaccounts", "token", "a", "other", False),
        ("create", "", "serviceaccounts", "token", "b", "web", False),
        ("create", "", "serviceaccounts", "", "a", "", False),
        ("get", "", "serviceaccounts", "", "a", "web", False),
        ("create", "", "pods", "", "a", "mirror", True),
        ("delete", "", "pods", "", "a", "web", True),
        ("patch", "", "pods", "status", "a", "web", True),
        ("create", "", "pods", "eviction", "a", "web", True),
        ("create", "", "pods", "exec", "a", "web", False),
        ("update", "", "pods", "", "a", "web", False),
        ("patch", "", "persistentvolumeclaims", "status", "a", "data", True),
        ("patch", "", "persistentvolumeclaims", "status", "b", "data", False),
        ("update", "", "persistentvolumeclaims", "", "a", "data", False),
        ("get", "storage.k8s.io", "volumeattachments", "", "", "att", True),
        ("get", "storage.k8s.io", "volumeattachments", "", "", "unknown", False),
        ("list", "storage.k8s.io", "volumeattachments", "", "", "", False),
        ("update", "storage.k8s.io", "csinodes", "", "", "n1", True),
        ("create", "storage.k8s.io", "csinodes", "", "", "", True),
        ("get", "storage.k8s.io", "csinodes", "", "", "n2", False),
        ("list", "storage.k8s.io", "csinodes", "", "", "", False),
        ("patch", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1", True),
        ("create", "coordination.k8s.io", "leases", "", "kube-node-lease", "", True),
        ("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2", False),
        ("get", "coordination.k8s.io", "leases", "", "kube-system", "n1", False),
        ("list", "coordination.k8s.io", "leases", "", "kube-node-lease", "", False),
        ("list", "", "services", "", "", "", True),
        ("update", "", "services", "", "a", "web", False),
        ("watch", "node.k8s.io", "runtimeclasses", "", "", "", True),
    ],
)
def test_a_node_does_what_is_its_own(verb, group, plural, subresource, namespace, name, is_allowed) -> None:
    pod = Pod(metadata=POD.metadata, spec=copy.copy(POD.spec))
    pod.spec.service_account_name = "web"
    node = NodeAuthorizer(Cache(pod), store(VOLUME), store(ATTACHMENT))
    asked = RequestInfo(verb, "", group, "v1", plural, subresource, namespace, name)
    assert node.authorize(NODE, asked).allowed is is_allowed


def test_roles_give_a_node_more_and_their_absence_leaves_the_reason() -> None:
    role = ClusterRole(
        metadata=ObjectMeta(name="more"), rules=[PolicyRule(verbs=["get"], api_groups=[""], resources=["nodes"])]
    )
    binding = ClusterRoleBinding(
        metadata=ObjectMeta(name="more"),
        role_ref=RoleRef(kind="ClusterRole", name="more"),
        subjects=[Subject(kind="Group", name="system:nodes")],
    )
    rbac = RbacAuthorizer(RbacListers(Cache(), Cache(), store(role), store(binding)))
    own = NodeAuthorizer(Cache(), store(), store())
    both = Authorizers([Step("Node", "node", own), Step("RBAC", "rbac", rbac)])
    given = both.authorize(NODE, RequestInfo("get", "", "", "v1", "nodes", "", "", "n2"))
    assert isinstance(given, Decision) and given.allowed
    refused = both.authorize(NODE, RequestInfo("list", "", "", "v1", "secrets", "", "a"))
    assert isinstance(refused, Decision) and refused.reason == "No Object name found"
