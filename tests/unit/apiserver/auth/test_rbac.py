from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta
from api.rbac.clusterrole import AggregationRule, ClusterRole
from api.rbac.clusterrolebinding import ClusterRoleBinding
from api.rbac.role import Role
from api.rbac.rolebinding import RoleBinding
from api.rbac.rules import PolicyRule, RoleRef, Subject
from api.resource import ObjectKey
from apiserver.auth import policy
from apiserver.auth.policy import paths, rule
from apiserver.auth.rbac import RbacAuthorizer, RbacListers, describe, forbidden, resolve_rules, uncovered
from apiserver.request import ANONYMOUS, RequestInfo, User


class Cache:
    def __init__(self, *objects) -> None:
        self.objects = {ObjectKey(one.metadata.namespace, one.metadata.name): one for one in objects}

    def get(self, key):
        return self.objects.get(key)

    def list(self, namespace=None):
        return [one for key, one in self.objects.items() if namespace in (None, key.namespace)]


def authorizer(cluster_roles=(), cluster_role_bindings=(), roles=(), role_bindings=(), version=None) -> RbacAuthorizer:
    caches = (Cache(*roles), Cache(*role_bindings), Cache(*cluster_roles), Cache(*cluster_role_bindings))
    return RbacAuthorizer(RbacListers(*caches), version)


def cluster_role(name: str, *rules: PolicyRule, **labels: str) -> ClusterRole:
    return ClusterRole(metadata=ObjectMeta(name=name, labels=labels), rules=list(rules))


def bind(role: str, *subjects: Subject, namespace: str = "", kind: str = "ClusterRole"):
    ref, name = RoleRef(kind=kind, name=role), f"bind-{role}"
    if namespace:
        return RoleBinding(metadata=ObjectMeta(name=name, namespace=namespace), subjects=list(subjects), role_ref=ref)
    return ClusterRoleBinding(metadata=ObjectMeta(name=name), subjects=list(subjects), role_ref=ref)


JANE = User("jane", groups=("dev", "system:authenticated"))
TO_JANE = Subject(kind="User", name="jane")


def asks(verb: str, plural: str, group: str = "", sub: str = "", namespace: str = "", name: str = "") -> RequestInfo:
    return RequestInfo(verb, "", group, "v1", plural, sub, namespace, name)


def default_cluster() -> RbacAuthorizer:
    return authorizer(
        policy.cluster_roles(), policy.cluster_role_bindings(), policy.roles(), policy.role_bindings(), lambda: 1
    )


def test_nobody_may_do_anything_without_a_binding() -> None:
    assert not authorizer().authorize(JANE, asks("get", "pods")).allowed


def test_masters_may_do_everything_even_without_roles() -> None:
    assert authorizer().authorize(User("root", groups=("system:masters",)), asks("delete", "nodes")).allowed


def test_a_cluster_role_binding_gives_rules_everywhere_and_says_so() -> None:
    tested = authorizer([cluster_role("r", rule("core", "pods", "get"))], [bind("r", TO_JANE)])
    decision = tested.authorize(JANE, asks("get", "pods", namespace="x"))
    assert decision.allowed
    assert decision.reason == 'RBAC: allowed by ClusterRoleBinding "bind-r" of ClusterRole "r" to User "jane"'
    assert not tested.authorize(JANE, asks("list", "pods", namespace="x")).allowed


def test_a_role_binding_gives_rules_in_its_namespace_only() -> None:
    role = Role(metadata=ObjectMeta(name="r", namespace="a"), rules=[rule("core", "pods", "*")])
    tested = authorizer(roles=[role], role_bindings=[bind("r", TO_JANE, namespace="a", kind="Role")])
    assert tested.authorize(JANE, asks("get", "pods", namespace="a")).allowed
    assert not tested.authorize(JANE, asks("get", "pods", namespace="b")).allowed
    assert not tested.authorize(JANE, asks("list", "pods")).allowed


def test_groups_and_service_accounts_are_subjects() -> None:
    account = Subject(kind="ServiceAccount", name="bot", namespace="a")
    own = Subject(kind="ServiceAccount", name="bot")
    tested = authorizer(
        [cluster_role("r", rule("core", "pods", "get")), cluster_role("s", rule("core", "secrets", "get"))],
        [bind("r", Subject(kind="Group", name="dev"), account)],
        role_bindings=[bind("s", own, namespace="a")],
    )
    bot = User("system:serviceaccount:a:bot")
    assert tested.authorize(JANE, asks("get", "pods")).allowed
    assert tested.authorize(bot, asks("get", "pods")).allowed
    assert tested.authorize(bot, asks("get", "secrets", namespace="a")).allowed
    assert not tested.authorize(User("system:serviceaccount:b:bot"), asks("get", "pods")).allowed


