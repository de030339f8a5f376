"""Tells of claims that ask for more room than their volume has that somebody else has to give it.

Volumes of drivers are made larger by the driver's own resizer. Upstream's expand controller says so too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from api import quantity
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.resource import ObjectKey
from client.events import NORMAL
from controllers.actions import NOTHING, Emit, Plan
from controllers.runner import Controller, Listers, Watch

WHY: Final = (
    "Ignoring the PVC: didn't find a plugin capable of expanding the volume;"
    " waiting for an external controller to process this PVC."
)


@dataclass(frozen=True, slots=True)
class Observed:
    """A claim and the volume it names."""

    claim: PersistentVolumeClaim
    volume: PersistentVolume


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the claim and its volume; None while it has none."""
    claim = listers[claims.RESOURCE].get(key)
    if claim is None or claim.status.phase != "Bound":
        return None
    volume = listers[volumes.RESOURCE].get(ObjectKey("", claim.spec.volume_name))
    return Observed(claim, volume) if volume is not None else None


def reconcile(observed: Observed, now: float) -> Plan:
    """Tell of it while the claim asks for more than it has."""
    claim, holder = observed.claim, observed.volume.spec.claim_ref
    asked, has = claim.spec.resources.requests.get("storage", "0"), claim.status.capacity.get("storage", "0")
    is_its = holder is not None and holder.uid == claim.metadata.uid
    if claim.metadata.deletion_timestamp or not is_its or quantity.compare(asked, has) <= 0:
        return NOTHING
    return Plan((Emit(claim, NORMAL, "ExternalExpanding", WHY),))


CONTROLLER: Controller[PersistentVolumeClaim, Observed] = Controller(
    name="volume_expand",
    resource=claims.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    watches=(Watch(resource=volumes.RESOURCE),),
    workers=1,
)
