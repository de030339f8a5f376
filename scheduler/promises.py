"""What claims will get, decided but not yet seen at the API server: no other pod may be promised the same volume."""

from __future__ import annotations

from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim


class Promises:
    """What was decided about claims whose pods are being bound, ahead of the API server: by the claim's UID."""

    def __init__(self) -> None:
        self._volumes: dict[str, str] = {}
        self._nodes: dict[str, str] = {}

    def promise(self, claim: PersistentVolumeClaim, node_name: str, volume: PersistentVolume | None) -> None:
        """Note that a claim gets `volume`, or, with None, one yet to be made within the node's reach."""
        if volume is not None:
            self._volumes[claim.metadata.uid] = volume.metadata.name
        else:
            self._nodes[claim.metadata.uid] = node_name

    def end(self, claim: PersistentVolumeClaim) -> None:
        """Forget what was promised to a claim: it came true, or was given up."""
        self._volumes.pop(claim.metadata.uid, None)
        self._nodes.pop(claim.metadata.uid, None)

    def volume_of(self, claim: PersistentVolumeClaim) -> str:
        """Return the name of the volume promised to a claim; empty for none."""
        return self._volumes.get(claim.metadata.uid, "")

    def node_of(self, claim: PersistentVolumeClaim) -> str:
        """Return the node within whose reach a claim's volume is being made; empty for none."""
        return self._nodes.get(claim.metadata.uid, "")

    def volumes(self) -> frozenset[str]:
        """Return the names of all promised volumes."""
        return frozenset(self._volumes.values())
