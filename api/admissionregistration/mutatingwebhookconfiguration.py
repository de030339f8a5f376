"""MutatingWebhookConfiguration: whom to ask about a write before it is stored; they may change it."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.admissionregistration.webhooks import (
    MatchCondition,
    Webhook,
    check_webhooks,
    default_webhook,
)
from api.columns import AGE
from api.meta import LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class MutatingWebhook(Webhook):
    """A server outside that may change what is written, and which writes it is asked about.

    Attributes:
        reinvocation_policy: Whether it is asked again when others changed the object after it: Never (the default) or
            IfNeeded.
    """

    object_selector: Annotated[LabelSelector | None, wire(11)] = None
    reinvocation_policy: Annotated[str | None, wire(10)] = None
    match_conditions: Annotated[
        list[MatchCondition], wire(12, merge_key="name", list_type="map", list_keys=("name",))
    ] = []


class MutatingWebhookConfiguration(Struct):
    """Whom to ask about a write before it is stored; they may change what is written.

    Attributes:
        webhooks: Whom to ask, one after the other; of several configurations, in the order of their names.
    """

    api_version: str = always("admissionregistration.k8s.io/v1")
    kind: str = always("MutatingWebhookConfiguration")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    webhooks: Annotated[list[MutatingWebhook], wire(2, merge_key="name", list_type="map", list_keys=("name",))] = []


def default(configuration: MutatingWebhookConfiguration) -> None:
    """Default each webhook; none is asked twice."""
    for webhook in configuration.webhooks:
        default_webhook(webhook)
        if webhook.reinvocation_policy is None:
            webhook.reinvocation_policy = "Never"


def validate(new: MutatingWebhookConfiguration, old: MutatingWebhookConfiguration | None) -> v.Errors:
    """Check each webhook."""
    yield from check_webhooks(new.webhooks, old.webhooks if old is not None else None)
    for i, webhook in enumerate(new.webhooks):
        yield from v.check_given(
            f"webhooks[{i}].reinvocationPolicy", webhook.reinvocation_policy, ("IfNeeded", "Never")
        )


RESOURCE: Final[Resource[MutatingWebhookConfiguration]] = Resource(
    type=MutatingWebhookConfiguration,
    group="admissionregistration.k8s.io",
    version="v1",
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    default=default,
    validate=validate,
    generation=True,
    columns=(Column("Webhooks", "integer", lambda one, now: len(one.webhooks), "How many are asked."), AGE),
)
