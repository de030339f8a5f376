"""Counts what each namespace uses of its ResourceQuotas, and writes it down.

Admission charges creates to a quota as they happen; what was charged and never came to be, what was deleted, and what
was there before the quota, is found here by counting. A dialogue with the server: a count from a cache that lags could
forget what was let in a moment ago, and let more in than there is room for. For the same reason a quota that was
charged just now is left for a while: what it was charged for may still be on its way to the store. The count is written
only if nothing was charged meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from api import timestamps
from api.apiextensions import customresourcedefinition as crds
from api.core import persistentvolumeclaim, pod, service
from api.core import resourcequota as quotas
from api.core.quota_usage import Evaluator, evaluator_of, is_counted
from api.core.resourcequota import ResourceQuota, ResourceQuotaStatus
from api.discover import STORED
from api.errors import MethodNotAllowed, NotFound
from api.quantity import Amount
from api.resource import ObjectKey, Resource
from client.verbs import key_of
from component.clock import Clock
from controllers.actions import update_status
from controllers.custom_kinds import handles_of
from controllers.metadata import metadata_only
from controllers.runner import Context, Dialogue, Listers, Watch

QUIET_S: Final = 2.0
"""How long a quota must not have been written before what it says is corrected."""
CUSTOM_PERIOD_S: Final = 10.0
"""How often a quota that counts custom kinds is looked at, since nobody tells when those come and go."""

_WHOLE: Final = (pod.RESOURCE, service.RESOURCE, persistentvolumeclaim.RESOURCE)
"""Kinds of which more than their number counts."""
_COUNTED: Final = tuple(
    kind
    for kind in STORED
    if kind.namespaced and {"create", "list", "watch"} <= set(kind.verbs) and kind.plural != "events"
)
_EVALUATORS: Final[Mapping[Resource[Any], Evaluator]] = {kind: evaluator_of(kind) for kind in _COUNTED}


def compute_used(quota: ResourceQuota, objects: Iterable[tuple[Evaluator, Any]], now: float) -> dict[str, str]:
    """Return what `objects` use of a quota, by the names of its limits; of those that nothing here can use, nothing."""
    used: dict[str, Amount] = {}
    for evaluator, obj in objects:
        if is_counted(evaluator, quota, obj, quota.spec.hard):
            for name, amount in evaluator.usage(obj, now).items():
                used[name] = used[name] + amount if name in used else amount
    return {name: str(used.get(name, Amount(0))) for name in sorted(quota.spec.hard)}


def kinds_of(quota: ResourceQuota, custom: Iterable[Resource[Any]]) -> dict[Resource[Any], Evaluator]:
    """Return the kinds whose objects a quota limits."""
    found = dict(_EVALUATORS) | {kind: evaluator_of(kind) for kind in custom}
    return {
        kind: evaluator for kind, evaluator in found.items() if any(evaluator.covers(name) for name in quota.spec.hard)
    }


def controller(clock: Clock) -> Dialogue[ResourceQuota]:
    """Return the controller; it remembers since when it has known each quota as it is."""
    known: dict[ObjectKey, tuple[str, float]] = {}

    def quiet_in_s(key: ObjectKey, quota: ResourceQuota) -> float:
        version, now = quota.metadata.resource_version, clock.monotonic()
        if known.get(key, ("", 0.0))[0] != version:
            known[key] = (version, now)
        return known[key][1] + QUIET_S - now

    async def reconcile(key: ObjectKey, context: Context) -> float | None:
        try:
            quota = await context.client.get(quotas.RESOURCE, key)
        except NotFound:
            known.pop(key, None)
            return None
        left_s = quiet_in_s(key, quota)
        is_counted_once = quota.status.hard == quota.spec.hard and quota.status.used.keys() == quota.spec.hard.keys()
        if is_counted_once and left_s > 0:
            return left_s
        custom = [kind for crd in context.listers[crds.RESOURCE].list() for kind in handles_of(crd)[:1]]
        kinds = kinds_of(quota, (kind for kind in custom if kind.namespaced))
        objects = [(kinds[kind], obj) for kind in kinds for obj in await _list(context, kind, key.namespace)]
        now = context.clock.now()
        covered = [name for name in quota.spec.hard if any(each.covers(name) for each in kinds.values())]
        used = {name: text for name, text in compute_used(quota, objects, now).items() if name in covered}
        patch = update_status(
            quotas.RESOURCE, quota, ResourceQuotaStatus(hard=dict(quota.spec.hard), used=used), checked=True
        )
        if patch is not None:
            await context.client.patch(patch.resource, patch.key, patch.patch, subresource="status")
        return _next_look_s(objects, kinds, now)

    return Dialogue(
        name="resourcequota-controller",
        resource=quotas.RESOURCE,
        reconcile=reconcile,
        watches=(
            Watch(resource=crds.RESOURCE),
            *(
                Watch(resource=kind, keys=_keys_for(_EVALUATORS[kind]), is_metadata_enough=True)
                for kind in _COUNTED
                if kind is not quotas.RESOURCE
            ),
        ),
    )


async def _list(context: Context, kind: Resource[Any], namespace: str) -> list[Any]:
    """Return the objects that are really there, by their metadata where that is all that counts."""
    try:
        return list((await context.client.list(kind if kind in _WHOLE else metadata_only(kind), namespace)).items)
    except (NotFound, MethodNotAllowed):
        return []  # a custom kind that has just gone


def _next_look_s(
    objects: Iterable[tuple[Evaluator, Any]], kinds: Mapping[Resource[Any], Evaluator], now: float
) -> float | None:
    """Return when a count will change by time alone: pods that should be gone stop counting."""
    waits = [CUSTOM_PERIOD_S] if any(kind not in _EVALUATORS for kind in kinds) else []
    for evaluator, obj in objects:
        if evaluator.counts == "count/pods" and obj.metadata.deletion_timestamp:
            left_s = timestamps.parse(obj.metadata.deletion_timestamp) - now
            waits += [left_s + 1.0] if left_s >= 0 else []
    return min(waits, default=None)


def _keys_for(evaluator: Evaluator) -> Any:
    def keys(obj: msgspec.Struct, listers: Listers) -> Iterable[ObjectKey]:
        """Map an object to the quotas that limit its kind."""
        metadata: Any = obj.metadata  # type: ignore[attr-defined]
        for quota in listers[quotas.RESOURCE].list(metadata.namespace):
            if any(evaluator.covers(name) for name in quota.spec.hard):
                yield key_of(quota)

    return keys