@pytest.mark.parametrize(
    ("given_rule", "asked", "allowed"),
    [
        (rule("*", "*", "*"), asks("get", "pods", sub="exec"), True),
        (rule("core", "pods", "*"), asks("get", "pods", sub="log"), False),
        (rule("core", "pods/log", "get"), asks("get", "pods", sub="log"), True),
        (rule("core", "*/scale", "get"), asks("get", "deployments", sub="scale"), True),
        (rule("core", "pods", "get", ["a"]), asks("get", "pods", name="a"), True),
        (rule("core", "pods", "get", ["a"]), asks("get", "pods", name="b"), False),
        (rule("core", "pods", "list", ["a"]), asks("list", "pods"), False),
        (rule("apps", "pods", "get"), asks("get", "pods"), False),
        (paths("get", "/healthz /api/*"), RequestInfo("get", "/api/v1"), True),
        (paths("get", "/healthz"), RequestInfo("get", "/healthz/etcd"), False),
        (paths("*", "*"), RequestInfo("post", "/anything"), True),
        (rule("*", "*", "*"), RequestInfo("get", "/metrics"), False),
    ],
)
def test_rules_cover_what_upstreams_cover(given_rule: PolicyRule, asked: RequestInfo, allowed: bool) -> None:
    tested = authorizer([cluster_role("r", given_rule)], [bind("r", TO_JANE)])
    assert tested.authorize(JANE, asked).allowed is allowed


def test_aggregated_roles_follow_labels_at_any_depth_and_a_broken_selector_selects_nothing() -> None:
    def aggregate(name: str, key: str, **labels: str) -> ClusterRole:
        made = cluster_role(name, **labels)
        made.aggregation_rule = AggregationRule(cluster_role_selectors=[LabelSelector(match_labels={key: "true"})])
        return made

    leaf = cluster_role("leaf", rule("core", "pods", "get"), to_view="true")
    view, edit = aggregate("view", "to_view", to_edit="true"), aggregate("edit", "to_edit")
    assert resolve_rules(edit, [leaf, view, edit]) == leaf.rules
    broken = LabelSelectorRequirement(key="k", operator="Near")
    view.aggregation_rule.cluster_role_selectors[0].match_expressions = [broken]
    assert resolve_rules(edit, [leaf, view, edit]) == []


def test_decisions_follow_the_version_of_the_caches() -> None:
    version = [1]
    tested = authorizer([cluster_role("r", rule("core", "pods", "get"))], version=lambda: version[0])
    assert not tested.authorize(JANE, asks("get", "pods")).allowed
    binding = bind("r", TO_JANE)
    tested._listers.cluster_role_bindings.objects[ObjectKey("", "bind-r")] = binding
    assert not tested.authorize(JANE, asks("get", "pods")).allowed
    version[0] = 2
    assert tested.authorize(JANE, asks("get", "pods")).allowed


