"""ResourceQuota: how much a namespace may use in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from api import validation as v
from api.columns import AGE
from api.core.resource_names import check_amount, check_quota_resource_name
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Quantity, Struct, always, field, wire

_SCOPES: Final = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
)


class ResourceQuotaStatus(Struct):
    """The amounts in force, and what is used of them.

    Attributes:
        hard: The amounts in force, by resource.
        used: What the namespace uses of them now.
    """

    hard: Annotated[dict[str, Quantity], wire(1)] = {}
    used: Annotated[dict[str, Quantity], wire(2)] = {}


class ScopedResourceSelectorRequirement(Struct):
    """A scope, and the values it must have, or must not.

    Attributes:
        scope_name: The scope: Terminating, NotTerminating, BestEffort, NotBestEffort, PriorityClass or
            CrossNamespacePodAffinity.
        operator: In, NotIn, Exists or DoesNotExist; scopes but PriorityClass know only Exists.
        values: What In and NotIn compare with, such as names of PriorityClasses; empty for the others.
    """

    scope_name: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class ScopeSelector(Struct):
    """Which pods are counted.

    Attributes:
        match_expressions: What must hold of a pod's scopes; all of these.
    """

    match_expressions: Annotated[list[ScopedResourceSelectorRequirement], wire(1, list_type="atomic")] = []


class ResourceQuotaSpec(Struct):
    """The amounts, and what is counted.

    Attributes:
        hard: The most that the namespace may have or ask for, by resource: such as requests.cpu, limits.memory, pods,
            services or count/deployments.apps.
        scopes: Which objects count: those that are in all of these scopes. By default all.
        scope_selector: The same, with values; both must hold.
    """

    hard: Annotated[dict[str, Quantity], wire(1)] = {}
    scopes: Annotated[list[str], wire(2, list_type="atomic")] = []
    scope_selector: Annotated[ScopeSelector | None, wire(3)] = None


class ResourceQuota(Struct):
    """How much a namespace may use in all: a request beyond it is refused."""

    api_version: str = always("v1")
    kind: str = always("ResourceQuota")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ResourceQuotaSpec, wire(2)] = field(default_factory=ResourceQuotaSpec)
    status: Annotated[ResourceQuotaStatus, wire(3)] = field(default_factory=ResourceQuotaStatus)


def validate(new: ResourceQuota, old: ResourceQuota | None) -> v.Errors:
    """Check amounts and scopes; what is counted, once chosen, stays."""
    yield from _check_amounts("spec.hard", new.spec.hard)
    for scope in new.spec.scopes:
        if scope not in _SCOPES:
            yield v.invalid("spec.scopes", new.spec.scopes, "unsupported scope")
        for _ in _out_of_scope(scope, new.spec.hard):
            yield v.invalid("spec.scopes", new.spec.scopes, _NOT_FOR_RESOURCE)
    for pair in _OPPOSITES:
        if pair <= set(new.spec.scopes):
            yield v.invalid("spec.scopes", new.spec.scopes, "conflicting scopes")
    selector = new.spec.scope_selector
    if selector is not None:
        where = "spec.scopeSelector.matchExpressions"
        for requirement in selector.match_expressions:
            if requirement.scope_name not in _SCOPES:
                yield v.invalid(f"{where}.scopeName", requirement.scope_name, "unsupported scope")
            for _ in _out_of_scope(requirement.scope_name, new.spec.hard):
                yield v.invalid(where, selector, _NOT_FOR_RESOURCE)
            yield from _check_requirement(where, requirement)
        for pair in _OPPOSITES:
            if pair <= {requirement.scope_name for requirement in selector.match_expressions}:
                yield v.invalid(where, new.spec.scopes, "conflicting scopes")
    if old is not None and set(new.spec.scopes) != set(old.spec.scopes):
        yield v.invalid("spec.scopes", new.spec.scopes, "field is immutable")


_NOT_FOR_RESOURCE: Final = "unsupported scope applied to resource"
_OPPOSITES: Final = (frozenset({"BestEffort", "NotBestEffort"}), frozenset({"Terminating", "NotTerminating"}))
_COMPUTE: Final = frozenset({"pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_STORAGE: Final = frozenset({"ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage"})
_OTHERS: Final = frozenset(
    {
        "configmaps", "persistentvolumeclaims", "replicationcontrollers", "requests.storage", "resourcequotas",
        "secrets", "services", "services.loadbalancers", "services.nodeports",
    }
)  # fmt: skip


def _out_of_scope(scope: str, hard: Mapping[str, str]) -> list[str]:
    """Return the amounts that no pod of a scope uses any of; names that are not Kubernetes' own may be."""
    if scope not in _SCOPES:
        return []
    within = frozenset({"pods"}) if scope == "BestEffort" else _COMPUTE
    return [name for name in sorted(hard) if name in (_COMPUTE | _STORAGE | _OTHERS) - within]


def _check_amounts(path: str, amounts: Mapping[str, str]) -> v.Errors:
    for name, amount in amounts.items():
        yield from check_quota_resource_name(f"{path}[{name}]", name)
        yield from check_amount(f"{path}[{name}]", name, amount)


def _check_requirement(path: str, requirement: ScopedResourceSelectorRequirement) -> v.Errors:
    is_plain = requirement.scope_name in _SCOPES and requirement.scope_name != "PriorityClass"
    if is_plain and requirement.operator != "Exists":
        yield v.invalid(
            f"{path}.operator",
            requirement.operator,
            "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
            "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
            "ResourceQuotaScopeCrossNamespacePodAffinity",
        )
    match requirement.operator:
        case "In" | "NotIn":
            if not requirement.values:
                yield v.required(
                    f"{path}.values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                )
        case "Exists" | "DoesNotExist":
            if requirement.values:
                yield v.invalid(
                    f"{path}.values",
                    requirement.values,
                    "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector",
                )
        case other:
            yield v.invalid(f"{path}.operator", other, "not a valid selector operator")


def validate_status(new: ResourceQuota, old: ResourceQuota) -> v.Errors:
    """Check the amounts observed."""
    yield from _check_amounts("status.hard", new.status.hard)
    yield from _check_amounts("status.used", new.status.used)


def _uses(quota: ResourceQuota, *, limits: bool) -> str:
    status = quota.status
    return ", ".join(
        f"{name}: {status.used.get(name, '0')}/{amount}"
        for name, amount in sorted(status.hard.items())
        if name.startswith("limits.") is limits
    )


RESOURCE: Final[Resource[ResourceQuota]] = Resource(
    type=ResourceQuota,
    group="",
    version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    namespaced=True,
    short_names=("quota",),
    subresources=("status",),
    validate=validate,
    validate_status=validate_status,
    columns=(
        Column("Request", "string", lambda quota, now: _uses(quota, limits=False), "What is used, of how much."),
        Column("Limit", "string", lambda quota, now: _uses(quota, limits=True), "What may be used, of how much."),
        AGE,
    ),
)
