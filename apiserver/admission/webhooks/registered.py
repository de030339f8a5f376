"""Whom to ask: the webhooks of all configurations, made ready, and made anew only when a configuration changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from api.admissionregistration.webhooks import REVIEW_VERSIONS, WebhookClientConfig
from api.lister import Lister
from apiserver.admission.conditions import Conditions
from apiserver.admission.matching import Criteria, of_webhook


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook, ready to be asked."""

    uid: str
    """Tells it from others, also from those of the same name."""
    configuration: str
    name: str
    config: WebhookClientConfig
    criteria: Criteria
    conditions: Conditions
    review_version: str
    """Of the forms that it takes, the first that is spoken here; empty if none is."""
    ignores_failure: bool
    timeout_s: float
    has_side_effects: bool
    """Whether it must not be asked about dry runs."""
    is_asked_again: bool
    """Whether it wants to see what others changed after it was asked."""


class Registered:
    """The webhooks of one kind of configuration.

    Args:
        configurations: the cache.
        changed_at: something that stays the same as long as the cache does.
    """

    def __init__(self, configurations: Lister[Any], changed_at: Callable[[], Hashable]) -> None:
        self._configurations = configurations
        self._changed_at = changed_at
        self._made_at: Hashable = None
        self._webhooks: tuple[Webhook, ...] = ()

    def webhooks(self) -> Sequence[Webhook]:
        """Return all webhooks, by their configurations' names and then as they stand there."""
        changed_at = self._changed_at()
        if changed_at != self._made_at:
            ordered = sorted(self._configurations.list(), key=lambda one: one.metadata.name)
            self._webhooks = tuple(webhook for configuration in ordered for webhook in _of(configuration))
            self._made_at = changed_at
        return self._webhooks


def _of(configuration: Any) -> list[Webhook]:
    name = configuration.metadata.name
    seen: dict[str, int] = {}
    made = []
    for webhook in configuration.webhooks:
        count = seen[webhook.name] = seen.get(webhook.name, -1) + 1
        ignores_failure = webhook.failure_policy == "Ignore"
        made.append(
            Webhook(
                uid=f"{name}/{webhook.name}/{count}",
                configuration=name,
                name=webhook.name,
                config=webhook.client_config,
                criteria=of_webhook(webhook),
                conditions=Conditions(webhook.match_conditions, fails_closed=not ignores_failure),
                review_version=next((one for one in webhook.admission_review_versions if one in REVIEW_VERSIONS), ""),
                ignores_failure=ignores_failure,
                timeout_s=float(webhook.timeout_seconds or 10),
                has_side_effects=webhook.side_effects not in ("None", "NoneOnDryRun"),
                is_asked_again=getattr(webhook, "reinvocation_policy", None) == "IfNeeded",
            )
        )
    return made
