"""Gives every namespace its `default` ServiceAccount, under which pods run that name none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.core import namespace as namespaces
from api.core import serviceaccount as serviceaccounts
from api.core.namespace import Namespace
from api.core.serviceaccount import ServiceAccount
from api.meta import ObjectMeta
from api.resource import ObjectKey
from controllers.actions import NOTHING, Create, Plan
from controllers.runner import Controller, Listers, Watch

NAME = "default"


@dataclass(frozen=True, slots=True)
class Observed:
    """A namespace, and whether it has its account."""

    namespace: Namespace
    has_account: bool


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the namespace and look for its account."""
    namespace = listers[namespaces.RESOURCE].get(key)
    if namespace is None:
        return None
    return Observed(namespace, listers[serviceaccounts.RESOURCE].get(ObjectKey(key.name, NAME)) is not None)


def reconcile(observed: Observed, now: float) -> Plan:
    """Create the account unless it is there or the namespace is going."""
    if observed.has_account or observed.namespace.metadata.deletion_timestamp:
        return NOTHING
    account = ServiceAccount(metadata=ObjectMeta(namespace=observed.namespace.metadata.name, name=NAME))
    return Plan((Create(serviceaccounts.RESOURCE, account),))


def keys_of_account(account: ServiceAccount, listers: Listers) -> Iterable[ObjectKey]:
    """Map a default account to its namespace."""
    if account.metadata.name == NAME:
        yield ObjectKey("", account.metadata.namespace)


CONTROLLER: Controller[Namespace, Observed] = Controller(
    name="serviceaccount-controller",
    resource=namespaces.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(Watch(resource=serviceaccounts.RESOURCE, keys=keys_of_account),),
    workers=2,
)
