"""ResourceQuota: what a namespace uses in all stays within what it may use.

Each write that uses more is charged to every quota that covers it before it happens, by a guarded write of the quota's
status: of two creates that race for the last place, one finds the other's charge and is refused. A charge whose write
then fails is given back by the quota controller, which counts anew; so the sum may for a moment be too high, never too
low. Last of all plugins, since only what passes everything else should be charged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api.core import pod
from api.core.quota_usage import Evaluator, evaluator_of, is_counted, masked, scopes_of, unsaid
from api.core.resourcequota import ResourceQuota, ResourceQuotaStatus, ScopedResourceSelectorRequirement
from api.errors import Forbidden, NotFound, UnclassedError
from api.lister import Lister
from api.quantity import Amount, parse
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.request import AdmissionRequest
from component.clock import Clock

Rewrite = Callable[[str, str, Callable[[Stored], Awaitable[Write]]], Awaitable[Any]]
"""Write a quota, by namespace and name, as often as it changes meanwhile; raises NotFound."""


@dataclass(frozen=True, slots=True)
class Limited:
    """What may be used only where a quota says how much."""

    group: str
    plural: str
    contains: tuple[str, ...] = ()
    """Parts of the names of resources, such as `.storageclass.storage.k8s.io/requests.storage`."""
    scopes: tuple[ScopedResourceSelectorRequirement, ...] = ()
    """Objects of these scopes need a quota of the same."""


class ResourceQuotaAdmission:
    """Charges creates, and updates that grow, to the quotas of their namespace."""

    def __init__(
        self, quotas: Lister[ResourceQuota], rewrite: Rewrite, clock: Clock, limited: Sequence[Limited] = ()
    ) -> None:
        self._limited = limited
        self._quotas = quotas
        self._rewrite = rewrite
        self._clock = clock

    async def validate(self, request: AdmissionRequest) -> None:
        """Charge what the write uses.

        Raises:
            Forbidden: a quota has not enough left, wants pods to say what they use, or has not been counted yet.
        """
        if request.subresource or not request.namespace or request.operation not in ("CREATE", "UPDATE"):
            return
        quotas = self._quotas.list(request.namespace)
        if not (quotas or self._limited) or not request.resource.namespaced:
            return
        evaluator = evaluator_of(request.resource)
        if request.operation == "UPDATE" and not evaluator.grows:
            return
        concerned = [quota for quota in quotas if _concerns(request, evaluator, quota)]
        if self._limited:
            self._require_quotas(request, evaluator, quotas, concerned)
        if not concerned:
            return
        usage = self._added(request, evaluator)
        if not usage:
            return
        for quota in concerned:  # all of them first, so that a refusal seldom leaves a charge behind
            charged(request, quota, usage)
        if request.dry_run:
            return
        for quota in concerned:
            await self._charge(request, evaluator, quota.metadata.name, usage)

    def _require_quotas(
        self,
        request: AdmissionRequest,
        evaluator: Evaluator,
        quotas: Sequence[ResourceQuota],
        concerned: Sequence[ResourceQuota],
    ) -> None:
        """Refuse what no quota covers of that which may only be used where one does.

        Raises:
            Forbidden: a resource is not covered.
            UnclassedError: a scope is not, which upstream gives no reason for.
        """
        obj, resource = request.object, request.resource
        mine = [each for each in self._limited if (each.group, each.plural) == (resource.group, resource.plural)]
        used = evaluator.usage(obj, self._clock.now()) if mine else {}
        limited = {name for name in used for each in mine if any(part in name for part in each.contains)}
        uncovered = limited - {name for quota in concerned for name in quota.status.hard if evaluator.covers(name)}
        if uncovered:
            raise refusal(request, f"insufficient quota to consume: {','.join(sorted(uncovered))}")
        covered = {one.scope_name for quota in quotas for one in scopes_of(quota) if evaluator.matches(one, obj)}
        wanted = [one for each in self._limited for one in each.scopes if evaluator.matches(one, obj)]
        missing = [one for one in wanted if one.scope_name not in covered]
        if missing:
            shown = " ".join(f"{{{one.scope_name} {one.operator} [{' '.join(one.values)}]}}" for one in missing)
            raise UnclassedError(f"insufficient quota to match these scopes: [{shown}]")

    def _added(self, request: AdmissionRequest, evaluator: Evaluator) -> dict[str, Amount]:
        """Return what the write uses more than what is there now."""
        now = self._clock.now()
        usage = evaluator.usage(request.object, now)
        if request.old is not None:
            had = evaluator.usage(request.old, now)
            usage = {name: usage.get(name, Amount(0)) - had.get(name, Amount(0)) for name in {**usage, **had}}
        return {name: amount for name, amount in usage.items() if amount.nanos}

    async def _charge(
        self, request: AdmissionRequest, evaluator: Evaluator, name: str, usage: Mapping[str, Amount]
    ) -> None:
        async def decide(current: Stored) -> Write:
            quota: ResourceQuota = current.codec.decode(current.json)
            if not _concerns(request, evaluator, quota):
                return Keep()
            used = charged(request, quota, usage)
            if used == quota.status.used:
                return Keep()
            quota.status = msgspec.structs.replace(quota.status, used=used)
            return Put(quota)

        try:
            await self._rewrite(request.namespace, name, decide)
        except NotFound:
            return  # The quota was deleted meanwhile, and limits nothing any more.


def _concerns(request: AdmissionRequest, evaluator: Evaluator, quota: ResourceQuota) -> bool:
    """Whether a quota covers the object; raises Forbidden where that cannot be charged."""
    hard = quota.status.hard
    if not is_counted(evaluator, quota, request.object, hard):
        return False
    names = [name for name in sorted(hard) if evaluator.covers(name)]
    missing = unsaid(request.object, names) if request.resource is pod.RESOURCE else ""
    if missing:
        raise refusal(request, f"failed quota: {quota.metadata.name}: must specify {missing}")
    if not quota.status.used.keys() >= set(names):
        raise refusal(request, f"status unknown for quota: {quota.metadata.name}, resources: {','.join(names)}")
    return True


def charged(request: AdmissionRequest, quota: ResourceQuota, usage: Mapping[str, Amount]) -> dict[str, str]:
    """Return what is used of a quota with `usage` added.

    Raises:
        Forbidden: that is more than its limits allow.
    """
    status: ResourceQuotaStatus = quota.status
    wanted = masked(usage, sorted(status.hard))
    used = {name: parse(status.used.get(name, "0")) for name in wanted}
    after = {name: max(used[name] + amount, Amount(0)) for name, amount in wanted.items()}
    exceeded = [name for name, amount in after.items() if wanted[name].nanos > 0 and amount > parse(status.hard[name])]
    if exceeded:
        raise _exceeded(request, quota, exceeded, wanted, used)
    return {**status.used, **{name: str(amount) for name, amount in after.items()}}


def _exceeded(
    request: AdmissionRequest,
    quota: ResourceQuota,
    names: list[str],
    requested: Mapping[str, Amount],
    used: Mapping[str, Amount],
) -> Forbidden:
    def listed(amounts: Mapping[str, Any]) -> str:
        return ",".join(f"{name}={amounts[name]}" for name in names)

    return refusal(
        request,
        f"exceeded quota: {quota.metadata.name}, requested: {listed(requested)}, used: {listed(used)}, "
        f"limited: {listed({name: parse(quota.status.hard[name]) for name in names})}",
    )
