"""Attachments of volumes: made for pods' nodes, taken away when nothing is mounted any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from api import timestamps
from api.core import node as nodes
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core.attachments import attachment_name, unique_name
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.pod import Pod
from api.resource import ObjectKey
from api.storage import volumeattachment as attachments
from api.storage.volumeattachment import VolumeAttachment
from controllers.actions import Create, Delete, Emit
from controllers.attach_detach import RETRY_S, Coming, Observed, attachment_of, observe, reconcile
from tests.unit.controllers.world import world

NOW = 1_700_000_000.0
DRIVER = "csi.example.com"
HANDLE = "vol-1"


def volume(mode: str = "ReadWriteOnce") -> PersistentVolume:
    ref = {"namespace": "default", "name": "c"}
    spec = {"csi": {"driver": DRIVER, "volumeHandle": HANDLE}, "accessModes": [mode], "claimRef": ref}
    spec["capacity"] = {"storage": "1Gi"}
    return msgspec.convert({"metadata": {"name": "pv"}, "spec": spec}, PersistentVolume)


def pod(name: str, node: str, phase: str = "Running", ended_s_ago: float = 0) -> Pod:
    ended = {"terminated": {"exitCode": 0, "finishedAt": timestamps.render(NOW - ended_s_ago)}}
    status = {"phase": phase, "containerStatuses": [{"name": "c", "image": "i", "state": ended}]}
    spec = {"nodeName": node, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}
    spec["containers"] = [{"name": "c", "image": "i"}]
    metadata = {"name": name, "namespace": "default"}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, Pod)


def attached(node: str, **metadata: str) -> VolumeAttachment:
    made = attachment_of(volume(), node)
    made.metadata.uid = f"uid-{node}"
    for name, value in metadata.items():
        setattr(made.metadata, name, value)
    return made


def decided(*users: Pod, there: tuple[VolumeAttachment, ...] = (), mounted: str = "", **more: Any) -> list[str]:
    found = more.pop("volume", volume())
    observed = Observed(found, more.pop("is_attachable", True), users, there, frozenset([mounted] if mounted else []))
    plan = reconcile(observed, NOW, Coming())
    names = []
    for action in plan.actions:
        match action:
            case Create(object=VolumeAttachment() as made):
                names.append(f"attach {made.spec.node_name}")
            case Delete(uid=uid):
                names.append(f"detach {uid}")
            case Emit(reason=reason):
                names.append(reason)
    return names + (["again"] if plan.requeue_after_s == RETRY_S else [])


def test_a_volume_is_attached_where_pods_use_it_once():
    assert decided(pod("a", "n1"), pod("b", "n1")) == ["attach n1"]
    assert decided(pod("a", "n1"), there=(attached("n1"),)) == []
    assert decided(pod("a", "n1"), is_attachable=False) == []


def test_it_is_taken_off_when_nobody_uses_it_and_it_is_not_mounted():
    assert decided(there=(attached("n1"),)) == ["detach uid-n1"]
    assert decided(there=(attached("n1"),), mounted="n1") == ["again"]
    assert decided(there=(attached("n1", deletion_timestamp="2020-01-01T00:00:00Z"),)) == []
    assert decided(there=(attached("n1"),), volume=None) == ["detach uid-n1"]


def test_a_volume_for_one_node_is_not_given_to_a_second():
    moving = (attached("n1", deletion_timestamp="2020-01-01T00:00:00Z"),)
    assert decided(pod("a", "n2"), there=moving) == ["FailedAttachVolume", "again"]
    assert decided(pod("a", "n2"), pod("b", "n1")) == ["attach n1", "FailedAttachVolume", "again"]
    assert decided(pod("a", "n2"), pod("b", "n1"), volume=volume("ReadWriteMany")) == ["attach n1", "attach n2"]


def test_a_pod_that_ended_uses_its_volume_for_a_moment_longer():
    assert decided(pod("a", "n1", "Failed", 3), there=(attached("n1"),)) == ["again"]
    assert decided(pod("a", "n1", "Failed", 60), there=(attached("n1"),)) == ["detach uid-n1"]


@pytest.mark.looptime
async def test_attachments_come_with_pods_and_go_when_the_node_has_let_go():
    async with world() as at:
        at.silent.add("n1")
        await at.client.create(volumes.RESOURCE, volume())
        spec = {"accessModes": ["ReadWriteOnce"], "volumeName": "pv", "storageClassName": ""}
        spec["resources"] = {"requests": {"storage": "1Gi"}}
        body = {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}
        await at.client.create(claims.RESOURCE, msgspec.convert(body, PersistentVolumeClaim))
        await at.client.create(pods.RESOURCE, pod("a", "n1"))
        key = ObjectKey("", attachment_name(DRIVER, HANDLE, "n1"))

        async def names() -> list[str]:
            return [each.metadata.name for each in (await at.client.list(attachments.RESOURCE)).items]

        async def is_attached() -> bool:
            return await names() == [key.name]

        async def is_detached() -> bool:
            return await names() == []

        await at.until(is_attached)
        in_use = {"status": {"volumesInUse": [unique_name(DRIVER, HANDLE)]}}
        await at.client.patch(nodes.RESOURCE, ObjectKey("", "n1"), in_use, subresource="status")
        await at.client.delete(pods.RESOURCE, ObjectKey("default", "a"), grace_period_s=0)
        assert await names() == [key.name], "it is mounted"
        none = {"status": {"volumesInUse": None}}
        await at.client.patch(nodes.RESOURCE, ObjectKey("", "n1"), none, subresource="status")
        await at.until(is_detached)


def test_an_attachment_that_somebody_else_made_is_left_alone() -> None:
    lister = SimpleNamespace(by_index=lambda *_: [attached("n1", name="va-of-mine"), attached("n2")])
    nothing: Any = SimpleNamespace(get=lambda _: None)
    found = observe(ObjectKey("", "gone"), {attachments.RESOURCE: lister, volumes.RESOURCE: nothing})  # type: ignore[arg-type]
    assert found is not None and [each.spec.node_name for each in found.attachments] == ["n2"]


def test_pods_are_told_once_when_their_volume_has_been_attached() -> None:
    coming, made, told = Coming(), attached("n1"), []
    for is_there in (False, True, True):
        made.status.attached = is_there
        plan = reconcile(Observed(volume(), True, [pod("a", "n1")], [made], frozenset()), NOW, coming)
        told.append([(one.type, one.reason, one.message) for one in plan.actions if isinstance(one, Emit)])
    message = 'AttachVolume.Attach succeeded for volume "pv" '
    assert told == [[], [("Normal", "SuccessfulAttachVolume", message)], []]
