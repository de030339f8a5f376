"""Admission that users configure at run time: their webhooks and policies, as plugins of the chain."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from api.admissionregistration import (
    mutatingwebhookconfiguration,
    validatingadmissionpolicy,
    validatingadmissionpolicybinding,
    validatingwebhookconfiguration,
)
from api.core import namespace
from api.resource import Resource
from apiserver.admission.matching import Matcher
from apiserver.admission.metrics import AdmissionMetrics
from apiserver.admission.policies import registered as policies_in_force
from apiserver.admission.policies.param_rights import ParamRights
from apiserver.admission.policies.params import Params
from apiserver.admission.policies.plugin import ValidatingPolicies
from apiserver.admission.versions import Versions
from apiserver.admission.webhooks import registered as webhooks_in_force
from apiserver.admission.webhooks.call import Caller
from apiserver.admission.webhooks.mutating import MutatingWebhooks
from apiserver.admission.webhooks.validating import ValidatingWebhooks
from apiserver.evaluating import Evaluating
from apiserver.registry.registries import Registries
from apiserver.request import Authorizer
from apiserver.webhooks.client import WebhookClient, WebhookClients
from component.clock import Clock


@dataclass(frozen=True, slots=True)
class Dynamic:
    """The plugins, in their order in the chain."""

    param_rights: ParamRights
    mutating_webhooks: MutatingWebhooks
    policies: ValidatingPolicies
    validating_webhooks: ValidatingWebhooks


def build(
    registries: Registries,
    clients: WebhookClients,
    authorizer: Authorizer,
    random: Random,
    clock: Clock,
    metrics: AdmissionMetrics,
    evaluating: Evaluating,
) -> Dynamic:
    """Return the plugins of a server.

    Args:
        registries: where configurations, namespaces and parameters are.
        clients: ask webhooks.
        authorizer: what expressions may ask.
        random: makes the ids of questions.
        clock: says how long webhooks take.
        metrics: count what happens.
        evaluating: evaluates expressions.
    """
    versions = Versions(registries)
    matcher = Matcher(versions, registries.lister(namespace.RESOURCE), registries.read)

    def caller(client: WebhookClient) -> Caller:
        return Caller(client, matcher, versions, authorizer, random, clock, metrics, evaluating)

    def webhooks(kind: Resource[Any]) -> webhooks_in_force.Registered:
        return webhooks_in_force.Registered(registries.lister(kind), lambda: registries.changed_at(kind))

    kinds = validatingadmissionpolicy.RESOURCE, validatingadmissionpolicybinding.RESOURCE
    policies = policies_in_force.Registered(
        registries.lister(kinds[0]), registries.lister(kinds[1]), lambda: registries.changed_at(*kinds)
    )
    return Dynamic(
        ParamRights(authorizer, registries.kinds, registries.read),
        MutatingWebhooks(webhooks(mutatingwebhookconfiguration.RESOURCE), caller(clients.mutating)),
        ValidatingPolicies(policies, matcher, versions, Params(registries), authorizer, metrics, evaluating),
        ValidatingWebhooks(webhooks(validatingwebhookconfiguration.RESOURCE), caller(clients.validating)),
    )
