"""FlowSchema: which requests are of one flow, and which priority level they belong to (KEP-1040)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from api import names
from api import validation as v
from api.columns import AGE, NONE
from api.flowcontrol.condition import FlowControlCondition
from api.meta import ObjectMeta
from api.resource import Column, Resource, keep_all_but_status
from api.schema import Int32, Struct, always, field, wire

_DEFAULT_PRECEDENCE: Final = 1000
_PRECEDENCE_MAX: Final = 10_000
_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")


class FlowSchemaCondition(FlowControlCondition):
    """One question about a FlowSchema (`type`), its answer, and since when."""


class FlowSchemaStatus(Struct):
    """Whether the level of a FlowSchema exists.

    Attributes:
        conditions: Dangling: the priority level that it names does not exist.
    """

    conditions: Annotated[
        list[FlowSchemaCondition], wire(1, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class NonResourcePolicyRule(Struct):
    """What is done to paths that are no resources.

    Attributes:
        verbs: HTTP methods in lower case; * is all, and then alone.
        non_resource_urls: Paths such as /healthz, or /metrics/* with all below; * is all, and then alone.
    """

    verbs: Annotated[list[str], wire(1, required=True, list_type="set")] = []
    non_resource_urls: Annotated[list[str], wire(6, required=True, list_type="set")] = field(
        name="nonResourceURLs", default_factory=list
    )


class ResourcePolicyRule(Struct):
    """What is done to resources; a request must match all fields.

    Attributes:
        verbs: Verbs such as get or list; * is all, and then alone.
        api_groups: API groups; empty text is the core group, * is all, and then alone.
        resources: Resources, such as pods or pods/log; * is all, and then alone.
        cluster_scope: Whether requests without a namespace match; false by default.
        namespaces: Namespaces of requests that match; * is all, and then alone. Empty is none.
    """

    verbs: Annotated[list[str], wire(1, required=True, list_type="set")] = []
    api_groups: Annotated[list[str], wire(2, required=True, list_type="set")] = []
    resources: Annotated[list[str], wire(3, required=True, list_type="set")] = []
    cluster_scope: Annotated[bool, wire(4)] = False
    namespaces: Annotated[list[str], wire(5, list_type="set")] = []


class ServiceAccountSubject(Struct):
    """A service account, or all of a namespace.

    Attributes:
        namespace: The account's namespace.
        name: The account's name; * is every one of the namespace.
    """

    namespace: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(2, required=True)] = always("")


class GroupSubject(Struct):
    """All users of a group.

    Attributes:
        name: The group's name; * is every group, and so every user.
    """

    name: Annotated[str, wire(1, required=True)] = always("")


class UserSubject(Struct):
    """One user, by name, or all users.

    Attributes:
        name: The user's name; * is everybody.
    """

    name: Annotated[str, wire(1, required=True)] = always("")


class Subject(Struct):
    """Who makes a request; the field that `kind` names is set.

    Attributes:
        kind: User, Group or ServiceAccount.
        user: For the kind User: which.
        group: For the kind Group: which.
        service_account: For the kind ServiceAccount: which.
    """

    kind: Annotated[str, wire(1, required=True)] = always("")
    user: Annotated[UserSubject | None, wire(2)] = None
    group: Annotated[GroupSubject | None, wire(3)] = None
    service_account: Annotated[ServiceAccountSubject | None, wire(4)] = None


class PolicyRulesWithSubjects(Struct):
    """Requests that one of the subjects makes and that match one of the rules.

    Attributes:
        subjects: Who; at least one.
        resource_rules: What is done to resources.
        non_resource_rules: What is done to other paths; at least one rule of either sort is needed.
    """

    subjects: Annotated[list[Subject], wire(1, required=True, list_type="atomic")] = []
    resource_rules: Annotated[list[ResourcePolicyRule], wire(2, list_type="atomic")] = []
    non_resource_rules: Annotated[list[NonResourcePolicyRule], wire(3, list_type="atomic")] = []


class FlowDistinguisherMethod(Struct):
    """What makes requests of one schema separate flows, each with fair turns.

    Attributes:
        type: ByUser or ByNamespace.
    """

    type: Annotated[str, wire(1, required=True)] = always("")


class PriorityLevelConfigurationReference(Struct):
    """A priority level.

    Attributes:
        name: The PriorityLevelConfiguration's name.
    """

    name: Annotated[str, wire(1, required=True)] = always("")


class FlowSchemaSpec(Struct):
    """Which requests a FlowSchema takes, and to which level.

    Attributes:
        priority_level_configuration: The level they belong to.
        matching_precedence: Which schema takes a request that several match: the lowest number, 1 to 10000; 1000 by
            default.
        distinguisher_method: What makes flows of their own; unset, all requests are one flow.
        rules: Which requests; one rule is enough. Without any, none.
    """

    priority_level_configuration: Annotated[PriorityLevelConfigurationReference, wire(1, required=True)] = field(
        default_factory=PriorityLevelConfigurationReference
    )
    matching_precedence: Annotated[Int32, wire(2)] = 0
    distinguisher_method: Annotated[FlowDistinguisherMethod | None, wire(3)] = None
    rules: Annotated[list[PolicyRulesWithSubjects], wire(4, list_type="atomic")] = []


class FlowSchema(Struct):
    """Which requests belong together, and which priority level they get."""

    api_version: str = always("flowcontrol.apiserver.k8s.io/v1")
    kind: str = always("FlowSchema")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[FlowSchemaSpec, wire(2)] = field(default_factory=FlowSchemaSpec)
    status: Annotated[FlowSchemaStatus, wire(3)] = field(default_factory=FlowSchemaStatus)


def _spec_of_everything(name: str, precedence: int, method: str, *groups: str) -> FlowSchemaSpec:
    """Return the spec of a schema that takes whatever members of some groups ask, to the level of its own name."""
    everywhere = ResourcePolicyRule(
        verbs=["*"], api_groups=["*"], resources=["*"], cluster_scope=True, namespaces=["*"]
    )
    rule = PolicyRulesWithSubjects(
        subjects=[Subject(kind="Group", group=GroupSubject(name=group)) for group in groups],
        resource_rules=[everywhere],
        non_resource_rules=[NonResourcePolicyRule(verbs=["*"], non_resource_urls=["*"])],
    )
    return FlowSchemaSpec(
        priority_level_configuration=PriorityLevelConfigurationReference(name=name),
        matching_precedence=precedence,
        distinguisher_method=FlowDistinguisherMethod(type=method) if method else None,
        rules=[rule],
    )


MANDATORY: Final = {
    "exempt": _spec_of_everything("exempt", 1, "", "system:masters"),
    "catch-all": _spec_of_everything("catch-all", 10_000, "ByUser", "system:unauthenticated", "system:authenticated"),
}
"""The schemas that every server has, which stay as they are."""


def default(schema: FlowSchema) -> None:
    """A schema that does not say how soon it is tried is tried in the middle."""
    schema.spec.matching_precedence = schema.spec.matching_precedence or _DEFAULT_PRECEDENCE


def validate(new: FlowSchema, old: FlowSchema | None) -> v.Errors:
    """Check precedence, level and rules; the mandatory schemas stay what they are."""
    spec = new.spec
    precedence = spec.matching_precedence
    if precedence <= 0:
        yield v.invalid("spec.matchingPrecedence", precedence, "must be a positive value")
    if precedence > _PRECEDENCE_MAX:
        yield v.invalid("spec.matchingPrecedence", precedence, f"must not be greater than {_PRECEDENCE_MAX}")
    if precedence == 1 and new.metadata.name != "exempt":
        yield v.invalid(
            "spec.matchingPrecedence", precedence, "only the schema named 'exempt' may have matchingPrecedence 1"
        )
    if spec.distinguisher_method is not None:
        yield from v.check_supported(
            "spec.distinguisherMethod.type", spec.distinguisher_method.type, ("ByNamespace", "ByUser")
        )
    level = spec.priority_level_configuration.name
    yield from v.check_name(
        "spec.priorityLevelConfiguration.name", level, names.check_subdomain, why="must reference a priority level"
    )
    for i, rule in enumerate(spec.rules):
        yield from _check_rule(f"spec.rules[{i}]", rule)
    name = new.metadata.name
    if spec != MANDATORY.get(name, spec):
        yield v.invalid("spec", spec, f"spec of '{name}' must equal the fixed value")


def _check_rule(path: str, rule: PolicyRulesWithSubjects) -> v.Errors:
    if not rule.subjects:
        yield v.required(f"{path}.subjects", "subjects must contain at least one value")
    for i, subject in enumerate(rule.subjects):
        yield from _check_subject(f"{path}.subjects[{i}]", subject)
    if not rule.resource_rules and not rule.non_resource_rules:
        yield v.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for i, resource_rule in enumerate(rule.resource_rules):
        yield from _check_resources(f"{path}.resourceRules[{i}]", resource_rule)
    for i, path_rule in enumerate(rule.non_resource_rules):
        where = f"{path}.nonResourceRules[{i}]"
        yield from _check_verbs(f"{where}.verbs", path_rule.verbs)
        yield from _check_paths(f"{where}.nonResourceURLs", path_rule.non_resource_urls)


def _check_paths(path: str, urls: Sequence[str]) -> v.Errors:
    if not urls:
        yield v.required(path, "nonResourceURLs must contain at least one value")
    if "*" in urls:
        if len(urls) > 1:
            yield v.invalid(path, list(urls), "if '*' is present, must not specify other non-resource URLs")
        return
    for i, url in enumerate(urls):
        why = _what_is_wrong(url)
        if why:
            yield v.invalid(f"{path}[{i}]", url, why)


def _what_is_wrong(url: str) -> str:
    """Return what is wrong with a path that is no resource; empty if nothing is."""
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    return "wildcard can only do suffix matching" if "*" in url.removesuffix("/*") else ""


def _check_resources(path: str, rule: ResourcePolicyRule) -> v.Errors:
    yield from _check_verbs(f"{path}.verbs", rule.verbs)
    for label, values in (("apiGroups", rule.api_groups), ("resources", rule.resources)):
        if not values:
            yield v.required(f"{path}.{label}", f"resource rules must supply at least one {_ONE[label]}")
        elif len(values) > 1 and "*" in values:
            yield v.invalid(f"{path}.{label}", values, f"if '*' is present, must not specify other {_ONE[label]}s")
    if not rule.namespaces and not rule.cluster_scope:
        yield v.required(
            f"{path}.namespaces", "resource rules that are not cluster scoped must supply at least one namespace"
        )
    if "*" in rule.namespaces:
        if len(rule.namespaces) > 1:
            why = "if '*' is present, must not specify other namespaces"
            yield v.invalid(f"{path}.namespaces", rule.namespaces, why)
        return
    for i, namespace in enumerate(rule.namespaces):
        for message in names.check_label(namespace):
            why = f"each member of this list must be '*' or a DNS-1123 label; {message}"
            yield v.invalid(f"{path}.namespaces[{i}]", namespace, why)


_ONE: Final = {"apiGroups": "api group", "resources": "resource"}


def _check_verbs(path: str, verbs: Sequence[str]) -> v.Errors:
    if not verbs:
        yield v.required(path, "verbs must contain at least one value")
    elif "*" in verbs:
        if len(verbs) > 1:
            yield v.invalid(path, list(verbs), "if '*' is present, must not specify other verbs")
    elif not set(verbs) <= set(_VERBS):
        yield v.not_supported(path, ", ".join(verbs), _VERBS)


def _check_subject(path: str, subject: Subject) -> v.Errors:
    wanted = {"Group": subject.group, "ServiceAccount": subject.service_account, "User": subject.user}
    if subject.kind not in wanted:
        yield v.not_supported(f"{path}.kind", subject.kind, wanted)
        return
    for kind, given in wanted.items():
        label = kind[0].lower() + kind[1:]
        if kind == subject.kind and given is None:
            yield v.required(f"{path}.{label}", f"{label} is required when subject kind is '{kind}'")
        if kind != subject.kind and given is not None:
            yield v.forbidden(f"{path}.{label}", f"{label} is forbidden when subject kind is not '{kind}'")
    account = subject.service_account
    named: Any = wanted[subject.kind]
    if named is not None and not named.name:
        yield v.required(f"{path}.{subject.kind[0].lower()}{subject.kind[1:]}.name")
    if account is None or subject.kind != "ServiceAccount":
        return
    if account.name and account.name != "*":
        for message in names.check_subdomain(account.name):
            yield v.invalid(f"{path}.serviceAccount.name", account.name, message)
    why = "must specify namespace for service account"
    yield from v.check_name(f"{path}.serviceAccount.namespace", account.namespace, names.check_label, why=why)


def _method(schema: FlowSchema, now: float) -> str:
    method = schema.spec.distinguisher_method
    return method.type if method is not None else NONE


def _missing_level(schema: FlowSchema, now: float) -> str:
    for condition in schema.status.conditions:
        if condition.type == "Dangling":
            return condition.status
    return "?"


RESOURCE: Final[Resource[FlowSchema]] = Resource(
    type=FlowSchema,
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    kind="FlowSchema",
    plural="flowschemas",
    namespaced=False,
    subresources=("status",),
    check_name=names.check_path_segment,
    default=default,
    validate=validate,
    prepare_for_status_update=keep_all_but_status,
    generation=True,
    columns=(
        Column("PriorityLevel", "string", lambda one, now: one.spec.priority_level_configuration.name, "Its level."),
        Column("MatchingPrecedence", "string", lambda one, now: one.spec.matching_precedence, "Less is tried sooner."),
        Column("DistinguisherMethod", "string", _method, "What makes a flow of its own."),
        AGE,
        Column("MissingPL", "string", _missing_level, "Whether its level does not exist."),
    ),
)
