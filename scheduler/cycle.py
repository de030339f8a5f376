"""One scheduling cycle, pure: from a pod and a snapshot to a placement, or to why there is none and what would help.

Filters leave the feasible nodes, scores rank them. Of the best, the pod's UID picks one, so that equal nodes fill
evenly and the same input always gives the same answer. Binding, preempting and trying again are
`scheduler.scheduler`'s.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scheduler.framework import SUCCESS, Code, CountsPods, CycleState, Plugin, Remedy, Status, count_reasons
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
    remedy: Remedy = field(default_factory=Remedy)
    """What can be done for it."""


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
            trials = _Trials(state, pod, snapshot, profile, skipped)
            return _rejected(message, trials, dict.fromkeys(snapshot.nodes, status), (plugin,))
    trials = _Trials(state, pod, snapshot, profile, skipped)
    feasible, rejected = _filter(trials)
    if not feasible:
        message = f"0/{len(snapshot.nodes)} nodes are available: {count_reasons(rejected.values())}."
        return _rejected(message, trials, rejected, tuple(trials.rejected_by.values()))
    chosen = next(iter(feasible)) if len(feasible) == 1 else _best(state, pod, snapshot, feasible, profile)
    return Placement(chosen, state, len(snapshot.nodes), len(feasible))


class _Trials:
    """Asks the filters about one pod, on nodes as they are and as they might be."""

    def __init__(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, profile: Profile, skipped: set[str]
    ) -> None:
        self.state = state
        self.pod = pod
        self.snapshot = snapshot
        self.profile = profile
        self.rejected_by: dict[str, Plugin] = {}
        """The plugins that said no to a node as it is, by name."""
        self._skipped = skipped
        self._filters = [(plugin, point.filter) for plugin, point in profile.filters]
        self._counting = [(plugin, point) for plugin, point in profile.pre_filters if isinstance(point, CountsPods)]

    def ask(self, node: NodeView) -> Status:
        """Return what the filters say of the pod on `node`, a state of one of the snapshot's.

        Pods of its own or a higher priority that are nominated to run there count as if they did. The pod must fit
        without them as well: they may never come, and it may want to be near one of them.
        """
        nominated = self.snapshot.nominated.get(node.name, ())
        crowded = node
        for other in nominated:
            if other.priority >= self.pod.priority and other.uid != self.pod.uid and other.uid not in node.pods:
                crowded = crowded.with_pod(other)
        if crowded is not node:
            status = self._ask(crowded)
            if status.code is not Code.SUCCESS:
                return status
        return self._ask(node)

    def _ask(self, node: NodeView) -> Status:
        known = self.snapshot.nodes[node.name]
        state, skipped = (self.state, self._skipped) if node is known else self._look_again(node)
        for plugin, accepts in self._filters:
            if plugin.name in skipped:
                continue
            status = accepts(state, self.pod, node)
            if status.code is not Code.SUCCESS:
                self.rejected_by[plugin.name] = plugin
                return status
        return SUCCESS

    def _look_again(self, node: NodeView) -> tuple[CycleState, set[str]]:
        """Return what would be noted, and skipped, if a node had other pods."""
        # What had nothing to say of the pod has nothing to say with fewer pods either.
        has_more = not node.pods.keys() <= self.snapshot.nodes[node.name].pods.keys()
        state, skipped = self.state.copy(), set(self._skipped)
        before = self.snapshot.nodes[node.name]
        for plugin, point in self._counting:
            if has_more or plugin.name not in skipped:
                skipped.discard(plugin.name)
                if point.recount(state, self.pod, before, node).code is Code.SKIP:
                    skipped.add(plugin.name)
        return state, skipped


def _filter(trials: _Trials) -> tuple[dict[str, NodeView], dict[str, Status]]:
    """Return the feasible nodes, and each other node's rejection.

    A node where room was made for the pod is looked at first; if it will do, no other is.
    """
    nodes = trials.snapshot.nodes
    made_ready = nodes.get(trials.snapshot.nominated_node(trials.pod))
    if made_ready is not None and trials.ask(made_ready).code is Code.SUCCESS:
        return {made_ready.name: made_ready}, {}
    feasible: dict[str, NodeView] = {}
    rejected: dict[str, Status] = {}
    for name, node in nodes.items():
        status = trials.ask(node)
        if status.code is Code.SUCCESS:
            feasible[name] = node
        else:
            rejected[name] = status
    return feasible, rejected


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


def _rejected(
    message: str, trials: _Trials, rejected: Mapping[str, Status], rejected_by: Iterable[Plugin]
) -> Unschedulable:
    """Return why the pod fits nowhere, and what the first PostFilter that knows something says to do."""
    remedy = Remedy()
    for _, point in trials.profile.post_filters:
        remedy = point.post_filter(trials.pod, trials.snapshot, rejected, trials.ask)
        if remedy.message:
            message += f" {remedy.message}"
        if remedy.victims:
            break
    return Unschedulable(message, tuple(rejected_by), remedy)
