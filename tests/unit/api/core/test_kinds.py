"""The smaller kinds of the core group, and those of other groups that are as small."""

import copy
from typing import Any

from api import validation
from api.coordination import lease
from api.core import configmap, event, namespace, node, secret
from api.core.node import Taint
from api.core.references import ObjectReference
from api.discovery import endpointslice
from api.meta import ObjectMeta
from api.rbac import clusterrole, clusterrolebinding, role, rolebinding
from api.rbac.rules import PolicyRule, RoleRef, Subject

META = {"name": "a", "namespace": "d"}


def wrong(resource: Any, new: Any, old: Any = None) -> list[str]:
    return [f"{e.path}: {e.message}" for e in validation.find_errors(resource, new, old)]


def test_an_immutable_configmap_stays_as_it_is() -> None:
    old = configmap.ConfigMap(metadata=ObjectMeta(**META), data={"a": "1"}, immutable=True)
    new = configmap.ConfigMap(metadata=ObjectMeta(**META), data={"a": "2"})
    assert wrong(configmap.RESOURCE, new, old) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]
    new = configmap.ConfigMap(metadata=ObjectMeta(**META), data={"a": "x" * 2**20}, binary_data={"a": b""})
    assert len(wrong(configmap.RESOURCE, new)) == 1


def test_a_secrets_text_is_folded_into_its_bytes() -> None:
    made = secret.Secret(metadata=ObjectMeta(**META), data={"a": b"old", "b": b"2"}, string_data={"a": "new"})
    secret.RESOURCE.default(made)
    assert (made.data, made.string_data, made.type) == ({"a": b"new", "b": b"2"}, {}, "Opaque")


def test_a_secret_keeps_the_promise_of_its_type() -> None:
    made = secret.Secret(metadata=ObjectMeta(**META), type="kubernetes.io/tls", data={"tls.crt": b""})
    assert wrong(secret.RESOURCE, made) == ["data[tls.key]: Required value"]
    made.type = "kubernetes.io/dockerconfigjson"
    made.data = {".dockerconfigjson": b"{"}
    assert len(wrong(secret.RESOURCE, made)) == 1
    made.data = {".dockerconfigjson": b"{}"}
    assert wrong(secret.RESOURCE, made) == []
    other = copy.deepcopy(made)
    other.type = "Opaque"
    assert wrong(secret.RESOURCE, other, made) == ['type: Invalid value: "Opaque": field is immutable']


def test_a_namespace_is_active_and_held_by_its_finalizer() -> None:
    made = namespace.Namespace(metadata=ObjectMeta(name="a"))
    namespace.RESOURCE.default(made)
    namespace.RESOURCE.prepare_for_create(made)
    assert made.metadata.labels == {"kubernetes.io/metadata.name": "a"}
    assert (made.spec.finalizers, made.status.phase) == (["kubernetes"], "Active")
    assert wrong(namespace.RESOURCE, made) == []
    emptied = copy.deepcopy(made)
    emptied.spec.finalizers = []
    namespace.RESOURCE.prepare_for_update(emptied, made)
    assert emptied == made


def test_a_namespace_whose_name_is_made_up_is_labelled_with_it_too() -> None:
    made = namespace.Namespace(metadata=ObjectMeta(generate_name="a-"))
    namespace.RESOURCE.default(made)
    assert made.metadata.labels == {}
    made.metadata.name = "a-x"
    namespace.RESOURCE.prepare_for_create(made)
    assert made.metadata.labels == {"kubernetes.io/metadata.name": "a-x"}


def test_taints_are_unique_by_key_and_effect() -> None:
    made = node.Node(metadata=ObjectMeta(name="n"))
    made.spec.taints = [Taint(key="a", effect="NoSchedule"), Taint(key="a", effect="NoExecute")]
    assert wrong(node.RESOURCE, made) == []
    made.spec.taints.append(Taint(key="a", value="x", effect="NoSchedule"))
    made.spec.taints.append(Taint(key="a", effect="Never"))
    assert [error.partition(":")[0] for error in wrong(node.RESOURCE, made)] == [
        "metadata.taints[2]",
        "metadata.taints[3].effect",
    ]


