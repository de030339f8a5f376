"""Volumes that a storage driver attaches to nodes before they are mounted: how attachments are called. Pure.

The controllers make a VolumeAttachment for each volume and node, the attacher of the driver carries it out, and the
kubelet waits for it; all three know it by this name, which is upstream's.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_NAME: Final = re.compile("csi-[0-9a-f]{64}")


def attachment_name(driver: str, handle: str, node: str) -> str:
    """Return what the VolumeAttachment of a volume and a node is called."""
    return f"csi-{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def is_made_by_controllers(name: str) -> bool:
    """Whether a VolumeAttachment is called as the controllers call theirs; others are their makers' own affair."""
    return _NAME.fullmatch(name) is not None


def unique_name(driver: str, handle: str) -> str:
    """Return what a volume is called in a Node's status."""
    return f"kubernetes.io/csi/{driver}^{handle}"
