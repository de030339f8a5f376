"""What the audit log tells of a request: the first rule of the policy that matches decides; pure.

The policy is a file of kind Policy (Kubernetes documentation, "Auditing"). Without a rule that matches nothing is told.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import yaml

from apiserver.request import RequestInfo, User


class Level(enum.IntEnum):
    """How much is told; each adds to the one before."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


class Stage(enum.StrEnum):
    """When something is told."""

    REQUEST_RECEIVED = "RequestReceived"
    RESPONSE_STARTED = "ResponseStarted"
    RESPONSE_COMPLETE = "ResponseComplete"
    PANIC = "Panic"


LEVELS: Final = {
    "None": Level.NONE,
    "Metadata": Level.METADATA,
    "Request": Level.REQUEST,
    "RequestResponse": Level.REQUEST_RESPONSE,
}
NAMES: Final = {level: name for name, level in LEVELS.items()}
_LevelName = Literal["None", "Metadata", "Request", "RequestResponse"]
_StageName = Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]


class BadPolicy(Exception):
    """The policy's file cannot be used; the message says why."""


class GroupResources(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Resources of one API group; empty lists mean all."""

    group: str = ""
    resources: list[str] = []
    """`pods`, `pods/log`, `pods/*`, `*/log`, or `*` for resources and subresources alike."""
    resource_names: list[str] = []


class Rule(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Requests, and what is told of them."""

    level: _LevelName
    users: list[str] = []
    user_groups: list[str] = []
    verbs: list[str] = []
    resources: list[GroupResources] = []
    namespaces: list[str] = []
    """The empty string stands for what is in no namespace."""
    non_resource_urls: list[str] = msgspec.field(name="nonResourceURLs", default_factory=list)
    omit_stages: list[_StageName] = []
    omit_managed_fields: bool | None = None


class Policy(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The rules, in the order in which they are tried."""

    api_version: Literal["audit.k8s.io/v1"] = msgspec.field(name="apiVersion")
    kind: Literal["Policy"]
    rules: list[Rule]
    metadata: dict[str, Any] = {}
    omit_stages: list[_StageName] = []
    omit_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is told of one request."""

    level: Level
    omitted: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


NOTHING: Final = Verdict(Level.NONE)


def parse(text: bytes) -> Policy:
    """Return the policy in a file.

    Raises:
        BadPolicy: it is none.
    """
    try:
        policy = msgspec.convert(yaml.safe_load(text), Policy)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadPolicy(" ".join(str(error).split())) from None
    if not policy.rules:
        raise BadPolicy("it has no rules: a policy needs at least one")
    for number, rule in enumerate(policy.rules):
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            raise BadPolicy(f"rules[{number}].nonResourceURLs: cannot be combined with resources or namespaces")
        for url in rule.non_resource_urls:
            if url != "*" and not url.startswith("/"):
                raise BadPolicy(f"rules[{number}].nonResourceURLs: {url!r} must begin with a slash, or be *")
            if "*" in url[:-1]:
                raise BadPolicy(f"rules[{number}].nonResourceURLs: {url!r} may have * only at its end")
    return policy


def compile_policy(policy: Policy) -> Callable[[User, RequestInfo], Verdict]:
    """Return what decides, by a policy, what is told of a request."""
    rules: list[tuple[Rule, Verdict]] = []
    for rule in policy.rules:
        omit_managed = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
        omitted: frozenset[str] = frozenset([*policy.omit_stages, *rule.omit_stages])
        rules.append((rule, Verdict(LEVELS[rule.level], omitted, omit_managed)))

    def decide(user: User, info: RequestInfo) -> Verdict:
        return next((verdict for rule, verdict in rules if _matches(rule, user, info)), NOTHING)

    return decide


def _matches(rule: Rule, user: User, info: RequestInfo) -> bool:
    if rule.users and user.name not in rule.users:
        return False
    if rule.user_groups and not set(rule.user_groups).intersection(user.groups):
        return False
    if rule.verbs and info.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return bool(info.plural) and _matches_resource(rule, info)
    if rule.non_resource_urls:
        return not info.plural and _matches_path(rule.non_resource_urls, info.path)
    return True


def _matches_path(urls: Sequence[str], path: str) -> bool:
    return any(url in ("*", path) or (url.endswith("*") and path.startswith(url[:-1])) for url in urls)


def _matches_resource(rule: Rule, info: RequestInfo) -> bool:
    if rule.namespaces and info.namespace not in rule.namespaces:
        return False
    if not rule.resources:
        return True
    full = f"{info.plural}/{info.subresource}" if info.subresource else info.plural
    forms = {full, "*"}
    if info.subresource:
        forms |= {f"{info.plural}/*", f"*/{info.subresource}"}
    for wanted in rule.resources:
        if wanted.group != info.group:
            continue
        if not wanted.resources:
            return True
        if forms.intersection(wanted.resources) and (not wanted.resource_names or info.name in wanted.resource_names):
            return True
    return False
