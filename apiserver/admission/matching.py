"""Which requests a webhook or a policy is about: rules, and labels of the object and of its namespace.

Matching begins with what is cheapest, and looks at labels only where there is something to look for. With matchPolicy
`Equivalent` a rule about another version of the same objects counts, too; the answer says which version that is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from api.admissionregistration.validatingadmissionpolicy import MatchResources
from api.admissionregistration.webhooks import Webhook
from api.core import namespace
from api.errors import ApiError
from api.lister import Lister
from api.meta import LabelSelector
from api.resource import ObjectKey, Resource
from api.selectors import EVERYTHING, Selector, of_label_selector
from apiserver.admission.versions import Versions
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

_GROUP: Final = "admissionregistration.k8s.io"
_OWN_KINDS: Final = frozenset(
    {
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Operations on resources; `*` stands for any."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """Plurals and subresources, either of which may be `*`."""
    scope: str
    names: frozenset[str] = frozenset()
    """Of objects; empty means any."""

    def matches(self, request: AdmissionRequest, resource: Resource[Any]) -> bool:
        """Whether a request is meant, if it is taken as one about `resource`."""
        return (
            _is_in(request.operation, self.operations)
            and _is_in(resource.group, self.groups)
            and _is_in(resource.version, self.versions)
            and any(
                plural in ("*", resource.plural) and subresource in ("*", request.subresource)
                for plural, subresource in self.resources
            )
            and self._is_in_scope(request, resource)
            and (not self.names or request.name in self.names)
        )

    def _is_in_scope(self, request: AdmissionRequest, resource: Resource[Any]) -> bool:
        match self.scope:
            case "Namespaced":
                return bool(request.namespace) and not is_namespace(resource)
            case "Cluster":
                return not request.namespace or is_namespace(resource)
        return True


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which requests are meant."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    takes_equivalents: bool
    namespaces: Selector
    objects: Selector


def of_webhook(webhook: Webhook) -> Criteria:
    """Return what a webhook wants to be asked about. Pure."""
    return Criteria(
        tuple(_rule(rule) for rule in webhook.rules),
        (),
        webhook.match_policy != "Exact",
        _selector(webhook.namespace_selector),
        _selector(webhook.object_selector),
    )


ANY_REQUEST: Final = Rule(frozenset("*"), frozenset("*"), frozenset("*"), (("*", "*"),), "*")


def of_match(match: MatchResources | None) -> Criteria:
    """Return what a policy or binding is about; without rules, or without a match at all, about everything. Pure."""
    if match is None:
        return Criteria((ANY_REQUEST,), (), True, EVERYTHING, EVERYTHING)
    return Criteria(
        tuple(_rule(rule) for rule in match.resource_rules) or (ANY_REQUEST,),
        tuple(_rule(rule) for rule in match.exclude_resource_rules),
        match.match_policy != "Exact",
        _selector(match.namespace_selector),
        _selector(match.object_selector),
    )


def is_exempt(request: AdmissionRequest) -> bool:
    """Whether nobody is asked: webhooks and policies don't judge those who would have to put them right."""
    return request.resource.group == _GROUP and request.resource.plural in _OWN_KINDS


def is_namespace(resource: Resource[Any]) -> bool:
    """Whether a resource is that of namespaces themselves."""
    return resource is namespace.RESOURCE


def namespace_of(request: AdmissionRequest) -> str:
    """Return the namespace that a request is about; for one about a Namespace, that."""
    return request.name if is_namespace(request.resource) else request.namespace


class Matcher:
    """Judges requests by criteria."""

    def __init__(self, versions: Versions, namespaces: Lister[namespace.Namespace], read: Read) -> None:
        self._versions = versions
        self._namespaces = namespaces
        self._read = read

    async def match(self, criteria: Criteria, request: AdmissionRequest) -> Resource[Any] | None:
        """Return in which version a request is meant, None where it is not.

        Raises:
            NotFound: the namespace has to be looked at and is not there.
        """
        if not criteria.objects.matches_everything and not (
            _has_labels(request.object, criteria.objects) or _has_labels(request.old, criteria.objects)
        ):
            return None
        if criteria.excluded and self._find(criteria.excluded, criteria, request) is not None:
            return None
        found = self._find(criteria.rules, criteria, request)
        if found is None or criteria.namespaces.matches_everything:
            return found
        return found if await self._is_in_namespace(criteria.namespaces, request) else None

    async def find_namespace(self, request: AdmissionRequest) -> Any:
        """Return the Namespace of the object, None for objects without; shared, never to be changed.

        Raises:
            NotFound: it is not there.
        """
        if not request.namespace or is_namespace(request.resource):
            return None
        return await self._namespace(request.namespace)

    async def _namespace(self, name: str) -> Any:
        key = ObjectKey("", name)
        found: Any = self._namespaces.get(key)
        return found if found is not None else await self._read(namespace.RESOURCE, key)

    def _find(self, rules: Iterable[Rule], criteria: Criteria, request: AdmissionRequest) -> Resource[Any] | None:
        for rule in rules:
            if rule.matches(request, request.resource):
                return request.resource
        if criteria.takes_equivalents:
            others = self._versions.equivalents(request.resource)
            for rule in rules if others else ():
                for resource in others:
                    if rule.matches(request, resource):
                        return resource
        return None

    async def _is_in_namespace(self, selector: Selector, request: AdmissionRequest) -> bool:
        name = namespace_of(request)
        if not name:
            return not is_namespace(request.resource) or _has_labels(request.object, selector)
        if is_namespace(request.resource) and not request.subresource and request.operation in ("CREATE", "UPDATE"):
            return _has_labels(request.object, selector)
        return selector.matches((await self._namespace(name)).metadata.labels)


def _is_in(value: str, wanted: frozenset[str]) -> bool:
    return value in wanted or "*" in wanted


def _has_labels(obj: Any, selector: Selector) -> bool:
    metadata = getattr(obj, "metadata", None)
    return metadata is not None and selector.matches(metadata.labels)


def _rule(rule: Any) -> Rule:
    resources = tuple((plural, subresource) for plural, _, subresource in (r.partition("/") for r in rule.resources))
    return Rule(
        frozenset(rule.operations),
        frozenset(rule.api_groups),
        frozenset(rule.api_versions),
        resources,
        rule.scope or "*",
        frozenset(getattr(rule, "resource_names", ())),
    )


def _selector(selector: LabelSelector | None) -> Selector:
    if selector is None:
        return EVERYTHING
    try:
        return of_label_selector(selector)
    except ApiError:
        return Selector(matches_nothing=True)  # Validation refuses these.
