"""Decides the next step of a DaemonSet: its revision, the pods that are missing or too many, then a step of an update.

Reads the DaemonSet, all nodes, its pods and its revisions; creates and deletes pods and revisions, and writes status.
Names of pods are random, so the freshness gate is what prevents twins. A daemon pod that failed is deleted so that
another takes its place, later each time: how often that happened on a node is all that is remembered between turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from api import selectors
from api.apps import controllerrevision as controllerrevisions
from api.apps import daemonset as daemonsets
from api.apps.controllerrevision import ControllerRevision
from api.apps.daemonset import DaemonSet, DaemonSetStatus
from api.core import node as nodes
from api.core import pod as pods
from api.core.node import Node
from api.core.pod import Pod
from api.resource import ObjectKey
from client.backoff import Backoff
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers import revisions
from controllers.actions import NOTHING, Action, Burst, Emit, Patch, Plan, update_status
from controllers.daemonset.nodes import by_node, daemon_pod, is_node_news, where
from controllers.daemonset.rolling import allows_surge, plan_step
from controllers.ownership import (
    candidates,
    claim,
)
from controllers.pod_making import creation, deletion
from controllers.pods import available_in_s, is_ready
from controllers.revisions import HASH_LABEL, History
from controllers.runner import Controller, Listers, Watch, watch_owned

BURST_MAX = 250
"""How many pods are created, and how many deleted, in one turn at most."""
FAILED_POD = Backoff(1.0, 15 * 60.0)


class Failures:
    """How often daemon pods failed lately, by DaemonSet and node: the only memory, lost with the process."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, str], tuple[int, float]] = {}

    def wait_s(self, key: tuple[str, int, str], now: float) -> float:
        """Return for how long a failed pod must stay."""
        count, at = self._known.get(key, (0, now))
        return max(0.0, at + FAILED_POD.delay_s(count) - now)

    def note(self, key: tuple[str, int, str], now: float) -> None:
        """Note that a failed pod is being replaced; old notes are dropped."""
        self._known = {each: seen for each, seen in self._known.items() if now - seen[1] <= 2 * FAILED_POD.delay_max_s}
        self._known[key] = (self._known.get(key, (0, now))[0] + 1, now)


@dataclass(frozen=True, slots=True)
class Observed:
    """A DaemonSet and what matters to it."""

    ds: DaemonSet
    nodes: Sequence[Node]
    pods: Sequence[Pod]
    """Pods it controls, and orphans of its namespace."""
    revisions: Sequence[ControllerRevision]
    """Revisions it controls, and orphans of its namespace."""
    name_holder: ControllerRevision | None
    """Who has the name that a new revision would get."""


