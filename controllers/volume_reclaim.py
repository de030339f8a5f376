"""Says in each volume's phase what became of its claim, and deletes released volumes where their policy asks for it.

A volume is Available until a claim has it, Bound while that claim is there, Released afterwards. With the policy Delete
it then goes: a hostPath below /tmp with what is in it, as upstream's own (a help for tests on one machine); what a
provisioner made, by that provisioner. What nobody here can delete or scrub is Failed, with the reason. Before anything
is taken for released, the claim is asked for live: a cache may lag behind a claim that was just made.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core.local_volumes import PROVISIONED_BY, PROVISIONER
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.volume_matching import BOUND_BY_CONTROLLER
from api.errors import NotFound
from api.resource import ObjectKey
from client.events import WARNING
from client.verbs import key_of
from controllers.actions import Emit
from controllers.runner import Context, Dialogue, Listers, Watch
from controllers.volume_binder import BY_CLAIM, RETRY_S, VOLUME_INDEXES

_DELETABLE_BELOW = "/tmp/"


class CannotReclaim(Exception):
    """A volume cannot be deleted or scrubbed; the message says why."""


def compute_phase(volume: PersistentVolume, claim: PersistentVolumeClaim | None) -> str:
    """Return what a volume's phase should be, given the claim of the name that it mentions."""
    ref = volume.spec.claim_ref
    if ref is None or not ref.uid:
        return "Available"
    if claim is not None and claim.metadata.uid == ref.uid and claim.spec.volume_name in ("", volume.metadata.name):
        return "Bound"
    return "Failed" if volume.status.phase == "Failed" else "Released"


def is_passed_over(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Return whether a volume was set aside for a claim that took another: it has held nothing of the claim's.

    One that a provisioner made for the claim, to go with it, is of use to nobody else, and goes.
    """
    ref, taken = volume.spec.claim_ref, claim.spec.volume_name
    if ref is None or ref.uid != claim.metadata.uid or taken in ("", volume.metadata.name):
        return False
    return PROVISIONED_BY not in volume.metadata.annotations or volume.spec.persistent_volume_reclaim_policy != "Delete"


async def reconcile(key: ObjectKey, context: Context) -> float | None:
    """Write the phase; reclaim what is released."""
    volume = context.listers[volumes.RESOURCE].get(key)
    if volume is None:
        return None
    ref = volume.spec.claim_ref
    claim_key = ObjectKey(ref.namespace, ref.name) if ref is not None else None
    claim = context.listers[claims.RESOURCE].get(claim_key) if claim_key is not None else None
    phase = compute_phase(volume, claim)
    if phase in ("Released", "Failed") and claim_key is not None:
        try:
            claim = await context.client.get(claims.RESOURCE, claim_key)
        except NotFound:
            claim = None
        phase = compute_phase(volume, claim)
        if claim is not None and is_passed_over(volume, claim):
            await _set_free(context, volume)
            return None
    await _write(context, volume, phase, volume.status.message if phase == "Failed" else "")
    if phase not in ("Released", "Failed") or volume.metadata.deletion_timestamp:
        return None
    try:
        is_gone = await _reclaim(volume)
    except CannotReclaim as error:
        recycles = volume.spec.persistent_volume_reclaim_policy == "Recycle"
        context.emit(Emit(volume, WARNING, "VolumeFailedRecycle" if recycles else "VolumeFailedDelete", str(error)))
        await _write(context, volume, "Failed", str(error))
        return RETRY_S
    if is_gone:
        try:
            await context.client.delete(volumes.RESOURCE, key, uid=volume.metadata.uid)
        except NotFound:
            return None
    return None


async def _set_free(context: Context, volume: PersistentVolume) -> None:
    """Take back that a volume is set aside; what a user wrote of whom it is for stays, without the UID."""
    metadata: dict[str, Any] = {
        "uid": volume.metadata.uid,
        "resourceVersion": volume.metadata.resource_version,
    }
    ref: dict[str, Any] | None = {"uid": None, "resourceVersion": None}
    if BOUND_BY_CONTROLLER in volume.metadata.annotations:
        metadata["annotations"] = {BOUND_BY_CONTROLLER: None}
        ref = None
    try:
        await context.client.patch(volumes.RESOURCE, key_of(volume), {"metadata": metadata, "spec": {"claimRef": ref}})
    except NotFound:
        return


async def _write(context: Context, volume: PersistentVolume, phase: str, message: str) -> None:
    if volume.status.phase == phase and (phase != "Failed" or volume.status.message == message):
        return  # What others say in the status is left alone.
    metadata = {"uid": volume.metadata.uid, "resourceVersion": volume.metadata.resource_version}
    status = {"phase": phase, "message": message or None}
    try:
        await context.client.patch(
            volumes.RESOURCE, key_of(volume), {"metadata": metadata, "status": status}, subresource="status"
        )
    except NotFound:
        return


async def _reclaim(volume: PersistentVolume) -> bool:
    """Do what the policy says; return whether the volume's object should go."""
    match volume.spec.persistent_volume_reclaim_policy:
        case "Delete":
            provisioner = volume.metadata.annotations.get(PROVISIONED_BY, "")
            if provisioner and not provisioner.startswith("kubernetes.io/"):
                # It deletes what it made; of the cluster's own, that is the node, once the object is to go.
                return provisioner == PROVISIONER
            if volume.spec.host_path is None:
                name = volume.metadata.name
                why = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
                raise CannotReclaim(why)
            await asyncio.to_thread(delete_host_path, volume.spec.host_path.path)
            return True
        case "Recycle":
            raise CannotReclaim("Volume recycling is not supported: use the policy Delete, or a provisioner")
        case _:
            return False


def delete_host_path(path: str) -> None:
    """Delete a directory below /tmp of this machine with all that is in it; one that is not there is deleted.

    Raises:
        CannotReclaim: it is elsewhere, or cannot be deleted.
    """
    real = os.path.realpath(path)
    # Links in the path may lead anywhere; where they lead is what would be deleted.
    if not (os.path.normpath(path).startswith(_DELETABLE_BELOW) and real.startswith(_DELETABLE_BELOW)):
        raise CannotReclaim(f"host_path deleter only supports /tmp/.+ but received provided {path}")
    try:
        if Path(real).is_dir():
            shutil.rmtree(real)
        else:
            Path(real).unlink(missing_ok=True)
    except OSError as error:
        raise CannotReclaim(f"{path} cannot be deleted: {error.strerror}") from None


def keys_of_claim(claim: PersistentVolumeClaim, listers: Listers) -> Iterable[ObjectKey]:
    """Map a claim to the volumes that name it."""
    return [key_of(volume) for volume in listers[volumes.RESOURCE].by_index(BY_CLAIM, str(key_of(claim)))]


CONTROLLER: Dialogue[PersistentVolume] = Dialogue(
    name="persistentvolume-reclaim",
    resource=volumes.RESOURCE,
    reconcile=reconcile,
    indexes=VOLUME_INDEXES,
    watches=(Watch(resource=claims.RESOURCE, keys=keys_of_claim),),
    workers=2,
)
