"""Who would have to leave a node for a pod of higher priority, and which node that is best asked of. Pure.

On each node where fewer pods could help, all pods of lower priority are taken off in thought; if the pod fits then, as
many as possible are let back, the most important first and those before all that a PodDisruptionBudget protects. What
is left over are the victims. Of all nodes the one is chosen where that does the least harm. The rules are those of
"Pod Priority and Preemption" in Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from api.policy.poddisruptionbudget import PodDisruptionBudget
from api.selectors import of_label_selector
from scheduler.framework import Code, Status, unresolvable
from scheduler.snapshot import NodeView, PodView

_NOT_STARTED = "~"
"""Sorts after every time: what has not started yet loses nothing."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node on which the pod fits once `victims` have left."""

    node_name: str
    victims: tuple[PodView, ...]
    """The most important first; never empty."""
    budgets_violated: int
    """How many of them go against a PodDisruptionBudget."""


def importance(pod: PodView) -> tuple[int, str]:
    """Return a key that sorts more important pods first: by priority, then by how long they run."""
    return -pod.priority, pod.pod.status.start_time or _NOT_STARTED


def select_victims(
    pod: PodView, node: NodeView, budgets: Sequence[PodDisruptionBudget], try_on: Callable[[NodeView], Status]
) -> Candidate | Status:
    """Return who would have to leave `node` for `pod`, or why nobody's leaving would help.

    Args:
        pod: what is to be placed.
        node: as it is.
        budgets: all PodDisruptionBudgets.
        try_on: what the filters say of the pod on a version of the node.
    """
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return unresolvable("No preemption victims found for incoming pod")
    node = node.without_pods({other.uid for other in lower})
    status = try_on(node)
    if status.code is not Code.SUCCESS:
        return status
    lower.sort(key=importance)
    protected = protected_by_budgets(lower, budgets)
    victims: list[PodView] = []
    violated = 0
    for other in sorted(lower, key=lambda each: each.uid not in protected):
        fuller = node.with_pod(other)
        if try_on(fuller).code is Code.SUCCESS:
            node = fuller
            continue
        victims.append(other)
        violated += other.uid in protected
    return Candidate(node.name, tuple(sorted(victims, key=importance)), violated)


def protected_by_budgets(pods: Iterable[PodView], budgets: Sequence[PodDisruptionBudget]) -> set[str]:
    """Return the UIDs of pods whose leaving would break a budget if all of `pods` left in this order.

    A budget that already counts a pod among its disrupted ones is not charged for it again. One without a selector,
    or with an empty one, protects nobody here.
    """
    left = [budget.status.disruptions_allowed for budget in budgets]
    protected = set()
    for pod in pods:
        meta = pod.pod.metadata
        for i, budget in enumerate(budgets):
            chosen = budget.spec.selector
            if budget.metadata.namespace != meta.namespace or not meta.labels or chosen is None:
                continue
            if not (chosen.match_labels or chosen.match_expressions) or meta.name in budget.status.disrupted_pods:
                continue
            if of_label_selector(chosen).matches(meta.labels):
                left[i] -= 1
                if left[i] < 0:
                    protected.add(pod.uid)
    return protected


def select_candidate(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate that harms least.

    In this order: fewest broken budgets; the lowest priority among the highest victims; the lowest sum of priorities;
    the fewest victims; the latest start of a most important victim; the first.
    """
    fewest = min(_harm(each) for each in candidates)
    equal = [each for each in candidates if _harm(each) == fewest]
    return max(equal, key=_start_of_most_important)


def _harm(candidate: Candidate) -> tuple[int, int, int, int]:
    victims = candidate.victims
    # Raised above zero, so that of negative priorities not the larger number of victims sums up lower.
    total = sum(victim.priority + (1 << 31) for victim in victims)
    return candidate.budgets_violated, victims[0].priority, total, len(victims)


def _start_of_most_important(candidate: Candidate) -> str:
    highest = candidate.victims[0].priority
    return min(
        victim.pod.status.start_time or _NOT_STARTED for victim in candidate.victims if victim.priority == highest
    )
