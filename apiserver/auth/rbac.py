"""What a user may do: the four RBAC kinds, decided purely.

A binding gives the rules of a role to subjects, in one namespace or everywhere. A request is allowed if any rule
of the user's, in the request's namespace or cluster-wide, covers it; there are no rules that deny. ClusterRoles with an
`aggregationRule` are the union of the roles that it selects, resolved here at reading, so that a role labelled for
`view` widens `view` at once without a controller.

Bindings are indexed by subject when the caches change, since every request asks and few change anything.
Rules and matching: Kubernetes' "Using RBAC Authorization"; who may grant what, its "privilege escalation
prevention".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from api.errors import Forbidden, harmless
from api.go_types import quoted
from api.lister import Lister
from api.rbac.clusterrole import AggregationRule, ClusterRole
from api.rbac.clusterrolebinding import ClusterRoleBinding
from api.rbac.role import Role
from api.rbac.rolebinding import RoleBinding
from api.rbac.rules import PolicyRule, RoleRef, Subject
from api.resource import ObjectKey
from api.selectors import BadSelector, of_label_selector
from apiserver.auth.tokens import USERNAME_PREFIX
from apiserver.request import NO_OPINION, Decision, RequestInfo, User

SUPERUSERS = "system:masters"
"""The group that may do anything, whatever the roles say: what repairs a cluster whose roles are broken."""

RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_SAYS = "RBAC: "
"""How its reasons begin."""
_DECISIONS_MAX = 8192


@dataclass(frozen=True, slots=True)
class RbacListers:
    """Where the roles and bindings are read."""

    roles: Lister[Role]
    role_bindings: Lister[RoleBinding]
    cluster_roles: Lister[ClusterRole]
    cluster_role_bindings: Lister[ClusterRoleBinding]


@dataclass(frozen=True, slots=True)
class _Grant:
    """A rule somebody has, and why."""

    namespace: str
    """Empty: everywhere."""
    rules: tuple[PolicyRule, ...]
    reason: str


class RbacAuthorizer:
    """Decides by the roles in the caches.

    Args:
        listers: the caches.
        version: something that changes whenever any of the caches does, such as their revisions; the index and
            decisions are kept while it stays the same. Without it nothing is kept.
    """

    def __init__(self, listers: RbacListers, version: Callable[[], Hashable] | None = None) -> None:
        self._listers = listers
        self._version = version
        self._indexed_at: Hashable = None
        self._grants: Mapping[tuple[str, str], Sequence[_Grant]] = {}
        self._decisions: dict[Hashable, Decision] = {}

    def authorize(self, user: User, request: RequestInfo) -> Decision:
        """Say whether `user` may do it, and which binding says so."""
        if SUPERUSERS in user.groups:
            return Decision(True)
        grants = self._index()
        key = (user.name, user.groups, request)
        decision = self._decisions.get(key)
        if decision is None:
            decision = NO_OPINION
            for grant in _grants_of(grants, user, request.namespace):
                if any(covers(rule, request) for rule in grant.rules):
                    decision = Decision(True, grant.reason)
                    break
            if len(self._decisions) >= _DECISIONS_MAX:
                self._decisions.clear()
            self._decisions[key] = decision
        return decision

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return every rule that `user` has cluster-wide, and in `namespace` if it is not empty."""
        if SUPERUSERS in user.groups:
            return [
                PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"]),
                PolicyRule(verbs=["*"], non_resource_urls=["*"]),
            ]
        return [rule for grant in _grants_of(self._index(), user, namespace) for rule in grant.rules]

    def why_incomplete(self, user: User) -> str:
        """Return nothing: rules are all that there is."""
        return ""

    def rules_of_role(self, ref: RoleRef, namespace: str) -> list[PolicyRule] | None:
        """Return the rules a binding in `namespace` (empty: a ClusterRoleBinding) would give; None: no such role."""
        return _rules_of_role(self._listers, ref, namespace)

    def _index(self) -> Mapping[tuple[str, str], Sequence[_Grant]]:
        version = self._version() if self._version is not None else None
        if version is None or version != self._indexed_at:
            self._grants = _index_grants(self._listers)
            self._decisions = {}
            self._indexed_at = version
        return self._grants


