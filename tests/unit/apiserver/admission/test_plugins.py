from __future__ import annotations

from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from api.authentication.tokenrequest import BoundObjectReference, TokenRequest, TokenRequestSpec
from api.certificates import certificatesigningrequest
from api.certificates.certificatesigningrequest import CertificateSigningRequest, CertificateSigningRequestSpec
from api.coordination import lease
from api.core import configmap, namespace, node, pod, serviceaccount
from api.core.containers import Container
from api.core.namespace import Namespace, NamespaceStatus
from api.core.node import Node, NodeSpec
from api.core.placement import Toleration
from api.core.pod import Pod, PodSpec
from api.core.references import LocalObjectReference
from api.core.serviceaccount import ServiceAccount
from api.core.volumes import VolumeMount
from api.errors import ApiError, Forbidden, NotFound
from api.meta import ObjectMeta, OwnerReference
from api.rbac import clusterrole, role, rolebinding
from api.rbac.rules import RoleRef, Subject
from api.resource import ObjectKey
from api.scheduling import priorityclass
from api.scheduling.priorityclass import PriorityClass
from apiserver.admission import chain
from apiserver.auth.policy import rule
from apiserver.auth.rbac import RbacAuthorizer
from apiserver.bootstrap import priority_classes
from apiserver.request import AdmissionRequest, User
from component.clock import RealClock
from tests.unit.apiserver.auth.test_rbac import JANE, TO_JANE, authorizer, bind, cluster_role

ROOT = User("admin", groups=("system:masters", "system:authenticated"))
NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


