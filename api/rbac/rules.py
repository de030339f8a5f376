"""What roles and bindings share: rules, subjects, and how both are checked and shown (RBAC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.resource import Column
from api.schema import Struct, always, field, wire


class Subject(Struct):
    """A user, a group, or a service account.

    Attributes:
        kind: User, Group or ServiceAccount.
        api_group: The group of the subject's kind: rbac.authorization.k8s.io for users and groups (the default there),
            empty for service accounts.
        name: The name of the user, group or account.
        namespace: The account's namespace; empty for users and groups.
    """

    kind: Annotated[str, wire(1, required=True)] = always("")
    api_group: Annotated[str, wire(2)] = ""
    name: Annotated[str, wire(3, required=True)] = always("")
    namespace: Annotated[str, wire(4)] = ""


class RoleRef(Struct):
    """The role whose rights are given. It never changes: bind anew instead.

    Attributes:
        api_group: The group of the role's kind: rbac.authorization.k8s.io, which is the default.
        kind: Role (of the same namespace) or ClusterRole.
        name: The role's name.
    """

    api_group: Annotated[str, wire(1, required=True)] = always("")
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")


class PolicyRule(Struct):
    """Verbs that are allowed on resources, or on paths that are no resources.

    Attributes:
        verbs: What may be done, such as get, list, watch, create, update, patch, delete; * is everything.
        api_groups: API groups of the resources; empty text is the core group, * every group.
        resources: Resources, such as pods or pods/log; * is all.
        resource_names: Only objects of these names; empty for any. Cannot hold for create, nor for lists without a
            name.
        non_resource_urls: Paths such as /healthz, or /metrics/* with all below. Only in ClusterRoles that are bound
            cluster-wide, and not together with resources.
    """

    verbs: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    api_groups: Annotated[list[str], wire(2, list_type="atomic")] = []
    resources: Annotated[list[str], wire(3, list_type="atomic")] = []
    resource_names: Annotated[list[str], wire(4, list_type="atomic")] = []
    non_resource_urls: Annotated[list[str], wire(5, list_type="atomic")] = field(
        name="nonResourceURLs", default_factory=list
    )


GROUP: Final = "rbac.authorization.k8s.io"


def check_rules(rules: Sequence[PolicyRule], *, is_namespaced: bool) -> v.Errors:
    """Check the rules of a role; only cluster roles may speak of paths that are no resources."""
    for i, rule in enumerate(rules):
        where = f"rules[{i}]"
        if not rule.verbs:
            yield v.required(f"{where}.verbs", "verbs must contain at least one value")
        if rule.non_resource_urls:
            if is_namespaced:
                yield v.invalid(
                    f"{where}.nonResourceURLs",
                    rule.non_resource_urls,
                    "namespaced rules cannot apply to non-resource URLs",
                )
            if rule.api_groups or rule.resources or rule.resource_names:
                yield v.invalid(
                    f"{where}.nonResourceURLs",
                    rule.non_resource_urls,
                    "rules cannot apply to both regular resources and non-resource URLs",
                )
            continue
        if not rule.api_groups:
            yield v.required(f"{where}.apiGroups", "resource rules must supply at least one api group")
        if not rule.resources:
            yield v.required(f"{where}.resources", "resource rules must supply at least one resource")


def default_role_and_subjects(role_ref: RoleRef, subjects: Sequence[Subject]) -> None:
    """Fill in the API groups, in place."""
    role_ref.api_group = role_ref.api_group or GROUP
    for subject in subjects:
        if not subject.api_group and subject.kind in ("User", "Group"):
            subject.api_group = GROUP


def check_role_and_subjects(role_ref: RoleRef, subjects: Sequence[Subject], *, is_namespaced: bool) -> v.Errors:
    """Check a binding; one in a namespace may name either kind of role."""
    if role_ref.api_group != GROUP:
        yield v.not_supported("roleRef.apiGroup", role_ref.api_group, (GROUP,))
    kinds = ("Role", "ClusterRole") if is_namespaced else ("ClusterRole",)
    if role_ref.kind not in kinds:
        yield v.not_supported("roleRef.kind", role_ref.kind, kinds, in_order=True)
    yield from v.check_name("roleRef.name", role_ref.name, names.check_path_segment)
    for i, subject in enumerate(subjects):
        where = f"subjects[{i}]"
        if not subject.name:
            yield v.required(f"{where}.name")
        match subject.kind:
            case "ServiceAccount":
                if subject.name:
                    for message in names.check_subdomain(subject.name):
                        yield v.invalid(f"{where}.name", subject.name, message)
                if subject.api_group:
                    yield v.not_supported(f"{where}.apiGroup", subject.api_group, ("",))
                if not subject.namespace and not is_namespaced:
                    yield v.required(f"{where}.namespace")
            case "User" | "Group":
                if subject.api_group != GROUP:
                    yield v.not_supported(f"{where}.apiGroup", subject.api_group, (GROUP,))
            case other:
                yield v.not_supported(f"{where}.kind", other, ("ServiceAccount", "User", "Group"), in_order=True)


def binding_columns() -> tuple[Column[Any], ...]:
    """Return the columns of both kinds of bindings."""

    def subjects(kind: str) -> Any:
        def cell(binding: Any, now: float) -> str:
            found = [subject for subject in binding.subjects if subject.kind == kind]
            if kind == "ServiceAccount":
                return ", ".join(f"{subject.namespace}/{subject.name}" for subject in found)
            return ", ".join(subject.name for subject in found)

        return cell

    def role(binding: Any, now: float) -> str:
        return f"{binding.role_ref.kind}/{binding.role_ref.name}"

    return (
        Column("Role", "string", role, "The role whose rights are given."),
        AGE,
        Column("Users", "string", subjects("User"), "The users who get them.", priority=1),
        Column("Groups", "string", subjects("Group"), "The groups that get them.", priority=1),
        Column(
            "ServiceAccounts", "string", subjects("ServiceAccount"), "The service accounts that get them.", priority=1
        ),
    )
