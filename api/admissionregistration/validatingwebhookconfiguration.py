"""ValidatingWebhookConfiguration: whom to ask about a write before it is stored; they may say no."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.admissionregistration.webhooks import (
    Webhook,
    check_webhooks,
    default_webhook,
)
from api.columns import AGE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class ValidatingWebhook(Webhook):
    """A server outside that may refuse a write, and which writes it is asked about."""


class ValidatingWebhookConfiguration(Struct):
    """Whom to ask about a write before it is stored; they may refuse it but not change it.

    Attributes:
        webhooks: Whom to ask, all at once.
    """

    api_version: str = always("admissionregistration.k8s.io/v1")
    kind: str = always("ValidatingWebhookConfiguration")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    webhooks: Annotated[list[ValidatingWebhook], wire(2, merge_key="name", list_type="map", list_keys=("name",))] = []


def default(configuration: ValidatingWebhookConfiguration) -> None:
    """Default each webhook."""
    for webhook in configuration.webhooks:
        default_webhook(webhook)


def validate(new: ValidatingWebhookConfiguration, old: ValidatingWebhookConfiguration | None) -> v.Errors:
    """Check each webhook."""
    yield from check_webhooks(new.webhooks, old.webhooks if old is not None else None)


RESOURCE: Final[Resource[ValidatingWebhookConfiguration]] = Resource(
    type=ValidatingWebhookConfiguration,
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    namespaced=False,
    categories=("api-extensions",),
    default=default,
    validate=validate,
    generation=True,
    columns=(Column("Webhooks", "integer", lambda one, now: len(one.webhooks), "How many are asked."), AGE),
)