def test_a_nodes_pod_range_is_given_once() -> None:
    old = node.Node(metadata=ObjectMeta(name="n"))
    new = copy.deepcopy(old)
    new.spec.pod_cidr = "10.244.0.0/24"
    node.RESOURCE.default(new)
    assert new.spec.pod_cidrs == ["10.244.0.0/24"]
    assert wrong(node.RESOURCE, new, old) == []
    moved = copy.deepcopy(new)
    moved.spec.pod_cidr, moved.spec.pod_cidrs = "10.244.1.0/24", ["10.244.1.0/24"]
    assert len(wrong(node.RESOURCE, moved, new)) == 2, "of the range, and of the node as such"


def test_an_event_lies_beside_what_it_is_about() -> None:
    made = event.Event(metadata=ObjectMeta(**META), involved_object=ObjectReference(kind="Pod", namespace="other"))
    assert len(wrong(event.RESOURCE, made)) == 1
    made.involved_object.namespace = "d"
    assert wrong(event.RESOURCE, made) == []
    made.involved_object.namespace = ""
    assert len(wrong(event.RESOURCE, made)) == 1
    made.metadata.namespace = "default"
    assert wrong(event.RESOURCE, made) == []


def test_a_lease_lasts() -> None:
    made = lease.Lease(metadata=ObjectMeta(**META), spec=lease.LeaseSpec(lease_duration_seconds=0))
    assert wrong(lease.RESOURCE, made) == ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]


def test_endpoints_have_addresses_of_their_slices_type() -> None:
    made = endpointslice.EndpointSlice(metadata=ObjectMeta(**META), address_type="IPv4")
    made.endpoints = [endpointslice.Endpoint(addresses=["10.0.0.1"])]
    made.ports = [endpointslice.EndpointPort(port=80)]
    endpointslice.RESOURCE.default(made)
    assert (made.ports[0].name, made.ports[0].protocol) == ("", "TCP")
    assert wrong(endpointslice.RESOURCE, made) == []
    made.endpoints = [endpointslice.Endpoint(addresses=["::2"]), endpointslice.Endpoint()]
    assert len(wrong(endpointslice.RESOURCE, made)) == 2


def test_rules_say_what_they_are_about() -> None:
    rules = [
        PolicyRule(),
        PolicyRule(verbs=["get"], non_resource_urls=["/healthz"]),
        PolicyRule(verbs=["get"], api_groups=[""], resources=["pods"]),
    ]
    assert wrong(clusterrole.RESOURCE, clusterrole.ClusterRole(metadata=ObjectMeta(name="a:b"), rules=rules)) == [
        "rules[0].verbs: Required value: verbs must contain at least one value",
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[0].resources: Required value: resource rules must supply at least one resource",
    ]
    in_namespace = role.Role(metadata=ObjectMeta(**META), rules=rules[1:])
    assert len(wrong(role.RESOURCE, in_namespace)) == 1


def test_a_binding_never_changes_its_role() -> None:
    old = rolebinding.RoleBinding(metadata=ObjectMeta(**META), role_ref=RoleRef(kind="Role", name="r"))
    old.subjects = [Subject(kind="User", name="u"), Subject(kind="ServiceAccount", name="s", namespace="d")]
    rolebinding.RESOURCE.default(old)
    assert wrong(rolebinding.RESOURCE, old) == []
    new = copy.deepcopy(old)
    new.role_ref.name = "other"
    [error] = wrong(rolebinding.RESOURCE, new, old)
    assert error.endswith("cannot change roleRef")


def test_a_cluster_binding_gives_cluster_roles_only() -> None:
    made = clusterrolebinding.ClusterRoleBinding(metadata=ObjectMeta(name="a"), role_ref=RoleRef(kind="Role", name="r"))
    made.subjects = [Subject(kind="ServiceAccount", name="s")]
    clusterrolebinding.RESOURCE.default(made)
    assert wrong(clusterrolebinding.RESOURCE, made) == [
        'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
        "subjects[0].namespace: Required value",
    ]
