"""ValidatingWebhookConfiguration: whom to ask about a write before it is stored; they may say no."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.admissionregistration.webhooks import (
    MatchCondition,
    RuleWithOperations,
    WebhookClientConfig,
    check_webhooks,
    default_webhook,
)
from api.columns import AGE
from api.meta import LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, wire


class ValidatingWebhook(Struct):
    """One webhook, and what it is asked about."""

    name: Annotated[str, wire(1, required=True)] = always("")
    client_config: Annotated[WebhookClientConfig, wire(2, required=True)] = field(default_factory=WebhookClientConfig)
    rules: Annotated[list[RuleWithOperations], wire(3, list_type="atomic")] = []
    failure_policy: Annotated[str | None, wire(4)] = None
    match_policy: Annotated[str | None, wire(9)] = None
    namespace_selector: Annotated[LabelSelector | None, wire(5)] = None
    object_selector: Annotated[LabelSelector | None, wire(10)] = None
    side_effects: Annotated[str | None, wire(6, required=True)] = None
    timeout_seconds: Annotated[Int32 | None, wire(7)] = None
    admission_review_versions: Annotated[list[str], wire(8, required=True, list_type="atomic")] = []
    match_conditions: Annotated[
        list[MatchCondition], wire(11, merge_key="name", list_type="map", list_keys=("name",))
    ] = []


class ValidatingWebhookConfiguration(Struct):
    """Whom to ask about a write before it is stored; they may say no."""

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
    yield from check_webhooks(new.webhooks)


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
