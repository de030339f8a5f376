"""Asks for volumes to be attached to the nodes whose pods use them, and to be taken off when none does any more.

That is a VolumeAttachment for each volume and node, which the driver's own attacher carries out and its finalizer
holds. A volume is taken off a node only when the node no longer says that it is mounted there (`volumesInUse`), and
never given to a second node as long as it may be used on one alone. Drivers that need no attaching are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from api import timestamps
from api.core import node as nodes
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.attachments import attachment_name, is_made_by_controllers, unique_name
from api.core.node import Node
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.core.volume_matching import claims_of
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.storage import csidriver
from api.storage import volumeattachment as attachments
from api.storage.csidriver import CSIDriver
from api.storage.volumeattachment import VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Action, Create, Delete, Emit, Plan
from controllers.runner import Controller, Listers, Watch
from controllers.storage_protection import BY_CLAIM, index_pods_by_claim

RETRY_S = 15.0
SETTLE_S = 15.0
"""So long after its end a pod's volumes count as used: its node may not have said that they are mounted."""
BY_VOLUME = "volume"
BY_NODE = "node"
SHARED_MODES = ("ReadWriteMany", "ReadOnlyMany")


@dataclass(frozen=True, slots=True)
class Observed:
    """A volume, who uses it, and where it is attached."""

    volume: PersistentVolume | None
    """None once it is gone; its attachments may be there still."""
    is_attachable: bool
    users: Sequence[Pod]
    """Pods with a node."""
    attachments: Sequence[VolumeAttachment]
    mounted_on: frozenset[str]
    """Names of nodes that say they have it mounted."""


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the volume, its pods and its attachments."""
    volume = listers[volumes.RESOURCE].get(key)
    known = [
        each
        for each in listers[attachments.RESOURCE].by_index(BY_VOLUME, key.name)
        if is_made_by_controllers(each.metadata.name)
    ]
    source = volume.spec.csi if volume is not None else None
    if volume is None or source is None:
        return Observed(None, False, (), known, frozenset()) if known else None
    driver = listers[csidriver.RESOURCE].get(ObjectKey("", source.driver))
    ref = volume.spec.claim_ref
    users = listers[pods.RESOURCE].by_index(BY_CLAIM, f"{ref.namespace}/{ref.name}") if ref is not None else ()
    name = unique_name(source.driver, source.volume_handle)
    places = [listers[nodes.RESOURCE].get(ObjectKey("", each.spec.node_name)) for each in known]
    return Observed(
        volume,
        is_attachable=driver is None or driver.spec.attach_required is not False,
        users=[pod for pod in users if pod.spec.node_name],
        attachments=known,
        mounted_on=frozenset(node.metadata.name for node in places if node and name in node.status.volumes_in_use),
    )


class Coming:
    """Attachments that were seen before they were carried out: remembered only to tell when they are."""

    def __init__(self) -> None:
        self._uids: set[str] = set()

    def has_come(self, attachment: VolumeAttachment) -> bool:
        """Note an attachment as it is; return whether it has been carried out since it was last seen."""
        uid = attachment.metadata.uid
        if attachment.status.attached or attachment.metadata.deletion_timestamp:
            has_come = uid in self._uids and attachment.status.attached
            self._uids.discard(uid)
            return has_come
        self._uids.add(uid)
        return False


def reconcile(observed: Observed, now: float, coming: Coming) -> Plan:
    """Attach where the volume is used, take it off elsewhere; say so where both cannot be."""
    volume = observed.volume
    using = users_by_node(observed.users, now) if observed.is_attachable and volume is not None else {}
    actions: list[Action] = []
    must_wait = any(pod.status.phase in ("Succeeded", "Failed") for pods in using.values() for pod in pods)
    for each in observed.attachments:
        if coming.has_come(each) and volume is not None:
            message = f'AttachVolume.Attach succeeded for volume "{volume.metadata.name}" '
            told = using.get(each.spec.node_name, ())
            actions += [Emit(pod, NORMAL, "SuccessfulAttachVolume", message) for pod in told]
        if each.spec.node_name in using or each.metadata.deletion_timestamp:
            continue
        if each.spec.node_name in observed.mounted_on:
            must_wait = True
            continue
        actions.append(Delete(attachments.RESOURCE, key_of(each), each.metadata.uid))
    attached = {each.spec.node_name for each in observed.attachments}
    is_shared = volume is not None and any(mode in SHARED_MODES for mode in volume.spec.access_modes)
    for node in sorted(using.keys() - attached):
        assert volume is not None
        if attached and not is_shared:
            why = "Volume is already exclusively attached to one node and can't be attached to another"
            message = f'Multi-Attach error for volume "{volume.metadata.name}" {why}'
            actions += [Emit(pod, WARNING, "FailedAttachVolume", message) for pod in using[node]]
            must_wait = True
            continue
        attached.add(node)
        actions.append(Create(attachments.RESOURCE, attachment_of(volume, node)))
    return Plan(tuple(actions), requeue_after_s=RETRY_S if must_wait else None)


def users_by_node(users: Iterable[Pod], now: float) -> Mapping[str, Sequence[Pod]]:
    """Return the pods that use a volume by the name of their node; those that ended a while ago do not. Pure."""
    found: dict[str, list[Pod]] = {}
    for pod in users:
        if pod.status.phase in ("Succeeded", "Failed") and now - _ended_at(pod) > SETTLE_S:
            continue
        found.setdefault(pod.spec.node_name, []).append(pod)
    return found


def _ended_at(pod: Pod) -> float:
    ends = [s.state.terminated.finished_at for s in pod.status.container_statuses if s.state.terminated]
    return max((timestamps.parse(each) for each in ends if each), default=0.0)


def attachment_of(volume: PersistentVolume, node: str) -> VolumeAttachment:
    """Return the wish that a volume be attached to a node."""
    source = volume.spec.csi
    assert source is not None
    return VolumeAttachment(
        metadata=ObjectMeta(name=attachment_name(source.driver, source.volume_handle, node)),
        spec=VolumeAttachmentSpec(
            attacher=source.driver,
            source=VolumeAttachmentSource(persistent_volume_name=volume.metadata.name),
            node_name=node,
        ),
    )


def volumes_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to the volumes of its claims."""
    found = [listers[claims.RESOURCE].get(ObjectKey(pod.metadata.namespace, name)) for name in claims_of(pod).values()]
    return [ObjectKey("", claim.spec.volume_name) for claim in found if claim is not None and claim.spec.volume_name]


