"""Storage drivers over real sockets: registered, asked, and let go."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.core import node as nodes
from api.core import secret as secrets
from api.core import serviceaccount
from api.core.persistentvolume import PersistentVolume
from api.core.pod import Pod
from api.core.secret import Secret
from api.core.serviceaccount import ServiceAccount
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.storage import csidriver, csinode, volumeattachment
from api.storage.csidriver import CSIDriver
from api.storage.volumeattachment import VolumeAttachment
from apiserver.app import build
from client.verbs import Client
from component.clock import RealClock
from kubelet.csi import registry as registries
from kubelet.csi import volumes as csi
from kubelet.csi.driver import CsiError
from kubelet.csi.registry import Registry
from kubelet.csi.volumes import CsiVolumes
from kubelet.paths import Paths
from kubelet.references import References
from kubelet.volumes.claims import NotMounted
from kubelet.volumes.tokens import TokenSource
from proto.csi import csi_pb2 as pb
from tests.csi_driver import CAN, CsiDriver
from tests.first_start import started_store
from tests.local_transport import LocalTransport

DRIVER = "fake.example.com"
Condition = Callable[[], Any]


def volume(**source: Any) -> PersistentVolume:
    body = {"driver": DRIVER, "volumeHandle": "vol-1", "fsType": "ext4", "volumeAttributes": {"a": "b"}, **source}
    spec = {"csi": body, "accessModes": ["ReadWriteOnce"], "mountOptions": ["noatime"]}
    return msgspec.convert({"metadata": {"name": "pv-1"}, "spec": spec}, PersistentVolume)


def pod(name: str = "web") -> Pod:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return msgspec.convert({"metadata": metadata, "spec": {"serviceAccountName": "default"}}, Pod)


def left(root: Path) -> list[Path]:
    """Return what is left of volumes below a kubelet's directory."""
    return [*root.glob("pods/*/volumes/kubernetes.io~csi/*"), *root.glob("plugins/kubernetes.io/csi/*/*")]


class World:
    """An API server, a node's registry and volumes."""

    def __init__(self, api: Any, root: Path, node: nodes.Node) -> None:
        self.client = Client(LocalTransport(api))
        self.sockets = root / "s"
        self.sockets.mkdir()
        clock = RealClock()
        self.node = node
        self.registry = Registry(self.client, clock, self.sockets, lambda: self.node)
        references = References(self.client, clock, random.Random(1), lambda uid: None)
        self.paths = Paths(root / "k")
        tokens = TokenSource(self.client, clock)
        self.volumes = CsiVolumes(self.client, self.paths, self.registry, references, tokens, "n1", clock)

    async def csinode(self) -> Any:
        return await self.client.get(csinode.RESOURCE, ObjectKey("", "n1"))

    async def describe(self, **spec: Any) -> None:
        body = {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False} | spec}
        await self.client.create(csidriver.RESOURCE, msgspec.convert(body, CSIDriver))


