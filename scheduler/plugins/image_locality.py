"""A node that has the images need not pull them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.framework import SCORE_MAX, SKIP, SUCCESS, ClusterEvent, CycleState, Status
from scheduler.snapshot import NodeView, PodView, Snapshot

_MEGABYTE = 1024 * 1024
_WORTH_NOTHING_BYTES = 23 * _MEGABYTE
"""Images so small do not sway the choice."""
_WORTH_MOST_BYTES = 1000 * _MEGABYTE
"""Per container; more is worth no more."""


@dataclass(frozen=True, slots=True)
class _Present:
    bytes_by_node: Mapping[str, int]


class ImageLocality:
    """Ranks nodes by the size of the pod's images in Node status.images, counting less what few nodes have."""

    name = "ImageLocality"
    helped_by = ClusterEvent(0)

    def pre_score(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, feasible: Mapping[str, NodeView]
    ) -> Status:
        """Weigh each image by the share of nodes that have it, so that one warm node does not draw every pod."""
        wanted = [container.image for container in (*pod.pod.spec.init_containers, *pod.pod.spec.containers)]
        names = {name: _normalize(name) for name in wanted}
        bytes_by_node = dict.fromkeys(feasible, 0)
        for image in wanted:
            present = {
                name: size
                for name, node in snapshot.nodes.items()
                if (size := _size_of(node, names[image])) is not None
            }
            for name, size in present.items():
                if name in bytes_by_node:
                    bytes_by_node[name] += size * len(present) // len(snapshot.nodes)
        if not any(bytes_by_node.values()):
            return SKIP
        state.put(_Present(bytes_by_node))
        return SUCCESS

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        containers = len(pod.pod.spec.init_containers) + len(pod.pod.spec.containers)
        most = _WORTH_MOST_BYTES * containers
        worth = min(max(state.get(_Present).bytes_by_node[node.name], _WORTH_NOTHING_BYTES), most)
        return SCORE_MAX * (worth - _WORTH_NOTHING_BYTES) // (most - _WORTH_NOTHING_BYTES)

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        return scores


def _size_of(node: NodeView, image: str) -> int | None:
    for held in node.node.status.images:
        if image in held.names:
            return held.size_bytes
    return None


def _normalize(image: str) -> str:
    """Return the name with its tag, as nodes report it."""
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else f"{image}:latest"
