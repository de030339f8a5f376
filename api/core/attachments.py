"""Volumes that a storage driver attaches to nodes before they are mounted: how attachments are called. Pure.

The controllers make a VolumeAttachment for each volume and node, the attacher of the driver carries it out, and the
kubelet waits for it; all three know it by this name, which is upstream's.
"""

from __future__ import annotations

import hashlib


def attachment_name(driver: str, handle: str, node: str) -> str:
    """Return what the VolumeAttachment of a volume and a node is called."""
    return f"csi-{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def unique_name(driver: str, handle: str) -> str:
    """Return what a volume is called in a Node's status."""
    return f"kubernetes.io/csi/{driver}^{handle}"