@dataclass(slots=True)
class _Changes:
    """What a turn decided about pods."""

    deletions: list[Pod]
    additions: list[str]
    """Nodes that get a pod."""
    events: list[Emit]
    wait_s: float | None = None


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the DaemonSet, the nodes, its pods and its revisions."""
    ds = listers[daemonsets.RESOURCE].get(key)
    if ds is None:
        return None
    store = listers[controllerrevisions.RESOURCE]
    holder = store.get(ObjectKey(key.namespace, revisions.name_of(ds)))
    mine = candidates(listers[pods.RESOURCE], ds)
    return Observed(ds, listers[nodes.RESOURCE].list(), mine, candidates(store, ds), holder)


def reconcile(observed: Observed, now: float, failures: Failures) -> Plan:
    """Decide one step."""
    ds = observed.ds
    selector = selectors.of_label_selector(ds.spec.selector)
    if selector.matches_everything or selector.matches_nothing:
        message = "This daemon set is selecting all pods. A non-empty selector is required."
        return Plan((Emit(ds, WARNING, "SelectingAll", message),))
    if ds.metadata.deletion_timestamp:
        return NOTHING
    ours = claim(daemonsets.RESOURCE, ds, selector, controllerrevisions.RESOURCE, observed.revisions)
    if ours.patches:
        return Plan(tuple(ours.patches))
    history = revisions.settle(ds, ours.owned, observed.name_holder, lambda hash: {HASH_LABEL: hash})
    if history.is_name_taken:
        status = msgspec.structs.replace(ds.status, collision_count=(ds.status.collision_count or 0) + 1)
        return Plan(status=update_status(daemonsets.RESOURCE, ds, status, checked=True))
    if history.step is not None or history.current is None:
        return Plan((history.step,) if history.step is not None else ())
    claimed = claim(daemonsets.RESOURCE, ds, selector, pods.RESOURCE, observed.pods)
    if any(patch.guard is not None for patch in claimed.patches):
        return Plan(tuple(claimed.patches))
    hash = history.current.metadata.labels.get(HASH_LABEL, "")
    moved = _of_twins(ds, history, hash, claimed.owned)
    if moved:
        return Plan((Burst(moved),))
    return _settle_pods(observed, history, hash, claimed.owned, list(claimed.patches), now, failures)


def _of_twins(ds: DaemonSet, history: History, hash: str, owned: Iterable[Pod]) -> list[Patch]:
    """Return what makes pods of other revisions with the present template the current one's: none need restart."""
    same = {
        each.metadata.labels.get(HASH_LABEL)
        for each in history.others
        if revisions.template_of(each) == ds.spec.template
    } - {hash, None, ""}
    change = {"labels": {HASH_LABEL: hash}}
    return [
        Patch(pods.RESOURCE, key_of(pod), {"metadata": {"uid": pod.metadata.uid, **change}})
        for pod in owned
        if pod.metadata.labels.get(HASH_LABEL) in same
    ]


def _settle_pods(
    observed: Observed,
    history: History,
    hash: str,
    owned: Sequence[Pod],
    actions: list[Action],
    now: float,
    failures: Failures,
) -> Plan:
    ds = observed.ds
    there = by_node(owned)
    places = {node.metadata.name: where(ds, node) for node in observed.nodes}
    wanted = {name for name, (should_run, _) in places.items() if should_run}
    changes = _manage(ds, hash, places, there, now, failures)
    actions += changes.events
    if not changes.deletions and not changes.additions and ds.spec.update_strategy.type == "RollingUpdate":
        step = plan_step(ds, hash, wanted, there, now)
        changes.deletions, changes.additions = step.deletions, step.additions
    if changes.additions:
        made = [creation(ds, daemon_pod(ds, hash, name)) for name in changes.additions[:BURST_MAX]]
        actions.append(Burst(made, slow_start=True))
    if changes.deletions:
        actions.append(Burst([deletion(ds, pod) for pod in changes.deletions[:BURST_MAX]]))
    live = {pod.metadata.labels.get(HASH_LABEL, "") for pod in owned}
    unused = [each for each in history.others if each.metadata.labels.get(HASH_LABEL) not in live]
    actions += revisions.forget(unused, len(history.others) - _history_limit(ds))
    delays = (available_in_s(pod, ds.spec.min_ready_seconds, now) for pod in owned)
    waits = [delay for delay in (*delays, changes.wait_s) if delay]
    return Plan(
        tuple(actions),
        status=update_status(daemonsets.RESOURCE, ds, compute_status(ds, hash, places, there, now)),
        # Timestamps are whole seconds: look just after, not just before.
        requeue_after_s=min(waits) + 0.1 if waits else None,
    )


def _manage(
    ds: DaemonSet,
    hash: str,
    places: Mapping[str, tuple[bool, bool]],
    there: Mapping[str, Sequence[Pod]],
    now: float,
    failures: Failures,
) -> _Changes:
    """Find nodes that lack a pod and pods that should not be, whatever their version."""
    changes = _Changes([], [], [])
    for name, (should_run, may_stay) in places.items():
        present = there.get(name, ())
        living = [pod for pod in present if not pod.metadata.deletion_timestamp]
        if not may_stay:
            changes.deletions += living
        elif not present:
            changes.additions += [name] if should_run else []
        else:
            running = _replace_finished(ds, name, living, changes, now, failures)
            if not allows_surge(ds):
                changes.deletions += running[1:]
            elif running:
                changes.deletions += _excess_in_surge(ds, hash, running, now)
            elif should_run and not living:
                # The old pod is leaving: with a surge its successor need not wait.
                changes.additions.append(name)
    for name, present in there.items():
        if name not in places:
            # The garbage collection of pods takes those that were bound to a node that is gone.
            changes.deletions += [p for p in present if not p.spec.node_name and not p.metadata.deletion_timestamp]
    return changes