def test_refusals_are_worded_as_clients_know_them() -> None:
    assert forbidden(JANE, asks("list", "pods", namespace="default")).message == (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    assert forbidden(JANE, asks("patch", "deployments", "apps", "scale", "default", "web")).message == (
        'deployments.apps "web" is forbidden: User "jane" cannot patch resource "deployments/scale" '
        'in API group "apps" in the namespace "default"'
    )
    assert forbidden(JANE, asks("list", "nodes")).message == (
        'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert forbidden(User('<b>"x'), RequestInfo("get", "/a&b")).message == (
        'forbidden: User "&lt;b&gt;\\"x" cannot get path "/a&amp;b"'
    )
    assert forbidden(ANONYMOUS, RequestInfo("get", "/metrics")).message == (
        'forbidden: User "system:anonymous" cannot get path "/metrics"'
    )


def test_what_is_not_held_is_named_part_by_part() -> None:
    held = [rule("core", "pods", "get list"), rule("core", "secrets", "get", ["a"])]
    assert uncovered(held, [rule("core", "pods", "get")]) == []
    assert uncovered(held, [rule("core", "secrets", "get", ["a"])]) == []
    missing = uncovered(held, [rule("core", "pods secrets", "get")])
    assert describe(missing) == '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    assert uncovered([rule("*", "*", "*")], [rule("core", "pods/exec", "create"), rule("*", "*", "*")]) == []
    assert uncovered([rule("*", "*", "*")], [paths("get", "/x")]) != []
    assert uncovered([rule("core", "pods", "*")], [rule("core", "pods/exec", "create")]) != []
    assert uncovered([rule("core", "*/scale", "get")], [rule("core", "*", "get")]) != []


WORDS = st.sampled_from(["a", "b", "a/s", "*", "*/s"])
RULES = st.builds(
    PolicyRule,
    verbs=st.lists(st.sampled_from(["get", "list", "*"]), min_size=1, max_size=2),
    api_groups=st.lists(st.sampled_from(["", "apps", "*"]), min_size=1, max_size=2),
    resources=st.lists(WORDS, min_size=1, max_size=2),
    resource_names=st.lists(st.sampled_from(["x", "y"]), max_size=1),
)


@given(
    st.lists(RULES, max_size=3),
    RULES,
    st.sampled_from(["get", "list"]),
    st.sampled_from(["", "apps"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "s"]),
    st.sampled_from(["", "x", "y"]),
)
def test_whoever_may_grant_a_rule_may_already_do_what_it_allows(held, wanted, verb, group, plural, sub, name) -> None:
    if uncovered(held, [wanted]):
        return
    asked = asks(verb, plural, group, sub, name=name)
    granted = authorizer([cluster_role("r", wanted)], [bind("r", TO_JANE)]).authorize(JANE, asked).allowed
    has = authorizer([cluster_role("r", *held)], [bind("r", TO_JANE)]).authorize(JANE, asked).allowed
    assert has or not granted


@pytest.mark.parametrize(
    ("user", "group", "asked", "allowed"),
    [
        ("system:kube-scheduler", "", asks("create", "pods", sub="binding", namespace="a"), True),
        ("system:kube-scheduler", "", asks("get", "secrets", namespace="a"), False),
        ("system:kube-scheduler", "", asks("update", "leases", "coordination.k8s.io", "", "kube-system",
                                            "steer-scheduler"), True),
        ("system:kube-scheduler", "", asks("update", "leases", "coordination.k8s.io", "", "kube-system",
                                            "steer-controllers"), False),
        ("system:kube-controller-manager", "", asks("delete", "secrets", namespace="a", name="b"), True),
        ("system:kube-controller-manager", "", asks("get", "pods", sub="exec", namespace="a", name="b"), False),
        ("system:kube-controller-manager", "", asks("create", "clusterroles", "rbac.authorization.k8s.io"), False),
        ("system:kube-controller-manager", "", asks("create", "pods", namespace="a"), True),
        ("system:kube-proxy", "", asks("watch", "services"), True),
        ("system:kube-proxy", "", asks("list", "pods"), False),
        ("system:cluster-dns", "", asks("watch", "endpointslices", "discovery.k8s.io"), True),
        ("system:cluster-dns", "", asks("list", "secrets"), False),
        ("system:node:n1", "system:nodes", asks("patch", "pods", sub="status", namespace="a"), False),
        ("someone", "system:authenticated", asks("create", "selfsubjectaccessreviews", "authorization.k8s.io"), True),
        ("someone", "system:authenticated", RequestInfo("get", "/apis/apps/v1"), True),
        ("someone", "system:authenticated", asks("list", "pods"), False),
        ("system:anonymous", "system:unauthenticated", RequestInfo("get", "/version"), True),
        ("system:anonymous", "system:unauthenticated", RequestInfo("get", "/api"), False),
        ("system:anonymous", "system:unauthenticated", RequestInfo("get", "/metrics"), False),
    ],
)  # fmt: skip
def test_the_default_roles_give_each_process_what_it_does_and_no_more(user, group, asked, allowed) -> None:
    who = User(user, groups=(group,) if group else ())
    assert default_cluster().authorize(who, asked).allowed is allowed


def test_view_edit_and_admin_include_one_another_and_view_shows_no_secrets() -> None:
    tested = default_cluster()
    rules = {
        name: tested.rules_of_role(RoleRef(kind="ClusterRole", name=name), "") for name in ("view", "edit", "admin")
    }
    assert not uncovered(rules["edit"], rules["view"])
    assert not uncovered(rules["admin"], rules["edit"])
    assert uncovered(rules["view"], [rule("core", "secrets", "get")])
    assert not uncovered(rules["edit"], [rule("core", "secrets", "get")])
    assert uncovered(rules["edit"], [rule("rbac.authorization.k8s.io", "roles", "create")])
    assert not uncovered(rules["admin"], [rule("rbac.authorization.k8s.io", "roles", "create")])
