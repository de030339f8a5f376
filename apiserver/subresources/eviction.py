"""pods/eviction: takes a pod away, if the budget that covers it allows one more to be missing; `kubectl drain`.

A disruption is taken from the PodDisruptionBudget's status in one guarded write, and the pod is noted there, so that
two evictions never spend the same one; the disruption controller corrects the count once it has seen the pod go. Pods
that serve nobody (finished, not begun, going already) need no budget, and neither do broken ones where the budget says
so. A budget that is spent answers 429, and drain comes again. Rules: Kubernetes' "API-initiated Eviction", KEP-3017.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from api import timestamps
from api.core import pod
from api.core.pod import Pod
from api.core.pod_status import PodCondition
from api.errors import BadRequest, Cause, Forbidden, InternalError, TooManyRequests
from api.meta import DeleteOptions
from api.policy import eviction, poddisruptionbudget
from api.policy.eviction import Eviction
from api.policy.poddisruptionbudget import PodDisruptionBudget
from api.selectors import BadSelector, of_label_selector
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Remove, Write, check_options, decide_delete
from apiserver.request import Answer, Call
from apiserver.verbs import writing
from apiserver.verbs.context import Context
from apiserver.verbs.delete import check_preconditions

_SUCCESS: Final = msgspec.json.encode(
    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
)
_REFUSED: Final = "Cannot evict pod as it would violate the pod's disruption budget."
_DISRUPTED_PODS_MAX: Final = 2000
_NEEDS_NO_BUDGET: Final = ("Pending", "Succeeded", "Failed")


class _HasBegun(Exception):
    """A pod that needed no budget needs one now."""


async def create_eviction(context: Context, call: Call) -> Answer:
    """Evict the pod that the path names.

    Raises:
        NotFound: no such pod. Conflict: a precondition does not hold.
        TooManyRequests: its budget allows none to be missing now.
        InternalError: it has more than one budget, which nobody can spend at once.
    """
    wanted: Eviction = writing.decode_body(call, eviction.RESOURCE)
    writing.place(call, pod.RESOURCE, wanted)
    if wanted.metadata.name != call.info.name:
        raise BadRequest(
            f'name in URL does not match name in Eviction object: "{call.info.name}", "{wanted.metadata.name}"'
        )
    options = wanted.delete_options or DeleteOptions()
    if options.dry_run:
        call.options = {**call.options, "dryRun": options.dry_run[0]}
    writing.check_dry_run(call)
    check_options(options)
    request = writing.admission_request(call, pod.RESOURCE, "CREATE", wanted, None, subresource="eviction")
    await context.admission.admit(request)
    await context.admission.validate(request)
    registry = context.registries.of(pod.RESOURCE)
    found: Pod = (await registry.get(call.info.namespace, call.info.name)).object
    check_preconditions(pod.RESOURCE, found, options)
    needs_budget = not _needs_no_budget(found)
    while True:
        if needs_budget:
            await _spend(context, call, found)
        try:
            await _delete(context, call, options, needs_budget=needs_budget)
        except _HasBegun:
            needs_budget = True
        else:
            return Answer(_SUCCESS, code=201)


async def _delete(context: Context, call: Call, options: DeleteOptions, *, needs_budget: bool) -> None:
    """Say in the pod's status why it goes, and delete it, in one write."""
    now = context.clock.now()

    async def decide(current: Stored) -> Write:
        obj: Pod = current.codec.decode(current.json)
        check_preconditions(pod.RESOURCE, obj, options)
        if not needs_budget and not _needs_no_budget(obj):
            raise _HasBegun
        if not obj.metadata.deletion_timestamp:
            _note(obj, timestamps.render(now))
        decided = decide_delete(pod.RESOURCE, obj, options, now)
        return decided if isinstance(decided, Put | Remove) else Keep()

    registry = context.registries.of(pod.RESOURCE)
    await registry.write(call.info.namespace, call.info.name, decide, dry_run=call.dry_run)


def _note(obj: Pod, now: str) -> None:
    conditions = [condition for condition in obj.status.conditions if condition.type != "DisruptionTarget"]
    conditions.append(
        PodCondition(
            type="DisruptionTarget",
            status="True",
            last_transition_time=now,
            reason="EvictionByEvictionAPI",
            message="Eviction API: evicting",
        )
    )
    obj.status.conditions = conditions


def _needs_no_budget(found: Pod) -> bool:
    return found.status.phase in _NEEDS_NO_BUDGET or bool(found.metadata.deletion_timestamp)


async def _spend(context: Context, call: Call, found: Pod) -> None:
    """Take one disruption from the budget that covers the pod, if one does."""
    resource = poddisruptionbudget.RESOURCE
    await context.registries.of(resource).cache.catch_up()  # a budget made just now counts, too
    budgets = budgets_of(found, context.registries.lister(resource).list(call.info.namespace))
    if not budgets:
        return
    if len(budgets) > 1:
        raise InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    now = timestamps.render(context.clock.now())
    is_ready = any(condition.type == "Ready" and condition.status == "True" for condition in found.status.conditions)

    async def decide(current: Stored) -> Write:
        budget: PodDisruptionBudget = current.codec.decode(current.json)
        if not is_ready and is_free_for_broken(budget):
            return Keep()
        check_budget(budget)
        budget.status.disruptions_allowed -= 1
        budget.status.disrupted_pods = {**budget.status.disrupted_pods, found.metadata.name: now}
        return Put(budget)

    registry = context.registries.of(resource)
    await registry.write(call.info.namespace, budgets[0].metadata.name, decide, dry_run=call.dry_run)


def budgets_of(found: Pod, budgets: Iterable[Any]) -> list[PodDisruptionBudget]:
    """Return the budgets, all of the pod's namespace, that cover it."""
    covering = []
    for budget in budgets:
        try:
            if of_label_selector(budget.spec.selector).matches(found.metadata.labels):
                covering.append(budget)
        except BadSelector:
            continue  # validation refuses these; one that got here must not stop every drain
    return covering


def is_free_for_broken(budget: PodDisruptionBudget) -> bool:
    """Whether a pod that is not ready may go without spending anything (KEP-3017)."""
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    return budget.status.current_healthy >= budget.status.desired_healthy > 0


def check_budget(budget: PodDisruptionBudget) -> None:
    """Refuse to spend what is not there.

    Raises:
        TooManyRequests: none may be missing now, or the budget has not been worked out since it changed.
        Forbidden: its status makes no sense, or lists too many pods that should be gone.
    """
    name, status = budget.metadata.name, budget.status
    if status.observed_generation < budget.metadata.generation:
        why = f"The disruption budget {name} is still being processed by the server."
        raise TooManyRequests(_REFUSED, causes=[Cause("DisruptionBudget", why)], retry_after_s=10)
    resource = poddisruptionbudget.RESOURCE
    if status.disruptions_allowed < 0:
        raise Forbidden("pdb disruptions allowed is negative", group=resource.group, kind=resource.plural, name=name)
    if len(status.disrupted_pods) > _DISRUPTED_PODS_MAX:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise Forbidden(why, group=resource.group, kind=resource.plural, name=name)
    if status.disruptions_allowed == 0:
        why = (
            f"The disruption budget {name} needs {status.desired_healthy} healthy pods and has "
            f"{status.current_healthy} currently"
        )
        raise TooManyRequests(_REFUSED, causes=[Cause("DisruptionBudget", why)])