@asynccontextmanager
async def world(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[World, CsiDriver]]:
    api = build(started_store(), RealClock(), random.Random(1))
    running = asyncio.ensure_future(api.run())
    await api.wait_ready()
    admin = Client(LocalTransport(api))
    node = await admin.create(nodes.RESOURCE, nodes.Node(metadata=ObjectMeta(name="n1")))
    account = ServiceAccount(metadata=ObjectMeta(name="default", namespace="default"))
    await admin.create(serviceaccount.RESOURCE, account)
    made = World(api, tmp_path, node)
    driver = CsiDriver(made.sockets, **options)
    await driver.start()
    try:
        yield made, driver
    finally:
        await driver.stop()
        await made.registry.look()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def mounted(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """What is mounted: published and not yet unmounted."""
    found: set[Path] = set()
    monkeypatch.setattr(csi.mounts, "is_mount", lambda path: path in found)
    monkeypatch.setattr(csi.mounts, "unmount", found.discard)
    return found


async def test_a_driver_is_registered_told_of_and_let_go(tmp_path: Path):
    async with world(tmp_path) as (w, driver):
        await w.registry.look()
        assert [each.plugin_registered for each in driver.registered] == [True]
        (entry,) = (await w.csinode()).spec.drivers
        assert (entry.name, entry.node_id, entry.topology_keys) == (DRIVER, "node-one", ["topology.example.com/rack"])
        assert entry.allocatable is not None and entry.allocatable.count == 7
        node = await w.client.get(nodes.RESOURCE, ObjectKey("", "n1"))
        assert node.metadata.labels["topology.example.com/rack"] == "r1"
        assert json.loads(node.metadata.annotations[registries.NODE_IDS]) == {DRIVER: "node-one"}
        await w.registry.look()
        assert len(driver.registered) == 1, "it is asked once"
        await driver.stop()
        await w.registry.look()
        assert (await w.csinode()).spec.drivers == [] and w.registry.find(DRIVER) is None
        node = await w.client.get(nodes.RESOURCE, ObjectKey("", "n1"))
        assert registries.NODE_IDS not in node.metadata.annotations


async def test_a_node_that_was_made_anew_is_told_of_its_drivers_again(tmp_path: Path):
    async with world(tmp_path) as (w, driver):
        await w.registry.look()
        await w.client.delete(nodes.RESOURCE, ObjectKey("", "n1"))
        w.node = await w.client.create(nodes.RESOURCE, nodes.Node(metadata=ObjectMeta(name="n1")))
        await w.registry.look()
        assert [each.name for each in (await w.csinode()).spec.drivers] == [DRIVER] and len(driver.registered) == 2


async def test_a_node_without_drivers_has_a_csinode(tmp_path: Path):
    async with world(tmp_path) as (w, driver):
        await driver.stop()
        await w.registry.look()
        found = await w.csinode()
        assert found.spec.drivers == [] and found.metadata.owner_references[0].uid == w.node.metadata.uid


async def test_a_note_on_the_node_that_says_something_else_ends_nothing(tmp_path: Path):
    async with world(tmp_path) as (w, driver):
        marks = {"annotations": {registries.NODE_IDS: "[broken"}}
        await w.client.patch(nodes.RESOURCE, ObjectKey("", "n1"), {"metadata": marks})
        await w.registry.look()
        (told,) = driver.registered
        assert not told.plugin_registered and "is not an object" in told.error


async def test_a_driver_of_another_interface_is_told_why_not(tmp_path: Path):
    async with world(tmp_path, versions=("0.3.0",)) as (w, driver):
        await w.registry.look()
        (told,) = driver.registered
        assert not told.plugin_registered and "1.x" in told.error
        assert w.registry.find(DRIVER) is None


async def test_a_volume_is_staged_once_published_for_each_pod_and_all_is_undone(tmp_path: Path, mounted: set[Path]):
    async with world(tmp_path, can=(CAN.STAGE_UNSTAGE_VOLUME,)) as (w, driver):
        await w.registry.look()
        await w.describe(podInfoOnMount=True, fsGroupPolicy="None")
        wanted = csi.of_claim(volume(), is_read_only=False)
        for name in ("one", "two"):
            mounted.add(await w.volumes.set_up(pod(name), wanted, 5))
        staged, published = driver.of(pb.NodeStageVolumeRequest), driver.of(pb.NodePublishVolumeRequest)
        staging = staged[0].staging_target_path
        assert staging.endswith("/globalmount") and published[1].staging_target_path == staging
        first = published[0]
        assert first.target_path == str(w.paths.pod("uid-one") / "volumes/kubernetes.io~csi/pv-1/mount")
        assert (first.volume_id, first.readonly, dict(first.volume_context)["a"]) == ("vol-1", False, "b")
        assert first.volume_context["csi.storage.k8s.io/pod.name"] == "one"
        assert first.volume_context["csi.storage.k8s.io/ephemeral"] == "false"
        capability = first.volume_capability
        assert (capability.mount.fs_type, list(capability.mount.mount_flags)) == ("ext4", ["noatime"])
        assert capability.access_mode.mode == pb.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
        assert w.volumes.in_use() == [f"kubernetes.io/csi/{DRIVER}^vol-1"]
        await w.volumes.set_up(pod("one"), wanted, 5)
        assert len(driver.of(pb.NodePublishVolumeRequest)) == 2, "what is mounted is left alone"
        await w.volumes.release("uid-one")
        assert not driver.of(pb.NodeUnstageVolumeRequest), "another pod uses it"
        await w.volumes.release("uid-two")
        assert [each.staging_target_path for each in driver.of(pb.NodeUnstageVolumeRequest)] == [staging]
        assert len(driver.of(pb.NodeUnpublishVolumeRequest)) == 2 and not mounted
        assert not left(w.paths.root)
        await w.volumes.release("uid-two")


async def test_a_kubelet_that_begins_anew_undoes_what_its_predecessor_did(tmp_path: Path, mounted: set[Path]):
    async with world(tmp_path) as (w, driver):
        await w.registry.look()
        await w.describe()
        driver.refusal = "no such volume"
        with pytest.raises(CsiError, match="rpc error: code = InvalidArgument desc = no such volume"):
            await w.volumes.set_up(pod(), csi.of_claim(volume(), is_read_only=True), None)
        again = CsiVolumes(w.client, w.paths, w.registry, w.volumes._references, w.volumes._tokens, "n1", RealClock())
        await again.release("uid-web")
        assert len(driver.of(pb.NodeUnpublishVolumeRequest)) == 1
        assert driver.of(pb.NodePublishVolumeRequest)[0].readonly


async def test_a_driver_that_wants_it_is_asked_for_a_mounted_volume_again(tmp_path: Path, mounted: set[Path]):
    async with world(tmp_path) as (w, driver):
        await w.registry.look()
        await w.describe(fsGroupPolicy="None", requiresRepublish=True)
        wanted = csi.of_claim(volume(), is_read_only=False)
        assert w.volumes.renew_at_s("uid-web") is None
        began = time.time()
        mounted.add(await w.volumes.set_up(pod(), wanted, None))
        again_at_s = w.volumes.renew_at_s("uid-web")
        assert again_at_s is not None and 0 <= again_at_s - began - csi.REPUBLISH_S < 30
        await w.volumes.set_up(pod(), wanted, None)
        assert len(driver.of(pb.NodePublishVolumeRequest)) == 2
        await w.volumes.release("uid-web")
        assert w.volumes.renew_at_s("uid-web") is None


async def test_a_volume_that_could_not_be_unstaged_is_in_use_until_it_is(tmp_path: Path, mounted: set[Path]):
    async with world(tmp_path, can=(CAN.STAGE_UNSTAGE_VOLUME,)) as (w, driver):
        await w.registry.look()
        await w.describe(fsGroupPolicy="None")
        mounted.add(await w.volumes.set_up(pod(), csi.of_claim(volume(), is_read_only=False), None))
        driver.keeps = True
        with pytest.raises(CsiError, match="busy"):
            await w.volumes.release("uid-web")
        assert w.volumes.in_use() == [f"kubernetes.io/csi/{DRIVER}^vol-1"]
        driver.keeps = False
        again = CsiVolumes(w.client, w.paths, w.registry, w.volumes._references, w.volumes._tokens, "n1", RealClock())
        await again.release("uid-web")
        assert len(driver.of(pb.NodeUnstageVolumeRequest)) == 2
        assert again.in_use() == [] and not left(w.paths.root)


async def test_a_note_that_a_power_cut_emptied_stands_in_nobodys_way(tmp_path: Path, mounted: set[Path]):
    async with world(tmp_path) as (w, _):
        await w.registry.look()
        await w.describe(fsGroupPolicy="None")
        mounted.add(target := await w.volumes.set_up(pod(), csi.of_claim(volume(), is_read_only=False), None))
        (target.parent / "vol_data.json").write_text("")
        assert w.volumes.in_use() == []
        await w.volumes.release("uid-web")
        assert not mounted and not left(w.paths.root)


async def test_a_driver_that_is_away_keeps_no_other_from_its_volumes(tmp_path: Path, mounted: set[Path]):
    async with world(tmp_path) as (w, driver):
        await w.registry.look()
        await w.describe(fsGroupPolicy="None")
        mounted.add(first := await w.volumes.set_up(pod(), csi.of_claim(volume(), is_read_only=False), None))
        other = first.parent.with_name("a-pv")
        other.mkdir()
        note = {"driverName": "away.example.com", "volumeHandle": "x", "stagingPath": ""}
        (other / "vol_data.json").write_text(json.dumps(note))
        with pytest.raises(CsiError, match="away.example.com not found"):
            await w.volumes.release("uid-web")
        assert len(driver.of(pb.NodeUnpublishVolumeRequest)) == 1 and not first.parent.exists()


async def test_secrets_and_tokens_reach_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with world(tmp_path, can=(CAN.STAGE_UNSTAGE_VOLUME,)) as (w, driver):
        await w.registry.look()
        await w.describe(tokenRequests=[{"audience": "vault"}])
        key = {"name": "s", "namespace": "default"}
        source = volume(nodeStageSecretRef=key, nodePublishSecretRef=key)
        with pytest.raises(CsiError, match='secrets "s" not found'):
            await w.volumes.set_up(pod(), csi.of_claim(source, is_read_only=False), None)
        made = Secret(metadata=ObjectMeta(name="s", namespace="default"), data={"user": b"me"})
        await w.client.create(secrets.RESOURCE, made)

        async def issue(of: Pod, audience: str, seconds: int | None) -> tuple[str, str]:
            return f"token of {of.metadata.name} for {audience}", "2030-01-01T00:00:00Z"

        monkeypatch.setattr(w.volumes._tokens, "issue", issue)
        await w.volumes.set_up(pod(), csi.of_claim(source, is_read_only=False), None)
        (published,) = driver.of(pb.NodePublishVolumeRequest)
        assert dict(published.secrets) == dict(driver.of(pb.NodeStageVolumeRequest)[-1].secrets) == {"user": "me"}
        tokens = json.loads(published.volume_context["csi.storage.k8s.io/serviceAccount.tokens"])
        assert tokens["vault"]["token"] == "token of web for vault"


async def test_a_volume_that_must_be_attached_waits_for_it(tmp_path: Path):
    async with world(tmp_path) as (w, driver):
        await w.registry.look()
        wanted = csi.of_claim(volume(), is_read_only=False)
        with pytest.raises(NotMounted, match="there is no VolumeAttachment csi-"):
            await w.volumes.set_up(pod(), wanted, None)
        name = csi.attachment_name(wanted.driver, wanted.handle, "n1")
        spec = {"attacher": DRIVER, "nodeName": "n1", "source": {"persistentVolumeName": "pv-1"}}
        body = msgspec.convert({"metadata": {"name": name}, "spec": spec}, VolumeAttachment)
        await w.client.create(volumeattachment.RESOURCE, body)
        with pytest.raises(NotMounted, match="the attacher has not said so yet"):
            await w.volumes.set_up(pod(), wanted, None)
        status = {"status": {"attached": True, "attachmentMetadata": {"device": "/dev/x"}}}
        await w.client.patch(volumeattachment.RESOURCE, ObjectKey("", name), status, subresource="status")
        await w.volumes.set_up(pod(), wanted, None)
        assert dict(driver.of(pb.NodePublishVolumeRequest)[0].publish_context) == {"device": "/dev/x"}


async def test_a_volume_of_the_pod_alone_needs_a_driver_that_makes_such(tmp_path: Path):
    async with world(tmp_path) as (w, driver):
        with pytest.raises(NotMounted, match=f"driver name {DRIVER} not found in the list of registered CSI drivers"):
            await w.volumes.set_up(pod(), csi.of_claim(volume(), is_read_only=False), None)
        await w.registry.look()
        await w.describe(volumeLifecycleModes=["Ephemeral"], podInfoOnMount=True)
        with pytest.raises(NotMounted, match="volume mode Persistent not supported by driver"):
            await w.volumes.set_up(pod(), csi.of_claim(volume(), is_read_only=False), None)
        source = msgspec.convert({"driver": DRIVER, "readOnly": True}, csi.CSIVolumeSource)
        wanted = csi.of_pod(pod(), "scratch", source)
        await w.volumes.set_up(pod(), wanted, None)
        (published,) = driver.of(pb.NodePublishVolumeRequest)
        assert published.volume_id == wanted.handle and published.volume_id.startswith("csi-") and published.readonly
        assert published.volume_context["csi.storage.k8s.io/ephemeral"] == "true"


def test_groups_are_given_as_the_driver_says():
    def applies(policy: str | None, **more: Any) -> bool:
        found = CSIDriver()
        found.spec.fs_group_policy = policy
        return csi.group_applies(found, csi.of_claim(volume(**more), is_read_only=False))

    assert applies(None) and applies("ReadWriteOnceWithFSType") and not applies("ReadWriteOnceWithFSType", fsType="")
    assert applies("File", fsType="") and not applies("None") and not applies("File", readOnly=True)


def test_access_modes_are_told_exactly_where_the_driver_can_tell_them_apart():
    can, mode = frozenset({int(CAN.SINGLE_NODE_MULTI_WRITER)}), pb.VolumeCapability.AccessMode
    assert csi.access_mode("ReadWriteOncePod", can) == mode.SINGLE_NODE_SINGLE_WRITER
    assert csi.access_mode("ReadWriteOncePod", frozenset()) == mode.SINGLE_NODE_WRITER
    assert csi.access_mode("ReadWriteOnce", can) == mode.SINGLE_NODE_MULTI_WRITER
    assert csi.access_mode("ReadWriteMany", can) == mode.MULTI_NODE_MULTI_WRITER
    assert csi.access_mode("ReadOnlyMany", can) == mode.MULTI_NODE_READER_ONLY
