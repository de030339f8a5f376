"""One step of a DaemonSet's rolling update: which old pods go now, and which nodes get a second pod. Pure.

Without a surge old pods are deleted first, and only so many that nodes without an available pod stay within
maxUnavailable; pods that are not available go at once. With a surge (KEP-1591) the new pod comes first, on maxSurge
nodes at a time, and the old one goes once the new one is available.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from api.apps.daemonset import DaemonSet
from api.core.pod import Pod
from controllers.pods import available_in_s
from controllers.revisions import HASH_LABEL
from controllers.shares import resolve


@dataclass(slots=True)
class Step:
    """What to do now."""

    deletions: list[Pod] = field(default_factory=list)
    additions: list[str] = field(default_factory=list)
    """Nodes that get a pod."""


def limits(ds: DaemonSet, node_count: int) -> tuple[int, int]:
    """Return maxSurge and maxUnavailable as numbers of nodes; both zero would stop everything, so one may be down."""
    rolling = ds.spec.update_strategy.rolling_update
    surge = resolve(rolling.max_surge, node_count, round_up=True) if rolling else 0
    unavailable = resolve(rolling.max_unavailable, node_count, round_up=True) if rolling else 1
    return surge, unavailable if surge or unavailable else 1


def allows_surge(ds: DaemonSet) -> bool:
    """Return whether a node may have an old and a new pod at once."""
    rolling = ds.spec.update_strategy.rolling_update
    return ds.spec.update_strategy.type == "RollingUpdate" and bool(
        rolling and resolve(rolling.max_surge, 100, round_up=True)
    )


def plan_step(ds: DaemonSet, hash: str, wanted: Collection[str], pods: Mapping[str, Sequence[Pod]], now: float) -> Step:
    """Decide which pods are replaced now.

    Args:
        ds: the DaemonSet.
        hash: of the present template.
        wanted: the nodes that should run a pod.
        pods: by node.
        now: seconds since the epoch.
    """
    surge, unavailable = limits(ds, len(wanted))
    nodes = sorted({*wanted, *pods} - {""})
    seen = {name: _split(pods.get(name, ()), hash) for name in nodes}

    def is_available(pod: Pod) -> bool:
        return available_in_s(pod, ds.spec.min_ready_seconds, now) == 0.0

    if surge:
        return _with_surge(seen, surge, wanted, is_available)
    step = Step()
    missing = 0
    candidates = []
    for new, old, is_clear in seen.values():
        if not is_clear or (old is None) == (new is None):
            missing += 1
        elif new is not None:
            missing += not is_available(new)
        elif old is not None and not is_available(old):
            step.deletions.append(old)
        elif old is not None:
            candidates.append(old)
    step.deletions += candidates[: max(0, unavailable - missing)]
    return step


_Split = tuple[Pod | None, Pod | None, bool]


def _split(pods: Sequence[Pod], hash: str) -> _Split:
    """Return a node's new pod, its old one, and whether there is at most one of each."""
    living = [pod for pod in pods if not pod.metadata.deletion_timestamp]
    new = [pod for pod in living if pod.metadata.labels.get(HASH_LABEL) == hash]
    old = [pod for pod in living if pod.metadata.labels.get(HASH_LABEL) != hash]
    if len(new) > 1 or len(old) > 1:
        return None, None, False
    return new[0] if new else None, old[0] if old else None, True


def _with_surge(
    seen: Mapping[str, _Split], surge: int, wanted: Collection[str], is_available: Callable[[Pod], bool]
) -> Step:
    step = Step()
    surging = available = 0
    candidates: list[str] = []
    leaving: list[Pod] = []
    for name, (new, old, is_clear) in seen.items():
        available += any(pod is not None and is_available(pod) for pod in (new, old))
        if not is_clear:
            surging += 1
        elif old is None:
            continue
        elif new is not None:
            if is_available(new):
                step.deletions.append(old)
            else:
                surging += 1
        elif name not in wanted:
            # It may stay, but nothing new comes here: it goes when it is of no use, or others do without it.
            (leaving if is_available(old) else step.deletions).append(old)
        elif is_available(old):
            candidates.append(name)
        else:
            step.additions.append(name)
    step.deletions += leaving[: max(0, available - len(wanted))]
    step.additions += candidates[: max(0, surge - surging)]
    return step
