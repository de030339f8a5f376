"""What every cluster has before anybody asks for it: namespaces, priority classes, default roles and bindings.

Run at every start, by every apiserver, at once if need be: it makes what is missing, adds what was taken away from
the default roles, and changes nothing else. It writes through the registries, past authentication and admission, for
nobody could be authorized before it ran.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from api.core import namespace
from api.core.namespace import Namespace
from api.errors import AlreadyExists, NotFound
from api.meta import ObjectMeta
from api.rbac import clusterrole, clusterrolebinding, role, rolebinding
from api.rbac.clusterrole import ClusterRole
from api.rbac.rules import PolicyRule
from api.resource import Resource
from api.scheduling import priorityclass
from api.scheduling.priorityclass import SYSTEM, PriorityClass
from apiserver.auth import policy
from apiserver.auth.rbac import resolve_rules, uncovered
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.registry.registries import Registries

log = logging.getLogger(__name__)

NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")


NAMESPACES_STEP: Final = "namespaces"
PRIORITY_CLASSES: Final = "priority classes"
ROLES: Final = "roles"


async def bootstrap(registries: Registries, note: Callable[[str], None] = lambda step: None) -> None:
    """Make what is missing, and `note` each step that is done; safe to run any number of times.

    Raises:
        ServiceUnavailable: the store does not answer; run it again.
    """
    for name in NAMESPACES:
        await create_if_missing(registries, namespace.RESOURCE, Namespace(metadata=ObjectMeta(name=name)))
    note(NAMESPACES_STEP)
    for made in priority_classes():
        await create_if_missing(registries, priorityclass.RESOURCE, made)
    note(PRIORITY_CLASSES)
    cluster_roles = policy.cluster_roles()
    for cluster_role in cluster_roles:
        if cluster_role.aggregation_rule is not None:
            # What people read in `kubectl describe`; decisions resolve the selectors themselves.
            cluster_role.rules = resolve_rules(cluster_role, cluster_roles)
    wanted: list[tuple[Resource[Any], Any]] = [
        *((clusterrole.RESOURCE, one) for one in cluster_roles),
        *((clusterrolebinding.RESOURCE, one) for one in policy.cluster_role_bindings()),
        *((role.RESOURCE, one) for one in policy.roles()),
        *((rolebinding.RESOURCE, one) for one in policy.role_bindings()),
    ]
    await asyncio.gather(*(_reconcile(registries, resource, one) for resource, one in wanted))
    note(ROLES)


def priority_classes() -> list[PriorityClass]:
    """Return the classes of pods that a cluster cannot do without."""
    told = {
        "system-cluster-critical": "For pods that the cluster cannot do without, on whichever node they are.",
        "system-node-critical": "For pods that their node cannot do without.",
    }
    return [
        PriorityClass(metadata=ObjectMeta(name=name), value=value, description=told[name])
        for name, value in SYSTEM.items()
    ]


async def create_if_missing(registries: Registries, resource: Resource[Any], obj: Any) -> bool:
    """Create an object unless its name is taken; return whether it was made."""
    registry = registries.of(resource)
    try:
        await registry.get(obj.metadata.namespace, obj.metadata.name)
    except NotFound:
        resource.default(obj)
        resource.prepare_for_create(obj)
        if resource.generation:
            obj.metadata.generation = 1
        try:
            await registry.create(obj)
        except AlreadyExists:
            return False
        log.info("made", extra={"resource": resource, "object": obj.metadata.name})
        return True
    return False


async def _reconcile(registries: Registries, resource: Resource[Any], wanted: Any) -> None:
    if await create_if_missing(registries, resource, wanted):
        return

    async def decide(current: Stored) -> Write:
        obj = current.codec.decode(current.json)
        return Put(obj) if add_missing(obj, wanted) else Keep()

    await registries.of(resource).write(wanted.metadata.namespace, wanted.metadata.name, decide)


def add_missing(current: Any, wanted: Any) -> bool:
    """Give a stored default role or binding what it lacks of `wanted`; return whether it lacked anything.

    Rules and subjects that an administrator added stay. A roleRef cannot change, so one that differs is left too.
    """
    if current.metadata.annotations.get(policy.AUTOUPDATE) == "false":
        return False
    changed = False
    for ours, theirs in ((wanted.metadata.labels, "labels"), (wanted.metadata.annotations, "annotations")):
        have = getattr(current.metadata, theirs)
        if any(key not in have for key in ours):
            setattr(current.metadata, theirs, {**ours, **have})
            changed = True
    if hasattr(wanted, "rules"):
        missing = _missing_rules(current.rules, wanted.rules)
        current.rules = [*current.rules, *missing]
        changed = changed or bool(missing)
        if isinstance(wanted, ClusterRole) and current.aggregation_rule is None and wanted.aggregation_rule is not None:
            current.aggregation_rule = wanted.aggregation_rule
            changed = True
    elif current.role_ref == wanted.role_ref:
        lacking = policy.missing_subjects(current.subjects, wanted.subjects)
        current.subjects = [*current.subjects, *lacking]
        changed = changed or bool(lacking)
    return changed


def _missing_rules(have: list[PolicyRule], want: list[PolicyRule]) -> list[PolicyRule]:
    return [rule for rule in want if rule not in have and uncovered(have, [rule])]
