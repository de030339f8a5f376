"""What the scheduler knows of nodes and pods, and the pods it has placed but not yet seen placed.

Pure: time is an argument. A pod assumed on a node counts there at once, so that the next cycle need not wait for the
binding; the informer's word replaces the assumption, and an assumption nobody confirms expires. Nodes and pods may
come in any order: pods of a node not yet known count as soon as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from api.core.node import Node
from scheduler.snapshot import NodeView, PodView, Snapshot, node_view

ASSUMED_S_MAX = 30.0
"""How long a bound pod may stay unseen: past any delay of a watch, so only a lost binding reaches it."""


@dataclass(frozen=True, slots=True)
class _Assumed:
    node_name: str
    expires_at: float | None
    """Loop time; None while the binding is under way."""


class Cache:
    """Nodes with their pods, kept up to date by informer handlers and by the scheduler's own assumptions."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeView] = {}
        """In order of names: a snapshot is a plain copy."""
        self._homeless: dict[str, dict[str, PodView]] = {}
        """Pods by UID, by the name of a node not known."""
        self._assumed: dict[str, _Assumed] = {}
        self._placed: dict[str, str] = {}
        """The node's name of every pod counted, by UID."""
        self._snapshot: Snapshot | None = None

    def sizes(self) -> dict[str, int]:
        """Return how much is known, by upstream's names."""
        return {"nodes": len(self._nodes), "pods": len(self._placed), "assumed_pods": len(self._assumed)}

    def snapshot(self) -> Snapshot:
        """Return the cluster as it is now; the same object until something changes."""
        if self._snapshot is None:
            self._snapshot = Snapshot(dict(self._nodes))
        return self._snapshot

    def set_node(self, node: Node) -> None:
        """Take a node's new state."""
        name = node.metadata.name
        known = self._nodes.get(name)
        if known is not None:
            self._put(known.with_node(node))
        else:
            self._put(node_view(node, self._homeless.pop(name, None)))
            self._nodes = dict(sorted(self._nodes.items()))

    def remove_node(self, name: str) -> None:
        """Forget a node; its pods are kept for when it returns, until they are deleted themselves."""
        gone = self._nodes.pop(name, None)
        self._snapshot = None
        if gone is not None and gone.pods:
            self._homeless[name] = dict(gone.pods)

    def set_pod(self, pod: PodView) -> None:
        """Take a pod that has a node, in place of what was assumed of it or known before."""
        self._assumed.pop(pod.uid, None)
        self._take_off(pod.uid)
        self._place(pod, pod.pod.spec.node_name)

    def remove_pod(self, uid: str) -> None:
        """Forget a pod that was deleted or has ended."""
        self._assumed.pop(uid, None)
        self._take_off(uid)

    def assume(self, pod: PodView, node_name: str) -> None:
        """Count `pod` on the node while it is being bound there."""
        self._take_off(pod.uid)
        self._place(pod, node_name)
        self._assumed[pod.uid] = _Assumed(node_name, None)

    def finish_binding(self, uid: str, now: float) -> None:
        """Note that the binding was accepted: from now on the informer should confirm it."""
        assumed = self._assumed.get(uid)
        if assumed is not None:
            self._assumed[uid] = replace(assumed, expires_at=now + ASSUMED_S_MAX)

    def forget(self, uid: str) -> None:
        """Take an assumption back; nothing if the pod was confirmed meanwhile."""
        if self._assumed.pop(uid, None) is not None:
            self._take_off(uid)

    def expire(self, now: float) -> list[str]:
        """Take back assumptions nobody confirmed, and return the UIDs."""
        late = [uid for uid, each in self._assumed.items() if each.expires_at is not None and each.expires_at <= now]
        for uid in late:
            self.forget(uid)
        return late

    def is_assumed(self, uid: str) -> bool:
        """Return whether the pod is placed here and not yet seen placed."""
        return uid in self._assumed

    def has_pod(self, uid: str) -> bool:
        """Return whether the pod counts on some node."""
        return uid in self._placed

    def _place(self, pod: PodView, node_name: str) -> None:
        self._placed[pod.uid] = node_name
        node = self._nodes.get(node_name)
        if node is not None:
            self._put(node.with_pod(pod))
        else:
            self._homeless.setdefault(node_name, {})[pod.uid] = pod

    def _take_off(self, uid: str) -> None:
        node_name = self._placed.pop(uid, None)
        if node_name is None:
            return
        node = self._nodes.get(node_name)
        if node is not None:
            self._put(node.without_pod(uid))
            return
        homeless = self._homeless.get(node_name, {})
        homeless.pop(uid, None)
        if not homeless:
            self._homeless.pop(node_name, None)

    def _put(self, node: NodeView) -> None:
        self._nodes[node.name] = node
        self._snapshot = None
