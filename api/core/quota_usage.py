"""What an object uses of a ResourceQuota: the one answer that admission and the quota controller both count by. Pure.

Amounts have names: `pods`, `requests.cpu` (also written `cpu`), `limits.memory`, `requests.storage`,
`gold.storageclass.storage.k8s.io/requests.storage`, `services.nodeports`, `requests.example.com/gpu`, and for any kind,
custom ones too, `count/widgets.example.com`. Scopes narrow a quota to some pods ("Resource Quotas" in Kubernetes'
documentation; cross-namespace affinity: KEP-2249).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from api import timestamps
from api.core.pod_resources import Amounts, pod_limits, pod_requests, with_overhead
from api.core.resourcequota import ResourceQuota, ScopedResourceSelectorRequirement
from api.quantity import NANOS, Amount, parse
from api.resource import Resource

ONE: Final = Amount(NANOS)
_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
_MUST_BE_SAID: Final = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_CLASS_INFIX: Final = ".storageclass.storage.k8s.io/"
_OLD_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
_COUNTED_BY_NAME: Final = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets"})
"""Kinds of the core group with a name for their number from before there was `count/`."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """How the objects of one kind are counted."""

    counts: str
    """`count/pods`: the name under which every object counts one."""
    covers: Callable[[str], bool]
    """Whether objects of this kind use the resource of that name."""
    usage: Callable[[Any, float], Amounts]
    """What an object uses now (seconds since the epoch); an object that is going to change anyway uses nothing."""
    matches: Callable[[ScopedResourceSelectorRequirement, Any], bool]
    """Whether an object is in a scope."""
    grows: bool = False
    """Whether an update can change what an object uses."""


def evaluator_of(resource: Resource[Any]) -> Evaluator:
    """Return how objects of a kind are counted."""
    counts = f"count/{resource.group_resource}"
    if not resource.group:
        if resource.plural == "pods":
            return Evaluator(counts, lambda name: name == counts or _is_pods(name), _pod_usage, _is_in_scope)
        if resource.plural == "services":
            names = frozenset({counts, "services", "services.nodeports", "services.loadbalancers"})
            return Evaluator(counts, names.__contains__, _service_usage, _is_never_in_scope, grows=True)
        if resource.plural == "persistentvolumeclaims":
            return Evaluator(counts, _is_claims, _claim_usage, _is_never_in_scope, grows=True)
    names = frozenset(
        {counts, resource.plural} if resource.plural in _COUNTED_BY_NAME and not resource.group else {counts}
    )
    return Evaluator(counts, names.__contains__, lambda obj, now: dict.fromkeys(names, ONE), _is_never_in_scope)


def scopes_of(quota: ResourceQuota) -> Sequence[ScopedResourceSelectorRequirement]:
    """Return all scopes of a quota, which must all hold."""
    plain = [ScopedResourceSelectorRequirement(scope_name=name, operator="Exists") for name in quota.spec.scopes]
    selector = quota.spec.scope_selector
    return [*plain, *selector.match_expressions] if selector is not None else plain


def is_counted(evaluator: Evaluator, quota: ResourceQuota, obj: Any, hard: Iterable[str]) -> bool:
    """Return whether an object uses some of a quota, whose limits have the names `hard`."""
    if not any(evaluator.covers(name) for name in hard):
        return False
    return all(evaluator.matches(scope, obj) for scope in scopes_of(quota))


def unsaid(obj: Any, names: Iterable[str]) -> str:
    """Return what containers of a pod must say, since a quota limits it, and don't; empty if nothing is missing."""
    wanted = sorted(_MUST_BE_SAID.intersection(names))
    missing: dict[str, list[str]] = {}
    for container in (*obj.spec.containers, *obj.spec.init_containers):
        resources = container.resources
        said = {*resources.requests, *(f"requests.{name}" for name in resources.requests)}
        said |= {f"limits.{name}" for name in resources.limits}
        for name in wanted:
            if name not in said:
                missing.setdefault(name, []).append(container.name)
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def masked(amounts: Mapping[str, Amount], names: Iterable[str]) -> Amounts:
    """Return those amounts that have one of the names."""
    return {name: amounts[name] for name in names if name in amounts}


def _is_pods(name: str) -> bool:
    if name == "pods":
        return True
    bare = name.removeprefix("requests.").removeprefix("limits.")
    if bare in _COMPUTE:
        return True
    bare = name.removeprefix("requests.")
    if bare.startswith("hugepages-"):
        return True
    domain, slash, _ = bare.partition("/")
    # Devices and the like are only ever requested: their limit is the same.
    return name.startswith("requests.") and bool(slash) and _is_extended(domain)


