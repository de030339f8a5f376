"""Cleans away tokens in Secrets that were made for accounts by the cluster, as older ones did, and that nobody uses.

One that was not used for a year, and that no pod mounts, is first marked invalid: the API server believes it no more,
and whoever tries is told what to do. A year later it is deleted, unless somebody tried meanwhile. Secrets that people
made themselves stay. Upstream: legacy-service-account-token-cleaner (KEP-2799).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from api import timestamps
from api.core import configmap as configmaps
from api.core import pod as pods
from api.core import secret as secrets
from api.core import serviceaccount as accounts
from api.core.legacy_tokens import INVALID_SINCE, LAST_USED, NAME, SINCE, TRACKING, TYPE, is_made_for
from api.core.pod_references import references
from api.core.secret import Secret
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import Delete, Patch, Plan
from controllers.runner import Controller, Listers, Watch, no_keys

UNUSED_S: Final = 365 * 86_400.0
LOOK_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Observed:
    """A token that the cluster made, and what tells whether anybody uses it."""

    secret: Secret
    since: str
    """The day since which uses are noted; empty if nothing tells."""
    is_mounted: bool


def is_token(secret: Secret) -> bool:
    """Whether a Secret holds an account's token."""
    return secret.type == TYPE


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the Secret, its account, the pods beside it, and since when uses are noted."""
    found: Secret | None = listers[secrets.RESOURCE].get(key)
    if found is None or not is_token(found):
        return None
    account = listers[accounts.RESOURCE].get(ObjectKey(key.namespace, found.metadata.annotations.get(NAME, "")))
    if account is None or not is_made_for(found, account):
        return None
    tracking = listers[configmaps.RESOURCE].get(TRACKING)
    is_mounted = any(("secrets", key.name) in references(pod) for pod in listers[pods.RESOURCE].list(key.namespace))
    return Observed(found, tracking.data.get(SINCE, "") if tracking is not None else "", is_mounted)


def reconcile(observed: Observed, now: float, unused_s: float = UNUSED_S) -> Plan:
    """Mark the token, or delete it, when its time has come; look again tomorrow."""
    metadata, later = observed.secret.metadata, Plan(requeue_after_s=LOOK_S)
    limit = now - unused_s
    if metadata.deletion_timestamp or observed.is_mounted:
        return later
    if timestamps.parse(metadata.creation_timestamp) >= limit or not _is_unused(observed, limit):
        return later
    invalid_since = metadata.labels.get(INVALID_SINCE, "")
    if not timestamps.is_day(invalid_since):
        told = {"uid": metadata.uid, "resourceVersion": metadata.resource_version}
        patch = {"metadata": {**told, "labels": {INVALID_SINCE: timestamps.day_of(now)}}}
        return Plan((Patch(secrets.RESOURCE, key_of(observed.secret), patch),), requeue_after_s=LOOK_S)
    if invalid_since >= timestamps.day_of(limit):
        return later
    version = metadata.resource_version
    return Plan((Delete(secrets.RESOURCE, key_of(observed.secret), metadata.uid, resource_version=version),))


def _is_unused(observed: Observed, limit: float) -> bool:
    """Return whether a token was not used since `limit`; one that says nothing was not, if uses are noted so long."""
    said = observed.secret.metadata.labels.get(LAST_USED)
    if said is not None:
        return timestamps.is_day(said) and said < timestamps.day_of(limit)
    # Noting may have begun late on the day that is told.
    return timestamps.is_day(observed.since) and timestamps.parse(f"{observed.since}T00:00:00Z") + LOOK_S < limit


def controller(unused_s: float = UNUSED_S) -> Controller[Secret, Observed]:
    """Return the controller; `unused_s` is how long a token may lie idle."""
    return Controller(
        name="legacy-service-account-token-cleaner",
        resource=secrets.RESOURCE,
        observe=observe,
        reconcile=lambda observed, now: reconcile(observed, now, unused_s),
        keys=lambda secret, listers: (key_of(secret),) if is_token(secret) else (),
        watches=(
            Watch(resource=accounts.RESOURCE, keys=no_keys),
            Watch(resource=configmaps.RESOURCE, keys=no_keys),
            Watch(resource=pods.RESOURCE, keys=no_keys),
        ),
        workers=1,
    )
