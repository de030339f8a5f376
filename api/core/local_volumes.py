"""Volumes that the cluster's own provisioner makes: directories on one node each. Pure.

Three meet over such a volume: the provisioner (`controllers/local_provisioner.py`), which makes the object, the node's
kubelet, which makes the directory and deletes it, and the API server, which lets that node, and no other, say so.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from api.core.persistentvolume import PersistentVolume

PROVISIONER: Final = "steersman.io/local-directory"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
NODE: Final = "steersman.io/node"
"""Annotation of a volume: the node that has its directory."""
DIRECTORY: Final = "steersman.io/local-directory"
"""Finalizer: a directory is in use. The node sets it before that is mounted, and takes it away when it is gone."""
CLASS_PATH: Final = "path"
"""Parameter of a StorageClass: the directory on every node below which volumes are made."""


def node_of(volume: PersistentVolume) -> str:
    """Return the name of the node that has the volume's directory; empty for volumes that others made."""
    annotations = volume.metadata.annotations
    is_ours = annotations.get(PROVISIONED_BY) == PROVISIONER and volume.spec.local is not None
    return annotations.get(NODE, "") if is_ours else ""


def path_on(directory: str, node: str, volume: str, claim: str) -> str:
    """Return where the directory of a new volume is; `claim` is for people who look there."""
    return str(PurePosixPath(directory) / node / f"{volume}_{claim.replace('/', '_')}")


def is_within(volume: PersistentVolume, directory: str) -> bool:
    """Return whether a volume's directory is right below `directory`, under the volume's own name."""
    assert volume.spec.local is not None
    path = PurePosixPath(volume.spec.local.path)
    return str(path.parent) == directory and path.name.startswith(f"{volume.metadata.name}_")


def is_to_be_deleted(volume: PersistentVolume) -> bool:
    """Return whether nothing but its directory holds a volume that was deleted."""
    return bool(volume.metadata.deletion_timestamp) and volume.metadata.finalizers == [DIRECTORY]
