"""Fills in the rules of ClusterRoles that aggregate others: the union of what their selectors select.

The API server decides by the selectors themselves; the rules are written down for those who read roles. Rules that
somebody else wrote into such a role are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from api.rbac import clusterrole as clusterroles
from api.rbac.clusterrole import ClusterRole
from api.rbac.rules import PolicyRule
from api.resource import ObjectKey
from api.selectors import of_label_selector
from client.verbs import key_of
from controllers.actions import NOTHING, Patch, Plan
from controllers.runner import Controller, Listers


@dataclass(frozen=True, slots=True)
class Observed:
    """A role that aggregates, and those it selects, by name."""

    role: ClusterRole
    selected: Sequence[ClusterRole]


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the role and what it selects."""
    store = listers[clusterroles.RESOURCE]
    role = store.get(key)
    if role is None or role.aggregation_rule is None:
        return None
    return Observed(role, [other for other in store.list() if _selects(role, other)])


def reconcile(observed: Observed, now: float) -> Plan:
    """Write the union of the rules, each once, in the order of the roles' names."""
    role = observed.role
    rules: list[PolicyRule] = []
    for other in observed.selected:
        rules += [rule for rule in other.rules if rule not in rules]
    if role.metadata.deletion_timestamp or rules == role.rules:
        return NOTHING
    change = {"metadata": {"resourceVersion": role.metadata.resource_version}, "rules": msgspec.to_builtins(rules)}
    return Plan((Patch(clusterroles.RESOURCE, key_of(role), change),))


def _selects(role: ClusterRole, other: ClusterRole) -> bool:
    if role.aggregation_rule is None or other.metadata.name == role.metadata.name:
        return False
    selectors = role.aggregation_rule.cluster_role_selectors
    return any(of_label_selector(selector).matches(other.metadata.labels) for selector in selectors)


def keys_of_role(role: ClusterRole, listers: Listers) -> Iterable[ObjectKey]:
    """Map a role to itself and to those that select it."""
    yield key_of(role)
    for other in listers[clusterroles.RESOURCE].list():
        if _selects(other, role):
            yield key_of(other)


CONTROLLER: Controller[ClusterRole, Observed] = Controller(
    name="clusterrole-aggregation-controller",
    resource=clusterroles.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    keys=keys_of_role,
    workers=2,
)
