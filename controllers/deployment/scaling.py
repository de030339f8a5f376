"""Spreads a change of a Deployment's size over its ReplicaSets.

Outside a rollout one ReplicaSet takes it all. In the middle of one, each takes a share in proportion to its own size
at the time the Deployment last had its old size, which is why that is written on the ReplicaSets.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.apps.deployment import Deployment
from api.apps.replicaset import ReplicaSet
from controllers.deployment.revisions import DESIRED_REPLICAS, MAX_REPLICAS, by_age
from controllers.deployment.rolling import is_rolling, max_surge, replicas_of


def is_scaling(deployment: Deployment, replica_sets: Sequence[ReplicaSet]) -> bool:
    """Return whether the Deployment's size changed since its running ReplicaSets were last sized."""
    wanted = str(replicas_of(deployment))
    return any(
        replicas_of(rs) > 0 and rs.metadata.annotations.get(DESIRED_REPLICAS, wanted) != wanted for rs in replica_sets
    )


def scaled_sizes(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """Return the size of each ReplicaSet whose size or size annotations must be written, by uid."""
    everything = [*old, new] if new is not None else list(old)
    wanted = replicas_of(deployment)
    running = [rs for rs in everything if replicas_of(rs) > 0]
    if len(running) <= 1:
        only = running[0] if running else new or (by_age(old)[-1] if old else None)
        if only is None or replicas_of(only) == wanted:
            return {}
        return {only.metadata.uid: wanted}
    if new is not None and _is_saturated(deployment, new):
        return {rs.metadata.uid: 0 for rs in old if replicas_of(rs) > 0}
    if not is_rolling(deployment):
        return {}
    allowed = wanted + max_surge(deployment) if wanted > 0 else 0
    change = allowed - sum(map(replicas_of, running))
    # The largest takes what rounding leaves over: growing, the newer of two alike; shrinking, the older.
    ranked = by_age(running)
    if change > 0:
        ranked.reverse()
    ranked.sort(key=replicas_of, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ranked:
        share = _share(deployment, rs, change, added)
        sizes[rs.metadata.uid] = replicas_of(rs) + share
        added += share
    first = ranked[0].metadata.uid
    sizes[first] = max(0, sizes[first] + change - added)
    return sizes


def _is_saturated(deployment: Deployment, rs: ReplicaSet) -> bool:
    wanted = replicas_of(deployment)
    return (
        replicas_of(rs) == wanted
        and rs.status.available_replicas == wanted
        and rs.metadata.annotations.get(DESIRED_REPLICAS) == str(wanted)
    )


def _share(deployment: Deployment, rs: ReplicaSet, change: int, added: int) -> int:
    if change in (0, added):
        return 0
    left = change - added
    fraction = _fraction(deployment, rs)
    return min(fraction, left) if change > 0 else max(fraction, left)


def _fraction(deployment: Deployment, rs: ReplicaSet) -> int:
    size = replicas_of(rs)
    if replicas_of(deployment) == 0:
        return -size
    noted = rs.metadata.annotations.get(MAX_REPLICAS, "")
    before = int(noted) if noted.isdigit() else deployment.status.replicas
    if before == 0:
        return 0
    after = replicas_of(deployment) + max_surge(deployment)
    return (2 * size * after + before) // (2 * before) - size
