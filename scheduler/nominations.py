"""For which waiting pods room is being made, and where. Pure.

What the scheduler has just decided counts at once; what the API server says of a pod replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.snapshot import PodView


class Nominations:
    """Pods without a node, by the node they are nominated for."""

    def __init__(self) -> None:
        self._by_uid: dict[str, tuple[PodView, str]] = {}

    def put(self, pod: PodView, node_name: str) -> None:
        """Note that room is made for `pod` on a node, in place of an earlier nomination; an empty name ends it."""
        if node_name:
            self._by_uid[pod.uid] = (pod, node_name)
        else:
            self._by_uid.pop(pod.uid, None)

    def saw(self, old: PodView | None, new: PodView) -> None:
        """Take a waiting pod's newer state; one that never said anything of a node leaves our own decision alone."""
        said = new.pod.status.nominated_node_name
        said_before = old.pod.status.nominated_node_name if old is not None else ""
        if said != said_before:
            self.put(new, said)
        elif new.uid in self._by_uid:
            self._by_uid[new.uid] = (new, self._by_uid[new.uid][1])

    def drop(self, uid: str) -> bool:
        """End a pod's nomination; return whether it had one."""
        return self._by_uid.pop(uid, None) is not None

    def node_of(self, uid: str) -> str:
        """Return the node a pod is nominated for; empty for none."""
        return self._by_uid[uid][1] if uid in self._by_uid else ""

    def lower_than(self, pod: PodView, node_name: str) -> list[PodView]:
        """Return the pods of lower priority nominated for a node: a higher one has taken the room made for them."""
        return [other for other, where in self._by_uid.values() if where == node_name and other.priority < pod.priority]

    def by_node(self) -> Mapping[str, tuple[PodView, ...]]:
        """Return the nominated pods of each node."""
        found: dict[str, tuple[PodView, ...]] = {}
        for pod, node_name in self._by_uid.values():
            found[node_name] = (*found.get(node_name, ()), pod)
        return found