def _is_extended(domain: str) -> bool:
    return not (domain == "kubernetes.io" or domain.endswith((".kubernetes.io", ".storageclass.storage.k8s.io")))


def _pod_usage(pod: Any, now: float) -> Amounts:
    used: Amounts = {"count/pods": ONE}
    if _is_over(pod, now):
        return used
    used["pods"] = ONE
    for name, amount in with_overhead(pod_requests(pod.spec), pod.spec).items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = used[f"requests.{name}"] = amount
        elif "/" in name and _is_extended(name.partition("/")[0]):
            used[f"requests.{name}"] = amount
    limits = pod_limits(pod.spec)
    overhead = {name: parse(text) for name, text in pod.spec.overhead.items()}
    for name, amount in limits.items():
        if name in _COMPUTE:
            # Overhead counts only where there is a limit for it to be on top of.
            used[f"limits.{name}"] = amount + overhead[name] if name in overhead else amount
    return used


def _is_over(pod: Any, now: float) -> bool:
    """Whether a pod has ended, or should have: a node that is lost must not hold back its pods' share for ever."""
    if pod.status.phase in ("Succeeded", "Failed"):
        return True
    metadata = pod.metadata
    return bool(metadata.deletion_timestamp) and now > timestamps.parse(metadata.deletion_timestamp)


def _is_in_scope(scope: ScopedResourceSelectorRequirement, pod: Any) -> bool:
    match scope.scope_name:
        case "Terminating":
            return pod.spec.active_deadline_seconds is not None
        case "NotTerminating":
            return pod.spec.active_deadline_seconds is None
        case "BestEffort":
            return _is_best_effort(pod)
        case "NotBestEffort":
            return not _is_best_effort(pod)
        case "PriorityClass":
            return _is_selected(scope, pod.spec.priority_class_name)
        case "CrossNamespacePodAffinity":
            return _looks_across_namespaces(pod.spec.affinity)
        case _:
            return False


def _is_best_effort(pod: Any) -> bool:
    return not any(
        parse(amounts.get(name, "0")).nanos
        for container in (*pod.spec.containers, *pod.spec.init_containers)
        for amounts in (container.resources.requests, container.resources.limits)
        for name in ("cpu", "memory")
    )


def _is_selected(scope: ScopedResourceSelectorRequirement, value: str) -> bool:
    match scope.operator:
        case "In":
            return bool(value) and value in scope.values
        case "NotIn":
            return value not in scope.values
        case "Exists":
            return bool(value)
        case _:
            return not value


def _looks_across_namespaces(affinity: Any) -> bool:
    if affinity is None:
        return False
    terms: list[Any] = []
    for kind in (affinity.pod_affinity, affinity.pod_anti_affinity):
        if kind is not None:
            terms += kind.required_during_scheduling_ignored_during_execution
            terms += [each.pod_affinity_term for each in kind.preferred_during_scheduling_ignored_during_execution]
    return any(term.namespaces or term.namespace_selector is not None for term in terms)


def _is_never_in_scope(scope: ScopedResourceSelectorRequirement, obj: Any) -> bool:
    return False


def _service_usage(service: Any, now: float) -> Amounts:
    used: Amounts = {"count/services": ONE, "services": ONE}
    spec, ports = service.spec, len(service.spec.ports)
    if spec.type == "LoadBalancer":
        used["services.loadbalancers"] = ONE
        if spec.allocate_load_balancer_node_ports is False:
            ports = sum(bool(port.node_port) for port in spec.ports)
    used["services.nodeports"] = Amount(ports * NANOS if spec.type in ("NodePort", "LoadBalancer") else 0)
    return used


def _is_claims(name: str) -> bool:
    _, infix, rest = name.partition(_CLASS_INFIX)
    bare = rest if infix else name
    return bare in ("persistentvolumeclaims", "requests.storage") or name == "count/persistentvolumeclaims"


def _claim_usage(claim: Any, now: float) -> Amounts:
    used: Amounts = {"count/persistentvolumeclaims": ONE, "persistentvolumeclaims": ONE}
    size = claim.spec.resources.requests.get("storage")
    storage_class = claim.metadata.annotations.get(_OLD_CLASS_ANNOTATION) or claim.spec.storage_class_name
    if storage_class:
        used[f"{storage_class}{_CLASS_INFIX}persistentvolumeclaims"] = ONE
    if size is not None:
        # A volume that could not grow all the way and is asked to be smaller again has been charged what it tried.
        amount = max(parse(size), parse(claim.status.allocated_resources.get("storage", "0")))
        used["requests.storage"] = amount
        if storage_class:
            used[f"{storage_class}{_CLASS_INFIX}requests.storage"] = amount
    return used