def _replace_finished(
    ds: DaemonSet, node_name: str, living: Iterable[Pod], changes: _Changes, now: float, failures: Failures
) -> list[Pod]:
    """Delete pods that have ended, failed ones not too often; return the others."""
    running = []
    for pod in living:
        where_from = f"daemon pod {pod.metadata.namespace}/{pod.metadata.name} on node {node_name}"
        if pod.status.phase == "Failed":
            key = (ds.metadata.uid, ds.metadata.generation, node_name)
            wait_s = failures.wait_s(key, now)
            if wait_s > 0:
                changes.wait_s = min(wait_s, changes.wait_s or wait_s)
                continue
            failures.note(key, now)
            message = f"Found failed {where_from}, will try to kill it"
            changes.events.append(Emit(ds, WARNING, "FailedDaemonPod", message))
            changes.deletions.append(pod)
        elif pod.status.phase == "Succeeded":
            message = f"Found succeeded {where_from}, will try to delete it"
            changes.events.append(Emit(ds, NORMAL, "SucceededDaemonPod", message))
            changes.deletions.append(pod)
        else:
            running.append(pod)
    return running


def _excess_in_surge(ds: DaemonSet, hash: str, running: Sequence[Pod], now: float) -> list[Pod]:
    """Keep at most one pod of each version, and the old one only while it is ready and the new one not available."""
    new = [pod for pod in running if pod.metadata.labels.get(HASH_LABEL) == hash]
    old = [pod for pod in running if pod.metadata.labels.get(HASH_LABEL) != hash]
    excess = new[1:] + old[1:]
    if new and old:
        is_done = available_in_s(new[0], ds.spec.min_ready_seconds, now) == 0.0
        excess += old[:1] if is_done or not is_ready(old[0]) else []
    return excess


def compute_status(
    ds: DaemonSet,
    hash: str,
    places: Mapping[str, tuple[bool, bool]],
    there: Mapping[str, Sequence[Pod]],
    now: float,
) -> DaemonSetStatus:
    """Return what the status should say: on each node the oldest pod counts."""
    firsts = {name: there[name][0] for name in places if there.get(name)}
    here = [pod for name, pod in firsts.items() if places[name][0]]
    wanted = sum(should_run for should_run, _ in places.values())
    available = sum(available_in_s(pod, ds.spec.min_ready_seconds, now) == 0.0 for pod in here)
    return msgspec.structs.replace(
        ds.status,
        current_number_scheduled=len(here),
        number_misscheduled=len(firsts) - len(here),
        desired_number_scheduled=wanted,
        number_ready=sum(map(is_ready, here)),
        observed_generation=ds.metadata.generation,
        updated_number_scheduled=sum(pod.metadata.labels.get(HASH_LABEL) == hash for pod in here),
        number_available=available,
        number_unavailable=wanted - available,
    )


def _history_limit(ds: DaemonSet) -> int:
    return 10 if ds.spec.revision_history_limit is None else ds.spec.revision_history_limit


def _everyone(node: Node, listers: Listers) -> Iterable[ObjectKey]:
    return [key_of(ds) for ds in listers[daemonsets.RESOURCE].list()]


def controller() -> Controller[DaemonSet, Observed]:
    """Return the controller, with a memory of its own."""
    failures = Failures()
    return Controller(
        name="daemonset-controller",
        resource=daemonsets.RESOURCE,
        observe=observe,
        reconcile=lambda observed, now: reconcile(observed, now, failures),
        watches=(
            watch_owned(pods.RESOURCE, daemonsets.RESOURCE),
            watch_owned(controllerrevisions.RESOURCE, daemonsets.RESOURCE),
            Watch(resource=nodes.RESOURCE, keys=_everyone, is_news=is_node_news),
        ),
        workers=2,
    )
