"""The arithmetic of a rolling update: how many pods may be added now, and how many taken away.

Invariants: pods wanted in all never exceed replicas + maxSurge, and pods available never fall below
replicas - maxUnavailable by our doing. Pods that are not available cost nothing to remove, so they go first.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.apps.deployment import Deployment
from api.apps.replicaset import ReplicaSet
from controllers.deployment.revisions import by_age
from controllers.shares import resolve


def replicas_of(owner: Deployment | ReplicaSet) -> int:
    """Return the size wanted; 1 when unset."""
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def is_rolling(deployment: Deployment) -> bool:
    """Return whether the strategy is RollingUpdate."""
    return deployment.spec.strategy.type != "Recreate"


def max_surge(deployment: Deployment) -> int:
    """Return how many pods there may be beyond the size wanted."""
    rolling = deployment.spec.strategy.rolling_update
    if not is_rolling(deployment):
        return 0
    return resolve(rolling.max_surge if rolling else "25%", replicas_of(deployment), round_up=True)


def max_unavailable(deployment: Deployment) -> int:
    """Return how many pods may be missing; 1 when both bounds come out as 0, for else nothing could move."""
    total = replicas_of(deployment)
    if not is_rolling(deployment) or total == 0:
        return 0
    rolling = deployment.spec.strategy.rolling_update
    found = resolve(rolling.max_unavailable if rolling else "25%", total, round_up=False)
    if found == 0 and max_surge(deployment) == 0:
        found = 1
    return min(found, total)


def new_size(deployment: Deployment, everything: Sequence[ReplicaSet], new: ReplicaSet | None) -> int:
    """Return the size the new ReplicaSet may have now; `everything` includes it, and None means it is to be made."""
    wanted = replicas_of(deployment)
    present = replicas_of(new) if new is not None else 0
    if not is_rolling(deployment) or present > wanted:
        return wanted
    room = wanted + max_surge(deployment) - sum(map(replicas_of, everything))
    return min(wanted, present + max(0, room))


def old_sizes(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """Return the sizes the old ReplicaSets may shrink to now, by uid; those that stay are left out."""
    sizes = {rs.metadata.uid: replicas_of(rs) for rs in old}
    if not any(sizes.values()):
        return {}
    total = sum(sizes.values()) + replicas_of(new)
    available_min = replicas_of(deployment) - max_unavailable(deployment)
    new_unavailable = max(0, replicas_of(new) - new.status.available_replicas)
    # What of the new one is not available yet may not be counted on.
    removable = total - available_min - new_unavailable
    if removable <= 0:
        return {}
    removed = 0
    for rs in by_age(old):
        unavailable = max(0, sizes[rs.metadata.uid] - rs.status.available_replicas)
        step = min(unavailable, removable - removed)
        sizes[rs.metadata.uid] -= step
        removed += step
    spare = sum(min(rs.status.available_replicas, replicas_of(rs)) for rs in [*old, new]) - available_min
    for rs in by_age(old):
        step = min(sizes[rs.metadata.uid], max(0, spare), removable - removed)
        sizes[rs.metadata.uid] -= step
        spare -= step
        removed += step
    return {rs.metadata.uid: sizes[rs.metadata.uid] for rs in old if sizes[rs.metadata.uid] != replicas_of(rs)}
