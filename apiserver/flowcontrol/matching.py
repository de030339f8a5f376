"""Which FlowSchema a request belongs to: the first, by precedence and then by name, of whose rules one matches. Pure.

Schemas are compiled once; a request then costs a few comparisons a rule, and callers remember the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from api.flowcontrol.flowschema import (
    FlowSchema,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    ResourcePolicyRule,
    Subject,
)
from apiserver.request import RequestInfo, User

Matcher = Callable[[User, RequestInfo], bool]
_ANY = "*"
_ACCOUNT = "system:serviceaccount:"


def in_order(schemas: Iterable[FlowSchema]) -> list[FlowSchema]:
    """Return schemas in the order in which they are tried."""
    return sorted(schemas, key=lambda one: (one.spec.matching_precedence, one.metadata.name))


def compile_schema(schema: FlowSchema) -> Matcher:
    """Return what says whether a request belongs to a schema."""
    rules = [_compile(rule) for rule in schema.spec.rules]
    return lambda user, info: any(matches(user, info) for matches in rules)


def distinguisher(schema: FlowSchema, user: User, info: RequestInfo) -> str:
    """Return what sets a request's flow apart from the others of its schema."""
    method = schema.spec.distinguisher_method
    if method is None:
        return ""
    return user.name if method.type == "ByUser" else info.namespace


def _compile(rule: PolicyRulesWithSubjects) -> Matcher:
    is_subject = [_subject(subject) for subject in rule.subjects]
    resource_rules = [_resource_rule(one) for one in rule.resource_rules]
    path_rules = [_path_rule(one) for one in rule.non_resource_rules]

    def matches(user: User, info: RequestInfo) -> bool:
        if not any(is_one(user) for is_one in is_subject):
            return False
        return any(is_asked(info) for is_asked in (resource_rules if info.plural else path_rules))

    return matches


def _subject(subject: Subject) -> Callable[[User], bool]:
    if subject.kind == "User" and subject.user is not None:
        name = subject.user.name
        return lambda user: name in (_ANY, user.name)
    if subject.kind == "Group" and subject.group is not None:
        group = subject.group.name
        return lambda user: group == _ANY or group in user.groups
    account = subject.service_account
    if subject.kind == "ServiceAccount" and account is not None:
        prefix = f"{_ACCOUNT}{account.namespace}:"
        if account.name == _ANY:
            return lambda user: user.name.startswith(prefix)
        full = prefix + account.name
        return lambda user: user.name == full
    return lambda user: False


def _resource_rule(rule: ResourcePolicyRule) -> Callable[[RequestInfo], bool]:
    is_verb, is_group = _one_of(rule.verbs), _one_of(rule.api_groups)
    is_resource, is_namespace = _one_of(rule.resources), _one_of(rule.namespaces)
    cluster_scope = rule.cluster_scope

    def matches(info: RequestInfo) -> bool:
        if not (is_verb(info.verb) and is_group(info.group)):
            return False
        if not is_resource(f"{info.plural}/{info.subresource}" if info.subresource else info.plural):
            return False
        return is_namespace(info.namespace) if info.namespace else cluster_scope

    return matches


def _path_rule(rule: NonResourcePolicyRule) -> Callable[[RequestInfo], bool]:
    is_verb = _one_of(rule.verbs)
    exact = {url for url in rule.non_resource_urls if not url.endswith(_ANY)}
    prefixes = tuple(url.removesuffix(_ANY) for url in rule.non_resource_urls if url.endswith(_ANY))
    return lambda info: is_verb(info.verb) and (info.path in exact or (info.path.startswith(prefixes or ("\0",))))


def _one_of(values: list[str]) -> Callable[[str], bool]:
    if _ANY in values:
        return lambda value: True
    known = frozenset(values)
    return lambda value: value in known