def _index_grants(listers: RbacListers) -> Mapping[tuple[str, str], Sequence[_Grant]]:
    """Return what each subject, ("User" or "Group", name), is granted."""
    index: dict[tuple[str, str], list[_Grant]] = {}
    aggregated: dict[str, tuple[PolicyRule, ...]] = {}

    def add(namespace: str, ref: RoleRef, subjects: Iterable[Subject], reason: str) -> None:
        if ref.kind == "ClusterRole" and ref.name in aggregated:
            rules = aggregated[ref.name]
        else:
            rules = tuple(_rules_of_role(listers, ref, namespace) or ())
            if ref.kind == "ClusterRole":
                aggregated[ref.name] = rules
        for subject in subjects:
            if (key := _subject_key(subject, namespace)) is not None and rules:
                grant = _Grant(namespace, rules, f'{reason} to {subject.kind} "{subject.name}"')
                index.setdefault(key, []).append(grant)

    for binding in listers.cluster_role_bindings.list():
        reason = f'{RBAC_SAYS}allowed by ClusterRoleBinding "{binding.metadata.name}" of {_named(binding.role_ref)}'
        add("", binding.role_ref, binding.subjects, reason)
    for in_namespace in listers.role_bindings.list():
        metadata, ref = in_namespace.metadata, in_namespace.role_ref
        reason = f'{RBAC_SAYS}allowed by RoleBinding "{metadata.name}/{metadata.namespace}" of {_named(ref)}'
        add(metadata.namespace, ref, in_namespace.subjects, reason)
    return index


def _named(ref: RoleRef) -> str:
    return f'{ref.kind} "{ref.name}"'


def _subject_key(subject: Subject, namespace: str) -> tuple[str, str] | None:
    match subject.kind:
        case "User" | "Group":
            return subject.kind, subject.name
        case "ServiceAccount":
            where = subject.namespace or namespace
            return ("User", f"{USERNAME_PREFIX}{where}:{subject.name}") if where else None
        case _:
            return None


def _grants_of(index: Mapping[tuple[str, str], Sequence[_Grant]], user: User, namespace: str) -> Iterator[_Grant]:
    for key in (("User", user.name), *(("Group", group) for group in user.groups)):
        for grant in index.get(key, ()):
            if not grant.namespace or grant.namespace == namespace:
                yield grant


def _rules_of_role(listers: RbacListers, ref: RoleRef, namespace: str) -> list[PolicyRule] | None:
    if ref.kind == "Role":
        role = listers.roles.get(ObjectKey(namespace, ref.name))
        return None if role is None else role.rules
    cluster_role = listers.cluster_roles.get(ObjectKey("", ref.name))
    return None if cluster_role is None else resolve_rules(cluster_role, listers.cluster_roles.list())


def resolve_rules(role: ClusterRole, all_roles: Iterable[ClusterRole]) -> list[PolicyRule]:
    """Return a ClusterRole's rules: its own, or those of the roles it aggregates, however deep."""
    if role.aggregation_rule is None:
        return role.rules
    everything = list(all_roles)
    rules: list[PolicyRule] = []
    seen = {role.metadata.name}
    pending = [role]
    while pending:
        current = pending.pop(0)
        if current.aggregation_rule is None:
            rules += [rule for rule in current.rules if rule not in rules]
            continue
        for other in everything:
            if other.metadata.name not in seen and _aggregates(current.aggregation_rule, other):
                seen.add(other.metadata.name)
                pending.append(other)
    return rules


def _aggregates(rule: AggregationRule, other: ClusterRole) -> bool:
    for selector in rule.cluster_role_selectors:
        try:
            if of_label_selector(selector).matches(other.metadata.labels):
                return True
        except BadSelector:
            continue  # one broken role must not cost everybody else their rights
    return False