def volume_of_claim(claim: PersistentVolumeClaim, listers: Listers) -> Iterable[ObjectKey]:
    """Map a claim to its volume."""
    return [ObjectKey("", claim.spec.volume_name)] if claim.spec.volume_name else []


def volume_of_attachment(attachment: VolumeAttachment, listers: Listers) -> Iterable[ObjectKey]:
    """Map an attachment to its volume."""
    return [ObjectKey("", name) for name in index_by_volume(attachment)]


def volumes_of_node(node: Node, listers: Listers) -> Iterable[ObjectKey]:
    """Map a node to the volumes that are attached to it."""
    there = listers[attachments.RESOURCE].by_index(BY_NODE, node.metadata.name)
    return [key for each in there for key in volume_of_attachment(each, listers)]


def volumes_of_driver(driver: CSIDriver, listers: Listers) -> Iterable[ObjectKey]:
    """Map a driver to its volumes."""
    return [
        key_of(each)
        for each in listers[volumes.RESOURCE].list()
        if each.spec.csi is not None and each.spec.csi.driver == driver.metadata.name
    ]


def index_by_volume(attachment: VolumeAttachment) -> Iterable[str]:
    """Index attachments by their volume."""
    return [name for name in (attachment.spec.source.persistent_volume_name,) if name]


def index_by_node(attachment: VolumeAttachment) -> Iterable[str]:
    """Index attachments by their node."""
    return (attachment.spec.node_name,)


def _is_moved_or_ended(old: Pod, new: Pod) -> bool:
    return (old.spec.node_name, old.status.phase) != (new.spec.node_name, new.status.phase)


def _unmounted(old: Node, new: Node) -> bool:
    return old.status.volumes_in_use != new.status.volumes_in_use


def build() -> Controller[PersistentVolume, Observed]:
    """Declare the controller."""
    coming = Coming()
    return Controller(
        name="attachdetach-controller",
        resource=volumes.RESOURCE,
        observe=observe,
        reconcile=lambda observed, now: reconcile(observed, now, coming),
        watches=(
            Watch(
                resource=attachments.RESOURCE,
                keys=volume_of_attachment,
                indexes={BY_VOLUME: index_by_volume, BY_NODE: index_by_node},
            ),
            Watch(resource=csidriver.RESOURCE, keys=volumes_of_driver),
            Watch(resource=claims.RESOURCE, keys=volume_of_claim),
            Watch(
                resource=pods.RESOURCE,
                keys=volumes_of_pod,
                indexes={BY_CLAIM: index_pods_by_claim},
                is_news=_is_moved_or_ended,
            ),
            Watch(resource=nodes.RESOURCE, keys=volumes_of_node, is_news=_unmounted),
        ),
    )
