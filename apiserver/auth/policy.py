"""The roles and bindings every cluster starts with.

Names and meaning are upstream's, since people bind to `view` and scripts look for `system:node`; each of our own
processes gets a role with what it does and nothing else. `apiserver.bootstrap` puts these into the store at every
start: it makes what is missing and adds rules that were taken away, and never removes what an administrator added.
An object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from api.discover import RESOURCES
from api.meta import LabelSelector, ObjectMeta
from api.rbac.clusterrole import AggregationRule, ClusterRole
from api.rbac.clusterrolebinding import ClusterRoleBinding
from api.rbac.role import Role
from api.rbac.rolebinding import RoleBinding
from api.rbac.rules import PolicyRule, RoleRef, Subject
from apiserver.auth import controller_policy

AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
_DEFAULTS_LABEL: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE: Final = "rbac.authorization.k8s.io/aggregate-to-"
_GROUP: Final = "rbac.authorization.k8s.io"

_READ: Final = "get list watch"
_WRITE: Final = "create delete deletecollection patch update"
_EVENTS: Final = ("events.k8s.io,core", "events", "create patch update")


def rule(groups: str, resources: str, verbs: str, names: Iterable[str] = ()) -> PolicyRule:
    """Return a rule; groups are separated by commas (`core` is the group without name), the rest by spaces."""
    return PolicyRule(
        verbs=verbs.split(),
        api_groups=["" if group == "core" else group for group in groups.split(",")],
        resources=resources.split(),
        resource_names=list(names),
    )


def paths(verbs: str, urls: str) -> PolicyRule:
    """Return a rule about paths that are no resources."""
    return PolicyRule(verbs=verbs.split(), non_resource_urls=urls.split())


def _metadata(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        namespace=namespace,
        labels={**_DEFAULTS_LABEL, **(labels or {})},
        annotations={AUTOUPDATE: "true"},
    )


def _cluster_role(name: str, *rules: PolicyRule, aggregate_to: str = "") -> ClusterRole:
    labels = {_AGGREGATE + aggregate_to: "true"} if aggregate_to else {}
    return ClusterRole(metadata=_metadata(name, labels=labels), rules=list(rules))


def _aggregated(name: str, aggregate_to: str = "") -> ClusterRole:
    role = _cluster_role(name, aggregate_to=aggregate_to)
    selector = LabelSelector(match_labels={_AGGREGATE + name: "true"})
    role.aggregation_rule = AggregationRule(cluster_role_selectors=[selector])
    return role


def _leader_election(lease: str) -> tuple[PolicyRule, PolicyRule]:
    group = "coordination.k8s.io"
    return rule(group, "leases", "create"), rule(group, "leases", f"{_READ} patch update", [lease])


def every_kind() -> list[PolicyRule]:
    """Return what the garbage collector and the namespace controller need: to see and delete objects of every kind.

    The kinds are written out, because `*` would take in subresources such as pods/exec.
    """
    by_group: dict[str, list[str]] = {}
    for resource in RESOURCES:
        if "delete" in resource.verbs:
            by_group.setdefault(resource.group, []).append(resource.plural)
    verbs = f"{_READ} delete deletecollection patch update"
    return [rule(group or "core", " ".join(sorted(plurals)), verbs) for group, plurals in sorted(by_group.items())]


# What people are given: view < edit < admin < cluster-admin.

_EXTENSIONS: Final = (
    "daemonsets deployments deployments/scale ingresses networkpolicies replicasets replicasets/scale "
    "replicationcontrollers/scale"
)
"""What the group was that these came from; nothing is served there any more, and roles still name it."""
_EXTENSIONS_STATUS: Final = "daemonsets/status deployments/status ingresses/status replicasets/status"

_VIEW: Final = (
    rule(
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
        _READ,
    ),
    rule(
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
        _READ,
    ),
    rule("core", "namespaces", _READ),
    rule("discovery.k8s.io", "endpointslices", _READ),
    rule(
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
        "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        _READ,
    ),
    rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", _READ),
    rule("batch", "cronjobs cronjobs/status jobs jobs/status", _READ),
    rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", _READ),
    rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", _READ),
    rule("extensions", f"{_EXTENSIONS} {_EXTENSIONS_STATUS}", _READ),
)
_EDIT: Final = (
    rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", _READ),
    rule("core", "serviceaccounts", "impersonate"),
    rule("core", "pods pods/attach pods/exec pods/portforward pods/proxy", _WRITE),
    rule("core", "pods/eviction", "create"),
    rule(
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
        _WRITE,
    ),
    rule("core", "serviceaccounts/token", "create"),
    rule(
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
        "statefulsets statefulsets/scale",
        _WRITE,
    ),
    rule("autoscaling", "horizontalpodautoscalers", _WRITE),
    rule("batch", "cronjobs jobs", _WRITE),
    rule("policy", "poddisruptionbudgets", _WRITE),
    rule("networking.k8s.io", "ingresses networkpolicies", _WRITE),
    rule("extensions", f"{_EXTENSIONS} deployments/rollback", _WRITE),
    rule("coordination.k8s.io", "leases", f"{_READ} {_WRITE}"),
)
_ADMIN: Final = (
    rule("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    rule(_GROUP, "rolebindings roles", f"{_READ} {_WRITE}"),
)

_DISCOVERY_PATHS: Final = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
_PUBLIC_PATHS: Final = "/healthz /livez /readyz /version /version/"

# What our processes do.

NODE: Final = (
    rule("core", "services", _READ),
    rule("core", "nodes", f"create {_READ} patch update"),
    rule("core", "nodes/status", "patch update"),
    rule("core", "events", "create patch update"),
    rule("core", "pods", f"{_READ} create delete"),
    rule("core", "pods/status", "patch update"),
    rule("core", "pods/eviction", "create"),
    rule("core", "serviceaccounts/token", "create"),
    rule("coordination.k8s.io", "leases", "create delete get patch update"),
    rule("authentication.k8s.io", "tokenreviews", "create"),
    rule("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
    rule("certificates.k8s.io", "certificatesigningrequests", f"create {_READ}"),
    rule("node.k8s.io", "runtimeclasses", _READ),
    rule("storage.k8s.io", "csidrivers", _READ),
    rule("storage.k8s.io", "csinodes", "create delete get patch update"),
    rule("storage.k8s.io", "volumeattachments", "get"),
)
_SCHEDULER: Final = (
    rule(*_EVENTS),
    rule("core", "nodes", _READ),
    rule("core", "namespaces", _READ),
    rule("core", "pods", f"{_READ} delete"),
    rule("core", "bindings pods/binding", "create"),
    rule("core", "pods/status", "patch update"),
    rule("core", "persistentvolumeclaims persistentvolumes replicationcontrollers services", _READ),
    rule("apps", "replicasets statefulsets", _READ),
    rule("policy", "poddisruptionbudgets", _READ),
    rule("storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses", _READ),
    rule("scheduling.k8s.io", "priorityclasses", _READ),
)
_NODE_PROXIER: Final = (
    rule("core", "endpoints services", "list watch get"),
    rule("core", "nodes", _READ),
    rule("discovery.k8s.io", "endpointslices", _READ),
    rule(*_EVENTS),
)
_CLUSTER_DNS: Final = (
    rule("core", "namespaces services", _READ),
    rule("discovery.k8s.io", "endpointslices", _READ),
)


_APPROVED: Final = ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving")
_SIGNERS: Final = (
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
)


def _approver(signer: str) -> ClusterRole:
    name = f"system:certificates.k8s.io:{signer}-approver"
    return _cluster_role(name, rule("certificates.k8s.io", "signers", "approve", [f"kubernetes.io/{signer}"]))


def _node_client(kind: str) -> ClusterRole:
    name = f"system:certificates.k8s.io:certificatesigningrequests:{kind}"
    return _cluster_role(name, rule("certificates.k8s.io", f"certificatesigningrequests/{kind}", "create"))


def _controllers() -> list[PolicyRule]:
    return [
        *every_kind(),
        rule(*_EVENTS),
        rule("core", "pods configmaps serviceaccounts", "create"),
        rule("core", "pods/status nodes/status namespaces/status namespaces/finalize", "patch update"),
        rule("core", "pods/eviction", "create"),
        rule("core", "serviceaccounts/token", "create"),
        rule("core", "endpoints persistentvolumeclaims persistentvolumes secrets", "create"),
        rule(
            "core",
            "persistentvolumeclaims/status persistentvolumes/status replicationcontrollers/finalizers "
            "replicationcontrollers/status resourcequotas/status services/status",
            "patch update",
        ),
        rule("apps", "controllerrevisions replicasets", "create"),
        rule(
            "apps",
            "daemonsets/finalizers daemonsets/status deployments/finalizers deployments/status replicasets/finalizers "
            "replicasets/status statefulsets/finalizers statefulsets/status",
            "patch update",
        ),
        rule("autoscaling", "horizontalpodautoscalers/status", "patch update"),
        rule("batch", "jobs", "create"),
        rule("batch", "cronjobs/finalizers cronjobs/status jobs/finalizers jobs/status", "patch update"),
        rule("policy", "poddisruptionbudgets/status", "patch update"),
        rule("*", "*/scale", "get update"),
        rule("metrics.k8s.io", "pods", "list"),
        rule("custom.metrics.k8s.io", "*", "get list"),
        rule("external.metrics.k8s.io", "*", "get list"),
        rule(
            "certificates.k8s.io",
            "certificatesigningrequests/approval certificatesigningrequests/status",
            "patch update",
        ),
        rule("certificates.k8s.io", "signers", "approve", _APPROVED),
        rule("certificates.k8s.io", "signers", "sign", _SIGNERS),
        rule("authorization.k8s.io", "subjectaccessreviews", "create"),
        rule("rbac.authorization.k8s.io", "clusterroles", "escalate"),
        rule("storage.k8s.io", "volumeattachments", "create"),
        rule("discovery.k8s.io", "endpointslices", "create"),
        rule("coordination.k8s.io", "leases", "create"),
    ]


def cluster_roles() -> list[ClusterRole]:
    """Return the default ClusterRoles; aggregated ones have no rules of their own."""
    return [
        _cluster_role("cluster-admin", rule("*", "*", "*"), paths("*", "*")),
        _aggregated("admin"),
        _aggregated("edit", aggregate_to="admin"),
        _aggregated("view", aggregate_to="edit"),
        _cluster_role("system:aggregate-to-admin", *_ADMIN, aggregate_to="admin"),
        _cluster_role("system:aggregate-to-edit", *_EDIT, aggregate_to="edit"),
        _cluster_role("system:aggregate-to-view", *_VIEW, aggregate_to="view"),
        _cluster_role("system:discovery", paths("get", _DISCOVERY_PATHS)),
        _cluster_role("system:public-info-viewer", paths("get", _PUBLIC_PATHS)),
        _cluster_role(
            "system:basic-user",
            rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
            rule("authentication.k8s.io", "selfsubjectreviews", "create"),
        ),
        _cluster_role(
            "system:monitoring",
            paths("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
        ),
        _cluster_role(
            "system:service-account-issuer-discovery",
            paths("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks "
                  "/openid/v1/jwks/"),
        ),
        _cluster_role(
            "system:kubelet-api-admin",
            rule("core", "nodes", _READ),
            rule("core", "nodes", "proxy"),
            rule("core", "nodes/log nodes/metrics nodes/proxy nodes/stats", "*"),
        ),
        _cluster_role(
            "system:auth-delegator",
            rule("authentication.k8s.io", "tokenreviews", "create"),
            rule("authorization.k8s.io", "subjectaccessreviews", "create"),
        ),
        *(_approver(signer.removeprefix("kubernetes.io/")) for signer in _SIGNERS),
        _node_client("nodeclient"),
        _node_client("selfnodeclient"),
        _cluster_role(
            "system:node-bootstrapper",
            rule("certificates.k8s.io", "certificatesigningrequests", f"create {_READ}"),
        ),
        _cluster_role(
            "system:node-problem-detector",
            rule("core", "nodes", "get"),
            rule("core", "nodes/status", "patch"),
            rule(*_EVENTS),
        ),
        _cluster_role(
            "system:persistent-volume-provisioner",
            rule("core", "persistentvolumes", f"create delete {_READ}"),
            rule("core", "persistentvolumeclaims", f"{_READ} update"),
            rule("storage.k8s.io", "storageclasses", _READ),
            rule("core", "events", "watch"),
            rule(*_EVENTS),
        ),
        _cluster_role(
            "system:volume-scheduler",
            rule("core", "persistentvolumes", f"{_READ} patch update"),
            rule("storage.k8s.io", "storageclasses", _READ),
            rule("core", "persistentvolumeclaims", f"{_READ} patch update"),
        ),
        _cluster_role(
            "system:heapster",
            rule("core", "events namespaces nodes pods", _READ),
            rule("extensions", "deployments", _READ),
        ),
        _cluster_role("system:kube-aggregator", rule("core", "endpoints services", _READ)),
        _cluster_role("system:kube-dns", rule("core", "endpoints services", "list watch")),
        *(
            _cluster_role(controller_policy.PREFIX + name, *_rules_of(rules))
            for name, rules in controller_policy.CONTROLLERS.items()
        ),
        _cluster_role("system:node", *NODE),
        _cluster_role("system:node-proxier", *_NODE_PROXIER),
        _cluster_role("system:kube-scheduler", *_SCHEDULER),
        _cluster_role("system:kube-controller-manager", *_controllers()),
        _cluster_role("system:cluster-dns", *_CLUSTER_DNS),
    ]  # fmt: skip


def _rules_of(rules: Iterable[controller_policy.Rule]) -> list[PolicyRule]:
    return [rule(each[0], each[1], each[2], each[3].split() if len(each) == 4 else ()) for each in rules]


def _group(name: str) -> Subject:
    return Subject(kind="Group", api_group=_GROUP, name=name)


def _user(name: str) -> Subject:
    return Subject(kind="User", api_group=_GROUP, name=name)


def _account(namespace: str, name: str) -> Subject:
    return Subject(kind="ServiceAccount", namespace=namespace, name=name)


def _bind(role: str, *subjects: Subject) -> ClusterRoleBinding:
    ref = RoleRef(api_group=_GROUP, kind="ClusterRole", name=role)
    return ClusterRoleBinding(metadata=_metadata(role), subjects=list(subjects), role_ref=ref)


def cluster_role_bindings() -> list[ClusterRoleBinding]:
    """Return the default ClusterRoleBindings."""
    authenticated, anonymous = _group("system:authenticated"), _group("system:unauthenticated")
    return [
        _bind("cluster-admin", _group("system:masters")),
        _bind("system:basic-user", authenticated),
        _bind("system:cluster-dns", _user("system:cluster-dns")),
        _bind("system:discovery", authenticated),
        _bind("system:kube-controller-manager", _user("system:kube-controller-manager")),
        _bind("system:kube-dns", _account("kube-system", "kube-dns")),
        _bind("system:kube-scheduler", _user("system:kube-scheduler")),
        _bind("system:monitoring", _group("system:monitoring")),
        _bind("system:node"),  # To nobody: what nodes may do is `apiserver.auth.node`'s to say.
        _bind("system:node-proxier", _user("system:kube-proxy")),
        _bind("system:public-info-viewer", authenticated, anonymous),
        _bind("system:volume-scheduler", _user("system:kube-scheduler")),
        _bind("system:service-account-issuer-discovery", _group("system:serviceaccounts")),
        *(
            _bind(controller_policy.PREFIX + name, _account("kube-system", name))
            for name in controller_policy.CONTROLLERS
        ),
    ]


def _leader_role(process: str) -> str:
    return f"system::leader-locking-{process}"


_ELECTED: Final = {"kube-controller-manager": "steer-controllers", "kube-scheduler": "steer-scheduler"}
"""Whose users stand for election, and the Lease each stands for."""


def roles() -> list[Role]:
    """Return the default Roles: who may hold which leader's Lease, and who may learn what the front proxy is."""
    return [
        *(
            Role(metadata=_metadata(_leader_role(process), "kube-system"), rules=list(_leader_election(lease)))
            for process, lease in _ELECTED.items()
        ),
        Role(
            metadata=_metadata("extension-apiserver-authentication-reader", "kube-system"),
            rules=[rule("core", "configmaps", _READ, ["extension-apiserver-authentication"])],
        ),
        *(
            Role(metadata=_metadata(controller_policy.PREFIX + name, namespace), rules=_rules_of(rules))
            for (namespace, name), rules in controller_policy.IN_NAMESPACES.items()
        ),
    ]


def role_bindings() -> list[RoleBinding]:
    """Return the default RoleBindings."""
    elected = [_user(f"system:{process}") for process in _ELECTED]
    reader = "extension-apiserver-authentication-reader"
    return [
        *(
            _bind_in("kube-system", _leader_role(process), _leader_role(process), _user(f"system:{process}"))
            for process in _ELECTED
        ),
        _bind_in("kube-system", f"system::{reader}", reader, *elected),
        *(
            _bind_in(
                namespace, name := controller_policy.PREFIX + controller, name, _account("kube-system", controller)
            )
            for namespace, controller in controller_policy.IN_NAMESPACES
        ),
    ]


def _bind_in(namespace: str, name: str, role: str, *subjects: Subject) -> RoleBinding:
    ref = RoleRef(api_group=_GROUP, kind="Role", name=role)
    return RoleBinding(metadata=_metadata(name, namespace), subjects=list(subjects), role_ref=ref)


def missing_subjects(have: Sequence[Subject], want: Sequence[Subject]) -> list[Subject]:
    """Return those of `want` that are not in `have`."""
    return [subject for subject in want if subject not in have]
