"""One scheduling cycle, pure: from a pod and a snapshot to a placement, or to why there is none.

Filters leave the feasible nodes, scores rank them. Of the best, the pod's UID picks one, so that equal nodes fill
evenly and the same input always gives the same answer. Binding, and trying again, are `scheduler.scheduler`'s.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scheduler.framework import SUCCESS, Code, CycleState, Plugin, Status, count_reasons
from scheduler.profile import Profile
from scheduler.snapshot import NodeView, PodView, Snapshot


@dataclass(frozen=True)
class Placement:
    """The pod fits, best here."""

    node_name: str
    state: CycleState
    """What plugins noted, for Reserve, PreBind and Bind."""
    evaluated_nodes: int
    feasible_nodes: int


@dataclass(frozen=True)
class Unschedulable:
    """The pod fits nowhere now."""

    message: str
    """What `kubectl describe pod` shows."""
    rejected_by: tuple[Plugin, ...] = field(default=())
    """The plugins that said no anywhere; their `helped_by` says what to wait for. Empty: any change may help."""


def schedule(pod: PodView, snapshot: Snapshot, profile: Profile) -> Placement | Unschedulable:
    """Choose a node for `pod`."""
    if not snapshot.nodes:
        return Unschedulable("no nodes available to schedule pods")
    state = CycleState()
    skipped: set[str] = set()
    for plugin, point in profile.pre_filters:
        status = point.pre_filter(state, pod, snapshot)
        if status.code is Code.SKIP:
            skipped.add(plugin.name)
        elif status.code is not Code.SUCCESS:
            message = f"0/{len(snapshot.nodes)} nodes are available: {', '.join(status.reasons)}."
            rejected = dict.fromkeys(snapshot.nodes, status)
            return Unschedulable(_with_post_filter(message, state, pod, snapshot, rejected, profile), (plugin,))
    feasible, rejected, rejected_by = _filter(state, pod, snapshot, profile, skipped)
    if not feasible:
        message = _describe(len(snapshot.nodes), rejected.values())
        return Unschedulable(_with_post_filter(message, state, pod, snapshot, rejected, profile), rejected_by)
    chosen = next(iter(feasible)) if len(feasible) == 1 else _best(state, pod, snapshot, feasible, profile)
    return Placement(chosen, state, len(snapshot.nodes), len(feasible))


def _filter(
    state: CycleState, pod: PodView, snapshot: Snapshot, profile: Profile, skipped: set[str]
) -> tuple[dict[str, NodeView], dict[str, Status], tuple[Plugin, ...]]:
    """Return the feasible nodes, each other node's rejection, and the plugins that rejected any."""
    filters = [(plugin, point.filter) for plugin, point in profile.filters if plugin.name not in skipped]
    feasible: dict[str, NodeView] = {}
    rejected: dict[str, Status] = {}
    rejected_by: dict[str, Plugin] = {}
    for name, node in snapshot.nodes.items():
        for plugin, accepts in filters:
            status = accepts(state, pod, node)
            if status.code is not Code.SUCCESS:
                rejected[name] = status
                rejected_by[plugin.name] = plugin
                break
        else:
            feasible[name] = node
    return feasible, rejected, tuple(rejected_by.values())


def _best(
    state: CycleState, pod: PodView, snapshot: Snapshot, feasible: Mapping[str, NodeView], profile: Profile
) -> str:
    skipped = {
        plugin.name
        for plugin, point in profile.pre_scores
        if point.pre_score(state, pod, snapshot, feasible).code is Code.SKIP
    }
    totals = dict.fromkeys(feasible, 0)
    for plugin, point, weight in profile.scores:
        if plugin.name in skipped:
            continue
        raw = {name: point.score(state, pod, node) for name, node in feasible.items()}
        for name, score in point.normalize(state, raw).items():
            totals[name] += score * weight
    highest = max(totals.values())
    ties = [name for name, total in totals.items() if total == highest]
    return ties[zlib.crc32(pod.uid.encode()) % len(ties)]


def _with_post_filter(
    message: str,
    state: CycleState,
    pod: PodView,
    snapshot: Snapshot,
    rejected: Mapping[str, Status],
    profile: Profile,
) -> str:
    for _, point in profile.post_filters:
        status = point.post_filter(state, pod, snapshot, rejected)
        if status is not SUCCESS and status.reasons:
            message += " " + ", ".join(status.reasons)
    return message


def _describe(nodes: int, statuses: Iterable[Status]) -> str:
    """Return upstream's sentence: how many nodes had which reason, in order of the text."""
    return f"0/{nodes} nodes are available: {count_reasons(statuses)}."
