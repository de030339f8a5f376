"""Static pods of a whole kubelet, over containers in memory and the real API server's verbs."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.core import namespace
from api.core import node as nodes
from api.core import pod as pods
from api.core.pod import Pod
from api.core.static_pods import is_static
from api.errors import Forbidden, NotFound, ServiceUnavailable
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import Client
from component.metrics import render
from kubelet.eviction import is_critical
from kubelet.manifests import read_pod
from kubelet.metrics_pages import kubelet as kubelet_metrics
from kubelet.mirror_pods import Make, Remove, mirror_of, plan
from tests.local_transport import LocalTransport
from tests.unit.kubelet.test_kubelet import NODE_USER, World, is_running, world
from tests.unit.kubelet.test_manifests import manifest, text

pytestmark = pytest.mark.looptime

KEY = ObjectKey("default", "web-n1")
NODE = nodes.Node(metadata=ObjectMeta(name="n1", uid="node-uid"))
STATIC = read_pod(text(), "/m/web.yaml", "n1", 0.0)
NEWER = read_pod(text(hostNetwork=True), "/m/web.yaml", "n1", 0.0)


def shown(static: Pod = STATIC, **metadata: str) -> Pod:
    mirror = mirror_of(static, NODE)
    mirror.metadata.uid = "mirror-uid"
    for name, value in metadata.items():
        setattr(mirror.metadata, name, value)
    return mirror


def test_a_pod_without_a_mirror_gets_one_that_its_node_owns():
    (made,) = plan({KEY: STATIC}, (), [], NODE)
    assert isinstance(made, Make)
    metadata = made.mirror.metadata
    assert metadata.annotations["kubernetes.io/config.mirror"] == STATIC.metadata.uid and not metadata.uid
    (owner,) = metadata.owner_references
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Node", "n1", "node-uid", True)
    assert plan({KEY: STATIC}, (), [shown()], NODE) == []


def test_no_mirror_is_made_before_the_node_is_known_or_while_it_goes():
    assert plan({KEY: STATIC}, (), [], None) == []
    going = nodes.Node(metadata=ObjectMeta(name="n1", uid="u", deletion_timestamp="2020-01-01T00:00:00Z"))
    assert plan({KEY: STATIC}, (), [], going) == []


def test_an_old_a_deleted_and_a_leftover_mirror_are_removed():
    gone = [Remove(KEY, "mirror-uid")]
    assert plan({KEY: NEWER}, (), [shown()], NODE) == gone
    assert plan({KEY: STATIC}, (), [shown(deletion_timestamp="2020-01-01T00:00:00Z")], NODE) == gone
    assert plan({}, (), [shown()], NODE) == gone


def test_a_mirror_stays_until_its_pod_has_ended():
    assert plan({}, {KEY}, [shown()], NODE) == []


def test_annotations_make_no_static_pod_of_one_from_the_api_server():
    forged = msgspec.structs.replace(STATIC, metadata=msgspec.structs.replace(STATIC.metadata, uid=str(uuid.uuid4())))
    assert is_static(STATIC) and not is_static(forged) and not is_critical(forged)


def test_an_ordinary_pod_of_that_name_is_left_alone():
    other = Pod(metadata=ObjectMeta(name=KEY.name, namespace=KEY.namespace, uid="u"))
    assert plan({KEY: STATIC}, (), [other], NODE) == []
    assert plan({}, (), [other], NODE) == []


async def restarted(w: World, manifests: Path) -> None:
    await w.crash_kubelet()
    w.start_kubelet(manifests)


async def mirror(w: World) -> Pod | None:
    try:
        return await w.admin.get(pods.RESOURCE, KEY)
    except NotFound:
        return None


async def until_mirrored(w: World, uid: str = "", within_s: float = 30) -> Pod:
    """Return the mirror once it runs; with `uid`, a mirror other than that one."""
    async with asyncio.timeout(within_s):
        while True:
            found = await mirror(w)
            if found is not None and found.metadata.uid != uid and is_running(found):
                return found
            await asyncio.sleep(0.1)


async def until_unmirrored(w: World) -> None:
    async with asyncio.timeout(60):
        while True:
            if await mirror(w) is None:
                return
            await asyncio.sleep(0.1)


async def running(w: World) -> list[str]:
    return sorted(c.id for c in await w.cri.list_containers() if c.state == 1)


async def test_a_file_runs_is_shown_and_goes(tmp_path: Path):
    async with world() as w:
        await restarted(w, tmp_path)
        (tmp_path / "web.yaml").write_bytes(text())
        found = await until_mirrored(w)
        assert found.status.start_time and found.status.pod_ip
        first = await running(w)
        (tmp_path / "web.yaml").unlink()
        await until_unmirrored(w)
        assert len(first) == 1 and await running(w) == []


async def test_a_mirror_that_is_deleted_comes_back_and_its_container_goes_on(tmp_path: Path):
    async with world() as w:
        (tmp_path / "web.yaml").write_bytes(text())
        await restarted(w, tmp_path)
        found = await until_mirrored(w)
        before = await running(w)
        for grace_s in (None, 0):
            await w.admin.delete(pods.RESOURCE, KEY, grace_period_s=grace_s)
            found = await until_mirrored(w, found.metadata.uid)
        assert await running(w) == before


async def test_a_changed_file_replaces_the_pod(tmp_path: Path):
    async with world() as w:
        (tmp_path / "web.yaml").write_bytes(text())
        await restarted(w, tmp_path)
        first = await until_mirrored(w)
        (tmp_path / "web.yaml").write_bytes(text(hostNetwork=True))
        second = await until_mirrored(w, first.metadata.uid, within_s=90)
        assert second.spec.host_network and len(await running(w)) == 1


async def test_a_file_that_comes_back_as_it_was_is_run_again(tmp_path: Path):
    async with world() as w:
        file = tmp_path / "web.yaml"
        file.write_bytes(text(restartPolicy="Never"))
        await restarted(w, tmp_path)
        first = await until_mirrored(w)
        (container,) = await running(w)
        w.cri.exit(container, 0)
        await asyncio.sleep(3)
        assert (shown_now := await mirror(w)) is not None and shown_now.status.phase == "Succeeded"
        file.unlink()
        await asyncio.sleep(1.01)
        file.write_bytes(text(restartPolicy="Never"))
        second = await until_mirrored(w)
        assert second.metadata.annotations == first.metadata.annotations | {
            "kubernetes.io/config.seen": second.metadata.annotations["kubernetes.io/config.seen"]
        }
        assert len(await running(w)) == 1


async def test_a_restarted_kubelet_keeps_container_and_mirror(tmp_path: Path):
    async with world() as w:
        (tmp_path / "web.yaml").write_bytes(text())
        await restarted(w, tmp_path)
        first, before = await until_mirrored(w), await running(w)
        await restarted(w, tmp_path)
        await asyncio.sleep(60)
        again = await until_mirrored(w)
        assert again.metadata.uid == first.metadata.uid and await running(w) == before
        assert again.status.start_time == first.status.start_time


class Cut:
    """A way to the API server that is cut until it is mended."""

    def __init__(self, transport: LocalTransport) -> None:
        self._transport = transport
        self.is_cut = True

    def __getattr__(self, name: str) -> Any:
        async def refused(*args: Any, **kwargs: Any) -> Any:
            raise ServiceUnavailable("cut")

        async def refused_watch(*args: Any, **kwargs: Any) -> Any:
            raise ServiceUnavailable("cut")
            yield

        if self.is_cut:
            return refused_watch if name == "watch" else refused
        return getattr(self._transport, name)


async def test_static_pods_run_without_an_api_server_and_are_shown_when_it_is_there(tmp_path: Path):
    async with world() as w:
        (tmp_path / "web.yaml").write_bytes(text())
        await w.crash_kubelet()
        cut = Cut(LocalTransport(w.api, NODE_USER))
        w.start_kubelet(tmp_path, cut)
        await asyncio.sleep(5)
        before = await running(w)
        assert len(before) == 1 and await mirror(w) is None
        cut.is_cut = False
        await until_mirrored(w, within_s=120)
        assert await running(w) == before


async def test_a_mirror_waits_for_its_namespace(tmp_path: Path):
    async with world() as w:
        value = manifest()
        value["metadata"]["namespace"] = "later"
        (tmp_path / "web.yaml").write_text(json.dumps(value))
        await restarted(w, tmp_path)
        await asyncio.sleep(5)
        assert len(await running(w)) == 1
        await w.admin.create(namespace.RESOURCE, namespace.Namespace(metadata=ObjectMeta(name="later")))
        await asyncio.sleep(60)
        found = await w.admin.get(pods.RESOURCE, ObjectKey("later", KEY.name))
        assert is_running(found)


async def test_a_file_removed_while_the_kubelet_was_down_leaves_nothing(tmp_path: Path):
    async with world() as w:
        (tmp_path / "web.yaml").write_bytes(text())
        await restarted(w, tmp_path)
        await until_mirrored(w)
        await w.crash_kubelet()
        (tmp_path / "web.yaml").unlink()
        w.start_kubelet(tmp_path)
        await until_unmirrored(w)
        await asyncio.sleep(60)
        assert await running(w) == []


async def test_the_server_and_the_metrics_know_a_static_pod_by_its_own_uid(tmp_path: Path):
    async with world() as w:
        (tmp_path / "web.yaml").write_bytes(text())
        await w.crash_kubelet()
        kubelet = w.start_kubelet(tmp_path)
        found = await until_mirrored(w)
        (listed,) = kubelet.served().pods()
        assert listed.metadata.uid == found.metadata.annotations["kubernetes.io/config.hash"] != found.metadata.uid
        assert listed.status.phase == "Running"
        pods = [(listed, kubelet.pleg.get(listed.metadata.uid))]
        page = render(kubelet_metrics("n1", pods, [])).decode()
        assert 'kubelet_desired_pods{static=""} 0' in page and 'kubelet_desired_pods{static="true"} 1' in page


async def test_a_node_shows_no_pod_of_another_owner():
    async with world() as w:
        stray = mirror_of(STATIC, NODE)
        stray.metadata.owner_references = []
        with pytest.raises(Forbidden, match="an owner reference set to itself"):
            await Client(LocalTransport(w.api, NODE_USER)).create(pods.RESOURCE, stray)
