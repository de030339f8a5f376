"""Static pods and their mirrors: how they are told from other pods. Pure.

A static pod comes from a file on its node, and needs no API server. The node's kubelet shows it there as a mirror pod,
so that people see it and it counts as running; the annotation that says so also says which static pod it is of. "Create
static Pods" in Kubernetes' documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from api.core.pod import Pod

SOURCE: Final = "kubernetes.io/config.source"
"""Where a pod came from, as its kubelet notes it; pods of the API server have none."""
FILE: Final = "file"
HASH: Final = "kubernetes.io/config.hash"
SEEN: Final = "kubernetes.io/config.seen"
MIRROR: Final = "kubernetes.io/config.mirror"
"""On a mirror pod only: the hash of its static pod."""


def is_static(pod: Pod) -> bool:
    """Return whether a pod came from a file of its node.

    Anybody may write annotations on pods at the API server; the UIDs of those have hyphens, and nobody chooses them.
    """
    return pod.metadata.annotations.get(SOURCE) == FILE and "-" not in pod.metadata.uid


def is_mirror(pod: Pod) -> bool:
    """Return whether a pod at the API server only shows one that its node has of itself."""
    return MIRROR in pod.metadata.annotations


def is_mirror_of(mirror: Pod, static: Pod) -> bool:
    """Return whether a mirror shows this version of a static pod."""
    mine, its = mirror.metadata, static.metadata
    is_same = (mine.namespace, mine.name) == (its.namespace, its.name)
    return is_same and mine.annotations.get(MIRROR) == its.annotations.get(HASH)
