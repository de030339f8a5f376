"""Deletes pods that nobody else will: those of nodes that are gone, and finished ones beyond a number.

Looks at all pods together, every 20 s. A pod bound to a node that does not exist is deleted once the node has been
missing for a while, since a node may only be registering anew; so is a pod that was being deleted before it was ever
bound. No kubelet will confirm those, so they are deleted without grace. Upstream: podgc.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from api import timestamps
from api.core import node as nodes
from api.core import pod as pods
from api.core.pod import Pod
from api.resource import ObjectKey
from client.verbs import key_of
from component.clock import Clock
from controllers.actions import Action, Burst, Delete, Patch, Plan
from controllers.pods import is_finished
from controllers.runner import Controller, Listers, Watch, no_keys

ALL_PODS = ObjectKey("", "all-pods")
PERIOD_S = 20.0
QUARANTINE_S = 40.0
"""How long a node must be missing before its pods are deleted."""
FINISHED_MAX = 12500


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is to sweep."""

    orphaned: Sequence[Pod]
    """Bound to nodes that have been missing for long enough."""
    unbound: Sequence[Pod]
    """Being deleted, and never bound."""
    finished: Sequence[Pod]
    """Beyond the number to keep, oldest first."""


def reconcile(observed: Observed, now: float) -> Plan:
    """Delete it all."""
    actions: list[Action] = []
    unfinished = [pod for pod in observed.orphaned if not is_finished(pod)]
    if unfinished:
        actions.append(Burst([_fail(pod, now) for pod in unfinished]))
    doomed = [*observed.orphaned, *observed.unbound, *observed.finished]
    if doomed:
        actions.append(Burst([Delete(pods.RESOURCE, key_of(pod), pod.metadata.uid, 0) for pod in doomed]))
    return Plan(tuple(actions), requeue_after_s=PERIOD_S)


def _fail(pod: Pod, now: float) -> Patch:
    """Write down that the pod failed, for those who read its last state."""
    conditions = [
        msgspec.to_builtins(condition) for condition in pod.status.conditions if condition.type != "DisruptionTarget"
    ]
    conditions.append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "lastTransitionTime": timestamps.render(now),
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
        }
    )
    status = {"phase": "Failed", "conditions": conditions}
    return Patch(pods.RESOURCE, key_of(pod), {"metadata": {"uid": pod.metadata.uid}, "status": status}, "status")


def keys_of_node(node: object, listers: Listers) -> Iterable[ObjectKey]:
    """Map a node that is gone to the one key."""
    return (ALL_PODS,)


def controller(clock: Clock, finished_max: int = FINISHED_MAX) -> Controller[Pod, Observed]:
    """Return the controller that keeps `finished_max` finished pods."""
    missing_since: dict[str, float] = {}

    def observe(key: ObjectKey, listers: Listers) -> Observed:
        now = clock.monotonic()
        store, present = listers[pods.RESOURCE], listers[nodes.RESOURCE]
        known = {node.metadata.name for node in present}
        bound = {pod.spec.node_name for pod in store if pod.spec.node_name}
        for name in list(missing_since):
            if name in known or name not in bound:
                del missing_since[name]
        for name in bound - known:
            missing_since.setdefault(name, now)
        lost = {name for name, since in missing_since.items() if now - since >= QUARANTINE_S}
        finished = [pod for pod in store if is_finished(pod) and not pod.metadata.deletion_timestamp]
        finished.sort(key=lambda pod: pod.metadata.creation_timestamp)
        return Observed(
            [pod for pod in store if pod.spec.node_name in lost] if lost else (),
            [pod for pod in store if pod.metadata.deletion_timestamp and not pod.spec.node_name],
            finished[: max(0, len(finished) - finished_max)] if finished_max > 0 else (),
        )

    return Controller(
        name="pod-garbage-collector",
        resource=pods.RESOURCE,
        observe=observe,
        reconcile=reconcile,
        keys=no_keys,
        watches=(Watch(resource=nodes.RESOURCE, keys=keys_of_node, only_deleted=True),),
        first=(ALL_PODS,),
        workers=1,
    )