def covers(rule: PolicyRule, request: RequestInfo) -> bool:
    """Return whether one rule allows a request."""
    if request.verb not in rule.verbs and "*" not in rule.verbs:
        return False
    if not request.plural:
        return any(_covers_path(pattern, request.path) for pattern in rule.non_resource_urls)
    if request.group not in rule.api_groups and "*" not in rule.api_groups:
        return False
    if not _covers_resource(rule.resources, request.plural, request.subresource):
        return False
    return not rule.resource_names or request.name in rule.resource_names


def _covers_path(pattern: str, path: str) -> bool:
    return pattern == "*" or pattern == path or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _covers_resource(resources: Sequence[str], plural: str, subresource: str) -> bool:
    if "*" in resources:
        return True
    if not subresource:
        return plural in resources
    return f"{plural}/{subresource}" in resources or f"*/{subresource}" in resources


def uncovered(held: Iterable[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """Return the parts of `wanted`, one verb on one resource each, that no rule in `held` covers whole."""
    owned = list(held)
    return [part for rule in wanted for part in _break_down(rule) if not any(_covers_part(own, part) for own in owned)]


def _break_down(rule: PolicyRule) -> Iterator[PolicyRule]:
    for verb in rule.verbs:
        for url in rule.non_resource_urls:
            yield PolicyRule(verbs=[verb], non_resource_urls=[url])
        for group in rule.api_groups:
            for resource in rule.resources:
                for names in [[name] for name in rule.resource_names] or [[]]:
                    yield PolicyRule(verbs=[verb], api_groups=[group], resources=[resource], resource_names=names)


def _covers_part(own: PolicyRule, part: PolicyRule) -> bool:
    if part.verbs[0] not in own.verbs and "*" not in own.verbs:
        return False
    if part.non_resource_urls:
        url = part.non_resource_urls[0]
        return any(_covers_path(pattern, url) for pattern in own.non_resource_urls)
    if part.api_groups[0] not in own.api_groups and "*" not in own.api_groups:
        return False
    plural, _, subresource = part.resources[0].partition("/")
    if part.resources[0] not in own.resources and not (
        (plural != "*" and _covers_resource(own.resources, plural, subresource)) or "*" in own.resources
    ):
        return False
    return not own.resource_names or bool(part.resource_names and part.resource_names[0] in own.resource_names)


def forbidden(user: User, request: RequestInfo, why: str = "") -> Forbidden:
    """Return the error for a request that is not allowed, worded as clients know it; it does not look like HTML."""
    tail = f": {why}" if why else ""
    if not request.plural:
        refused = f"User {quoted(user.name)} cannot {request.verb} path {quoted(request.path)}"
        return Forbidden(f"forbidden: {harmless(refused)}{tail}")
    resource = f"{request.plural}/{request.subresource}" if request.subresource else request.plural
    qualified = f"{request.plural}.{request.group}" if request.group else request.plural
    named = f" {quoted(request.name)}" if request.name else ""
    scope = f"in the namespace {quoted(request.namespace)}" if request.namespace else "at the cluster scope"
    refused = (
        f"User {quoted(user.name)} cannot {request.verb} resource {quoted(resource)} "
        f"in API group {quoted(request.group)} {scope}"
    )
    message = f"{qualified}{named} is forbidden: {harmless(refused)}{tail}"
    return Forbidden(message, group=request.group, kind=request.plural, name=request.name)


def describe(rules: Iterable[PolicyRule]) -> str:
    """Return rules as upstream prints them in refusals: one a line, `{APIGroups:[""], Resources:["pods"], …}`."""

    def listed(values: Sequence[str]) -> str:
        return "[" + " ".join(f'"{value}"' for value in values) + "]"

    lines = []
    for rule in rules:
        fields = [
            ("APIGroups", rule.api_groups),
            ("Resources", rule.resources),
            ("ResourceNames", rule.resource_names),
            ("NonResourceURLs", rule.non_resource_urls),
            ("Verbs", rule.verbs),
        ]
        lines.append("{" + ", ".join(f"{name}:{listed(values)}" for name, values in fields if values) + "}")
    return "\n".join(lines)