class Objects:
    """What is stored, and a cache that shows it."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self.items = {(kind, ObjectKey(one.metadata.namespace, one.metadata.name)): one for kind, one in pairs}

    def lister(self, kind):
        objects = self

        class View:
            def get(self, key):
                return objects.items.get((kind, key))

            def list(self, namespace=None):
                found = [(key, obj) for (of, key), obj in objects.items.items() if of is kind]
                return [obj for key, obj in found if namespace in (None, key.namespace)]

        return View()

    async def read(self, kind, key):
        if (kind, key) not in self.items:
            raise NotFound(f'{kind} "{key.name}" not found')
        return self.items[kind, key]

    async def rewrite(self, namespace, name, decide):
        raise AssertionError("no test here has quotas")


def meta(name: str, namespace: str = "", **kwargs: Any) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=namespace, **kwargs)


def world(*more: tuple[Any, Any]) -> Objects:
    return Objects(
        (namespace.RESOURCE, Namespace(metadata=meta("a"))),
        (serviceaccount.RESOURCE, ServiceAccount(metadata=meta("default", "a"))),
        *((priorityclass.RESOURCE, made) for made in priority_classes()),
        *more,
    )


async def run(
    obj: Any,
    kind: Any = pod.RESOURCE,
    *,
    operation: str = "CREATE",
    old: Any = None,
    user: User = ROOT,
    objects: Objects | None = None,
    rbac: RbacAuthorizer | None = None,
    subresource: str = "",
    name: str = "",
    where: str = "a",
) -> Any:
    stored = objects or world()
    plugins = chain.build(
        lister=stored.lister,
        read=stored.read,
        rewrite_quota=stored.rewrite,
        clock=RealClock(),
        rbac=rbac or authorizer(),
        random=Random(1),
    )
    metadata = (obj or old).metadata
    request = AdmissionRequest(
        operation,
        kind,
        where if kind.namespaced else "",
        name or metadata.name,
        subresource,
        user,
        obj,
        old,
        {},
        False,
        [],
    )
    await plugins.admit(request)
    await plugins.validate(request)
    return obj


def a_pod(name: str = "web", **spec: Any) -> Pod:
    return Pod(metadata=meta(name, "a"), spec=PodSpec(**{"containers": [Container(name="c")], **spec}))


async def refused(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ApiError) as error:
        await run(*args, **kwargs)
    return error.value.message


async def test_nothing_is_made_in_a_namespace_that_is_absent_or_going() -> None:
    assert await refused(a_pod(), where="b") == 'namespaces "b" not found'
    going = Namespace(metadata=meta("a", deletion_timestamp="2024-01-01T00:00:00Z"), status=NamespaceStatus())
    objects = Objects((namespace.RESOURCE, going))
    assert await refused(a_pod(), objects=objects) == (
        'pods "web" is forbidden: unable to create new content in namespace a because it is being terminated'
    )
    await run(a_pod(), operation="UPDATE", old=a_pod(), objects=objects)


async def test_three_namespaces_cannot_be_deleted() -> None:
    for name in ("default", "kube-system", "kube-public"):
        doomed = Namespace(metadata=meta(name))
        message = await refused(None, namespace.RESOURCE, operation="DELETE", old=doomed)
        assert message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'
    await run(None, namespace.RESOURCE, operation="DELETE", old=Namespace(metadata=meta("a")))


async def test_a_pod_gets_the_default_account_and_its_token_in_every_container() -> None:
    made = await run(a_pod(init_containers=[Container(name="i")]))
    assert (made.spec.service_account_name, made.spec.service_account) == ("default", "default")
    (volume,) = made.spec.volumes
    assert volume.name.startswith("kube-api-access-") and len(volume.name) == 21
    token, root_ca, where = volume.projected.sources
    assert (token.service_account_token.expiration_seconds, token.service_account_token.path) == (3607, "token")
    assert (root_ca.config_map.name, where.downward_api.items[0].path) == ("kube-root-ca.crt", "namespace")
    assert volume.projected.default_mode == 420
    for container in (*made.spec.init_containers, *made.spec.containers):
        (mount,) = container.volume_mounts
        assert (mount.name, mount.mount_path, mount.read_only) == (
            volume.name,
            "/var/run/secrets/kubernetes.io/serviceaccount",
            True,
        )


async def test_a_container_that_mounts_something_there_keeps_it_and_who_opts_out_gets_nothing() -> None:
    own = VolumeMount(name="mine", mount_path="/var/run/secrets/kubernetes.io/serviceaccount")
    made = await run(a_pod(containers=[Container(name="c", volume_mounts=[own])]))
    assert made.spec.containers[0].volume_mounts == [own] and not made.spec.volumes
    assert not (await run(a_pod(automount_service_account_token=False))).spec.volumes
    shy = ServiceAccount(metadata=meta("shy", "a"), automount_service_account_token=False)
    objects = world((serviceaccount.RESOURCE, shy))
    assert not (await run(a_pod(service_account_name="shy"), objects=objects)).spec.volumes
    asked = a_pod(service_account_name="shy", automount_service_account_token=True)
    assert (await run(asked, objects=objects)).spec.volumes


async def test_an_account_must_exist_and_brings_its_pull_secrets() -> None:
    assert await refused(a_pod(service_account_name="bot")) == (
        'pods "web" is forbidden: error looking up service account a/bot: serviceaccount "bot" not found'
    )
    secrets = [LocalObjectReference(name="registry")]
    objects = world((serviceaccount.RESOURCE, ServiceAccount(metadata=meta("bot", "a"), image_pull_secrets=secrets)))
    assert (await run(a_pod(service_account_name="bot"), objects=objects)).spec.image_pull_secrets == secrets


async def test_pods_tolerate_a_lost_node_for_five_minutes_unless_they_say_otherwise() -> None:
    made = await run(a_pod())
    assert [(t.key, t.operator, t.effect, t.toleration_seconds) for t in made.spec.tolerations] == [
        ("node.kubernetes.io/not-ready", "Exists", "NoExecute", 300),
        ("node.kubernetes.io/unreachable", "Exists", "NoExecute", 300),
    ]
    everything = Toleration(operator="Exists")
    assert (await run(a_pod(tolerations=[everything]))).spec.tolerations == [everything]
    elsewhere = Toleration(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoSchedule")
    assert len((await run(a_pod(tolerations=[elsewhere]))).spec.tolerations) == 3


async def test_priority_comes_from_the_class_alone() -> None:
    made = await run(a_pod())
    assert (made.spec.priority, made.spec.preemption_policy) == (0, "PreemptLowerPriority")
    assert (await run(a_pod(priority_class_name="system-node-critical"))).spec.priority == 2_000_001_000
    assert "no PriorityClass with name x was found" in await refused(a_pod(priority_class_name="x"))
    assert "the integer value of priority (7) must not be provided" in await refused(a_pod(priority=7))
    shy = PriorityClass(metadata=meta("shy"), value=3, global_default=True, preemption_policy="Never")
    made = await run(a_pod(), objects=world((priorityclass.RESOURCE, shy)))
    assert (made.spec.priority_class_name, made.spec.priority, made.spec.preemption_policy) == ("shy", 3, "Never")
    kept = await run(a_pod(), operation="UPDATE", old=a_pod(priority=5, preemption_policy="Never"))
    assert (kept.spec.priority, kept.spec.preemption_policy) == (5, "Never")


async def test_plugins_leave_other_kinds_alone() -> None:
    made = configmap.ConfigMap(metadata=meta("c", "a"), data={"k": "v"})
    assert await run(made, configmap.RESOURCE) == configmap.ConfigMap(metadata=meta("c", "a"), data={"k": "v"})


async def test_a_node_writes_only_itself() -> None:
    me, other = Node(metadata=meta("n1")), Node(metadata=meta("n2"))
    await run(Node(metadata=meta("n1")), node.RESOURCE, user=NODE)
    message = await refused(other, node.RESOURCE, user=NODE)
    assert message == 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'
    tainted = Node(metadata=meta("n1"), spec=NodeSpec(taints=[node.Taint(key="k", effect="NoSchedule")]))
    assert "not allowed to modify taints" in await refused(
        me, node.RESOURCE, operation="UPDATE", old=tainted, user=NODE
    )
    for label, allowed in {
        "kubernetes.io/hostname": True,
        "mine/x": True,
        "node.kubernetes.io/instance-type": True,
        "node-restriction.kubernetes.io/team": False,
        "node-role.kubernetes.io/control-plane": False,
    }.items():
        new = Node(metadata=meta("n1", labels={label: "x"}))
        if allowed:
            await run(new, node.RESOURCE, operation="UPDATE", old=me, user=NODE)
        else:
            assert label in await refused(new, node.RESOURCE, operation="UPDATE", old=me, user=NODE)


async def test_a_node_reports_and_deletes_only_pods_it_runs() -> None:
    mine, other = a_pod(node_name="n1"), a_pod(node_name="n2")
    kwargs: dict[str, Any] = {"operation": "UPDATE", "subresource": "status", "user": NODE}
    await run(mine, old=mine, **kwargs)
    assert "can only update pod status for pods with spec.nodeName set to itself" in await refused(
        other, old=other, **kwargs
    )
    await run(None, operation="DELETE", old=mine, user=NODE)
    assert "can only delete pods" in await refused(None, operation="DELETE", old=other, user=NODE)
    assert "can only create mirror pods" in await refused(a_pod(), user=NODE)
    assert "may not update pods" in await refused(mine, operation="UPDATE", old=mine, user=NODE)
    mirror = a_pod(node_name="n1")
    mirror.metadata.annotations = {"kubernetes.io/config.mirror": "x"}
    objects = world((node.RESOURCE, Node(metadata=meta("n1", uid="u1"))))
    owner = OwnerReference(api_version="v1", kind="Node", name="n1", uid="u1", controller=True)
    for owners, why in (
        ([], "can only create pods with an owner reference set to itself"),
        ([owner, owner], "a single owner reference set to itself"),
        ([replace(owner, name="n2")], "an owner reference set to itself"),
        ([replace(owner, controller=False)], "a controller owner reference set to itself"),
        ([replace(owner, block_owner_deletion=True)], "must not set blockOwnerDeletion"),
        ([replace(owner, uid="u0")], "node n1 UID mismatch: expected u0 got u1"),
    ):
        mirror.metadata.owner_references = owners
        assert why in await refused(mirror, user=NODE, objects=objects)
    mirror.metadata.owner_references = [owner]
    made = await run(mirror, user=NODE, objects=objects)
    assert not made.spec.volumes and not made.spec.service_account_name


async def test_a_node_renews_only_its_own_lease() -> None:
    await run(lease.Lease(metadata=meta("n1")), lease.RESOURCE, user=NODE, where="kube-node-lease",
              objects=world((namespace.RESOURCE, Namespace(metadata=meta("kube-node-lease")))))  # fmt: skip
    assert "same name" in await refused(
        lease.Lease(metadata=meta("n2")), lease.RESOURCE, operation="UPDATE", old=lease.Lease(metadata=meta("n2")),
        user=NODE, where="kube-node-lease",
    )  # fmt: skip
    assert 'in the "kube-node-lease"' in await refused(
        lease.Lease(metadata=meta("n1")), lease.RESOURCE, operation="UPDATE", old=lease.Lease(), user=NODE
    )


async def test_a_node_gets_tokens_only_for_pods_it_runs() -> None:
    def request(**ref: str) -> TokenRequest:
        bound = BoundObjectReference(api_version="v1", kind="Pod", **ref) if ref else None
        return TokenRequest(spec=TokenRequestSpec(bound_object_ref=bound))

    mine, other = a_pod("mine", node_name="n1"), a_pod("other", node_name="n2")
    mine.metadata.uid, other.metadata.uid = "u1", "u2"
    objects = world((pod.RESOURCE, mine), (pod.RESOURCE, other))
    kwargs: dict[str, Any] = {"subresource": "token", "name": "default", "objects": objects, "user": NODE}
    await run(request(name="mine", uid="u1"), serviceaccount.RESOURCE, **kwargs)
    for body, why in (
        (request(), "not bound to a pod"),
        (request(name="other", uid="u2"), "scheduled on a different node"),
        (request(name="mine", uid="u9"), "does not match the UID in record"),
        (request(name="gone", uid="u9"), "does not exist"),
    ):
        assert why in await refused(body, serviceaccount.RESOURCE, **kwargs)
    kwargs["name"] = "rich"
    assert "does not run as" in await refused(request(name="mine", uid="u1"), serviceaccount.RESOURCE, **kwargs)


async def test_nobody_grants_what_they_do_not_hold() -> None:
    limited = authorizer([cluster_role("r", rule("core", "pods", "get"))], [bind("r", TO_JANE)])
    small = role.Role(metadata=meta("x", "a"), rules=[rule("core", "pods", "get")])
    large = role.Role(metadata=meta("x", "a"), rules=[rule("core", "pods secrets", "get")])
    await run(small, role.RESOURCE, user=JANE, rbac=limited)
    assert await refused(large, role.RESOURCE, user=JANE, rbac=limited) == (
        'roles.rbac.authorization.k8s.io "x" is forbidden: user "jane" (groups=["dev" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    await run(large, role.RESOURCE, user=ROOT, rbac=limited)
    await run(large, role.RESOURCE, operation="UPDATE", old=large, user=JANE, rbac=limited)
    aggregating = clusterrole.ClusterRole(metadata=meta("x"), aggregation_rule=clusterrole.AggregationRule())
    with pytest.raises(Forbidden):
        await run(aggregating, clusterrole.RESOURCE, user=JANE, rbac=limited)


async def test_who_may_escalate_or_bind_may_grant_more() -> None:
    verbs = rule("rbac.authorization.k8s.io", "roles clusterroles", "escalate bind")
    secrets = cluster_role("secrets", rule("core", "secrets", "get"))
    binding = rolebinding.RoleBinding(
        metadata=meta("b", "a"), role_ref=RoleRef(kind="ClusterRole", name="secrets"), subjects=[Subject(kind="User")]
    )
    large = role.Role(metadata=meta("x", "a"), rules=secrets.rules)
    may = authorizer([cluster_role("r", verbs), secrets], [bind("r", TO_JANE)])
    may_not = authorizer([secrets])
    await run(large, role.RESOURCE, user=JANE, rbac=may)
    await run(binding, rolebinding.RESOURCE, user=JANE, rbac=may)
    assert "not currently held" in await refused(binding, rolebinding.RESOURCE, user=JANE, rbac=may_not)
    binding.role_ref.name = "nothing"
    assert "not found" in await refused(binding, rolebinding.RESOURCE, user=JANE, rbac=may_not)


CSR_PEM = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "system:masters")]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
)


def a_request(signer: str = "example.com/x") -> CertificateSigningRequest:
    spec = CertificateSigningRequestSpec(request=CSR_PEM, signer_name=signer, usages=["client auth"], username="liar")
    return CertificateSigningRequest(metadata=meta("r"), spec=spec)


async def test_the_server_writes_down_who_asks_for_a_certificate() -> None:
    asker = User("ann", uid="7", groups=("dev",))
    made = await run(a_request(), certificatesigningrequest.RESOURCE, user=asker)
    assert (made.spec.username, made.spec.uid, made.spec.groups) == ("ann", "7", ["dev"])


async def test_nobody_gets_a_certificate_of_those_who_may_do_anything() -> None:
    asked = a_request("kubernetes.io/kube-apiserver-client")
    assert 'organization "system:masters" is not allowed' in await refused(asked, certificatesigningrequest.RESOURCE)


async def test_approving_takes_a_right_to_the_signer() -> None:
    kind = certificatesigningrequest.RESOURCE
    ann = User("ann")
    asked = {"operation": "UPDATE", "subresource": "approval", "user": ann}
    assert "not permitted to approve" in await refused(a_request(), kind, old=a_request(), **asked)
    await run(a_request(), kind, old=a_request(), operation="UPDATE", subresource="approval")
