"""What verbs work with, handed to each call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from api.resource import Resource
from apiserver.evaluating import Evaluating
from apiserver.registry.failures import no_such_resource
from apiserver.registry.registries import Registries
from apiserver.registry.storage import Registry
from apiserver.request import AdmissionPlugin, Authorizer, Call, Reservation
from component.clock import Clock


@dataclass(frozen=True, slots=True)
class Context:
    """The server's parts that verbs need."""

    registries: Registries
    admission: AdmissionPlugin
    clock: Clock
    random: Random
    reservations: Mapping[Resource[Any], Reservation] = field(default_factory=dict)
    """By kind, what hands out unique values while its objects are written."""
    evaluating: Evaluating = field(default_factory=Evaluating)
    """Checks objects by rules that may be users', and costly."""
    authorizer: Authorizer | None = None
    """Asked where one request turns out to be another: a PUT that creates. None allows it."""


def resource_of(call: Call) -> Resource[Any]:
    """Return the kind that a call is about; raises NotFound where there is no such kind."""
    if call.resource is None:
        raise no_such_resource()
    return call.resource


def registry_of(context: Context, call: Call) -> Registry:
    """Return the registry of the kind that a call is about."""
    return context.registries.of(resource_of(call))


def namespace_of(call: Call) -> str:
    """Return the namespace of the object that a call is about; empty for kinds without.

    A request for a Namespace carries its name as namespace, too, so that a Role in it can allow reading it.
    """
    return call.info.namespace if resource_of(call).namespaced else ""
