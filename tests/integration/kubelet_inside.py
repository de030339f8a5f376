"""Scenarios of a kubelet over real containerd: `python -m tests.integration.kubelet_inside NAME DIR`, inside a node.

The API server is the real one over a store in memory, in the same process: what is tested here is the node.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from api.core import configmap, serviceaccount
from api.core import event as events
from api.core import node as nodes
from api.core import persistentvolume as volumes
from api.core import persistentvolumeclaim as claims
from api.core import pod as pods
from api.core import secret as secrets
from api.core.configmap import ConfigMap
from api.core.pod import Pod
from api.core.secret import Secret
from api.core.serviceaccount import ServiceAccount
from api.errors import NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.storage import csidriver
from apiserver.app import build
from apiserver.bootstrap import bootstrap
from apiserver.request import User
from apiserver.subresources import handlers
from client.verbs import Client
from component import logs
from component.clock import RealClock
from kubelet import machine
from kubelet.kubelet import Kubelet, NodeIdentity
from kubelet.runtime.cri import GrpcCri
from kubelet.server import Server
from kubelet.volumes import mounts
from proto.csi import csi_pb2
from store.local import LocalStore
from tests.certificates import Authority
from tests.csi_driver import CAN, CsiDriver
from tests.local_transport import LocalTransport

IMAGE = "steersman.local/web:1"
WAIT = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
PORT = 10250


class World:
    """An API server and this node's kubelet."""

    def __init__(self, directory: Path, group: asyncio.TaskGroup) -> None:
        self.directory = directory
        self.root = directory / "kubelet"
        self._group = group
        self._clock = RealClock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        api = self._api = build(
            LocalStore(), self._clock, random.Random(), handlers=handlers.build
        )  # UIDs must differ between scenarios
        self._group.create_task(api.run())
        await api.wait_ready()
        await bootstrap(api.registries)
        self.admin = Client(LocalTransport(api))
        account = ServiceAccount(metadata=ObjectMeta(name="default", namespace="default"))
        await self.admin.create(serviceaccount.RESOURCE, account)
        self.start_kubelet()
        await self.until_ready()

    def start_kubelet(self) -> None:
        user = User("system:node:n1", groups=("system:nodes", "system:authenticated"))
        self.kubelet = Kubelet(
            NodeIdentity(name="n1", ips=("127.0.0.1",), port=PORT, cluster_dns=("10.96.0.10",)),
            client=Client(LocalTransport(self._api, user)),
            cri=GrpcCri(f"unix://{self.directory}/containerd.sock"),
            clock=self._clock,
            rng=random.Random(),
            machine=machine.read(self.directory),
            root=self.root,
            manifests=self.directory / "manifests",
            cgroup_root="/kubepods",
            status_period_s=0.5,
        )
        self._task = self._group.create_task(self.kubelet.run())

    async def stop_kubelet(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until_ready(self, status: str = "True", within_s: float = 10) -> None:
        deadline = time.monotonic() + within_s
        while True:
            try:
                node = await self.admin.get(nodes.RESOURCE, ObjectKey("", "n1"))
                if any(c.type == "Ready" and c.status == status for c in node.status.conditions):
                    return
            except NotFound:
                pass
            assert time.monotonic() < deadline, "the node does not become ready"
            await asyncio.sleep(0.05)

    async def create(
        self, name: str, command: str = WAIT, *, container: dict[str, Any] | None = None, **spec: Any
    ) -> None:
        main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", command]} | (container or {})
        body = {"nodeName": "n1", "containers": [main], "automountServiceAccountToken": False} | spec
        made = {"metadata": {"name": name, "namespace": "default"}, "spec": body}
        await self.admin.create(pods.RESOURCE, msgspec.convert(made, Pod))

    async def until(self, name: str, claim: Callable[[Pod], bool], within_s: float = 15) -> Pod:
        deadline = time.monotonic() + within_s
        while True:
            try:
                pod = await self.admin.get(pods.RESOURCE, ObjectKey("default", name))
            except NotFound:
                pod = Pod()
            if claim(pod):
                return pod
            assert time.monotonic() < deadline, msgspec.json.encode(pod.status).decode()
            await asyncio.sleep(0.02)

    async def delete(self, name: str, within_s: float = 15) -> None:
        await self.admin.delete(pods.RESOURCE, ObjectKey("default", name))
        deadline = time.monotonic() + within_s
        while True:
            try:
                await self.admin.get(pods.RESOURCE, ObjectKey("default", name))
            except NotFound:
                return
            assert time.monotonic() < deadline, f"{name} is still there"
            await asyncio.sleep(0.02)

    async def until_logged(self, name: str, text: str, within_s: float = 10) -> None:
        """Wait until a pod has said something: the runtime writes it down a moment after it was said."""
        deadline = time.monotonic() + within_s
        while self.log(name) != text:
            assert time.monotonic() < deadline, self.log(name)
            await asyncio.sleep(0.02)

    def log(self, name: str, attempt: int = 0) -> str:
        (path,) = self.root.glob(f"logs/pods/default_{name}_*/main/{attempt}.log")
        return "\n".join(line.split(" ", 3)[3] for line in path.read_text().splitlines())


def runs(pod: Pod) -> bool:
    return pod.status.phase == "Running" and all(s.ready for s in pod.status.container_statuses)


def terminated(pod: Pod, *, last: bool = False) -> Any:
    status = pod.status.container_statuses[0]
    return (status.last_state if last else status.state).terminated


async def environment_and_volumes(w: World) -> None:
    """A pod sees its variables, its volumes, its names, and a ConfigMap's change."""
    made = ConfigMap(metadata=ObjectMeta(name="settings", namespace="default"), data={"color": "red"})
    await w.admin.create(configmap.RESOURCE, made)
    await w.create(
        "all",
        f"cat /cm/color; echo; echo $COLOR $WHO $LIMIT; id -u; touch /mem/a /sub/b && echo written; hostname; "
        f"grep -c 10.96.0.10 /etc/resolv.conf; tail -n 1 /etc/hosts; {WAIT}",
        container={
            "env": [
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
                {"name": "WHO", "value": "i-am-$(COLOR)"},
                {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            ],
            "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}},
            "volumeMounts": [
                {"name": "cm", "mountPath": "/cm"},
                {"name": "mem", "mountPath": "/mem"},
                {"name": "disk", "mountPath": "/sub", "subPath": "below"},
            ],
        },
        volumes=[
            {"name": "cm", "configMap": {"name": "settings"}},
            {"name": "mem", "emptyDir": {"medium": "Memory"}},
            {"name": "disk", "emptyDir": {}},
        ],
    )
    pod = await w.until("all", runs)
    await asyncio.sleep(0.3)
    lines = w.log("all").splitlines()
    assert lines[:7] == ["red", "red i-am-red 67108864", "0", "written", "all", "1", f"{pod.status.pod_ip}\tall"], lines
    assert pod.status.qos_class == "Guaranteed"
    assert limits_of(pod) in ([], ["67108864"])
    await w.admin.patch(configmap.RESOURCE, ObjectKey("default", "settings"), {"data": {"color": "blue"}})
    (shown,) = found(w, "pods/*/volumes/*/cm/color")
    deadline = time.monotonic() + 30
    while read(shown) != "blue":
        assert time.monotonic() < deadline, "the change did not arrive"
        await asyncio.sleep(0.02)
    await w.delete("all")
    left = leftovers(w)
    assert not left, left


def leftovers(w: World) -> list[str]:
    """Return what is left of pods on the disk, among mounts and among control groups."""
    found = [str(path) for path in [*w.root.glob("pods/*"), *w.root.glob("logs/pods/*")]]
    found += [line for line in read(Path("/proc/self/mountinfo")).splitlines() if f"{w.root}/pods" in line]
    return found + [str(path) for path in Path("/sys/fs/cgroup").glob("**/kubepods/**/pod*")]


def limits_of(pod: Pod) -> list[str]:
    """Return the memory limits of the pod's own control group, where there is cgroup v1."""
    paths = Path("/sys/fs/cgroup").glob(f"memory/kubepods/pod{pod.metadata.uid}/memory.limit_in_bytes")
    return [read(path).strip() for path in paths]


def found(w: World, pattern: str) -> list[Path]:
    return list(w.root.glob(pattern))


def read(path: Path) -> str:
    return path.read_text()


async def healing(w: World) -> None:
    """A killed container is back in two seconds; one that keeps failing backs off; messages and reasons are shown."""
    await w.create("steady")
    pod = await w.until("steady", runs)
    container = pod.status.container_statuses[0].container_id.removeprefix("containerd://")
    command = ["ctr", "-a", f"{w.directory}/containerd.sock", "-n", "k8s.io", "task", "kill", "-s", "KILL", container]
    began = time.monotonic()
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    pod = await w.until("steady", lambda p: runs(p) and p.status.container_statuses[0].restart_count == 1)
    assert time.monotonic() - began < 2
    assert terminated(pod, last=True).exit_code == 137
    await w.create("crash", "echo out of luck >/dev/termination-log; exit 3")
    pod = await w.until(
        "crash",
        lambda p: bool(
            (s := p.status.container_statuses) and (x := s[0].state.waiting) and x.reason == "CrashLoopBackOff"
        ),
    )
    assert terminated(pod, last=True).message == "out of luck\n"
    assert terminated(pod, last=True).reason == "Error"
    limits = {"resources": {"limits": {"memory": "16Mi"}}}
    await w.create("hungry", "tail /dev/zero", container=limits, restartPolicy="Never")
    pod = await w.until("hungry", lambda p: p.status.phase == "Failed")
    assert terminated(pod).reason == "OOMKilled"
    for name in ("steady", "crash", "hungry"):
        await w.delete(name)


async def restart_of_the_kubelet(w: World) -> None:
    """A kubelet that begins anew finds everything as it is, and restarts nothing."""
    await w.create("steady")
    before = await w.until("steady", runs)
    await w.stop_kubelet()
    w.start_kubelet()
    await asyncio.sleep(3)
    after = await w.until("steady", runs)
    assert after.status == before.status
    await w.stop_kubelet()
    await w.admin.delete(pods.RESOURCE, ObjectKey("default", "steady"), grace_period_s=0)
    w.start_kubelet()
    deadline = time.monotonic() + 30
    while list(w.root.glob("pods/*")) or list(w.root.glob("logs/pods/*")):
        assert time.monotonic() < deadline, "a pod that the API has no more is still there"
        await asyncio.sleep(0.05)


async def volumes_after_a_restart_of_the_kubelet(w: World) -> None:
    """What a pod's volumes show is kept up to date by a kubelet that began after the pod, and after it could not be."""
    made = ConfigMap(metadata=ObjectMeta(name="settings", namespace="default"), data={"color": "red"})
    await w.admin.create(configmap.RESOURCE, made)
    other = ConfigMap(metadata=ObjectMeta(name="other", namespace="default"), data={"size": "small"})
    await w.admin.create(configmap.RESOURCE, other)
    await w.create(
        "reader",
        container={"volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in ("other", "settings", "own")]},
        volumes=[
            {"name": "other", "configMap": {"name": "other"}},
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "own", "emptyDir": {}},
        ],
    )
    before = await w.until("reader", runs)
    (color,) = found(w, "pods/*/volumes/*/settings/color")

    async def until_shown(wanted: str, path: Path = color) -> None:
        deadline = time.monotonic() + 30
        while read(path) != wanted:
            assert time.monotonic() < deadline, f"{path} shows {read(path)} and not {wanted}"
            await asyncio.sleep(0.02)

    await w.stop_kubelet()
    await w.admin.patch(configmap.RESOURCE, ObjectKey("default", "settings"), {"data": {"color": "blue"}})
    w.start_kubelet()
    await until_shown("blue")  # Changed while no kubelet ran.
    await w.admin.patch(configmap.RESOURCE, ObjectKey("default", "settings"), {"data": {"color": "green"}})
    await until_shown("green")
    # One that is gone holds up neither the others nor itself, once it is back.
    await w.admin.delete(configmap.RESOURCE, ObjectKey("default", "other"))
    await w.admin.patch(configmap.RESOURCE, ObjectKey("default", "settings"), {"data": {"color": "black"}})
    await until_shown("black")
    (size,) = found(w, "pods/*/volumes/*/other/size")
    assert read(size) == "small", "what was shown stays"
    await w.admin.create(configmap.RESOURCE, msgspec.structs.replace(other, data={"size": "large"}))
    await until_shown("large", size)
    after = await w.until("reader", runs)
    assert after.status.container_statuses == before.status.container_statuses, "nothing was started again for it"
    await w.delete("reader")


async def probes_and_hooks(w: World) -> None:
    """Readiness by HTTP, liveness by command, a preStop hook, and init containers in order."""
    await w.create(
        "probed",
        f"touch /tmp/alive; mkdir -p /tmp/www; echo ok >/tmp/www/ready; sleep 0.5; httpd -p 8080 -h /tmp/www; {WAIT}",
        container={
            "ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 10},
            "livenessProbe": {
                "exec": {"command": ["test", "-f", "/tmp/alive"]},
                "periodSeconds": 1,
                "failureThreshold": 2,
            },
            "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping >/proc/1/fd/1"]}}},
        },
        initContainers=[
            {"name": "one", "image": IMAGE, "command": ["sh", "-c", "exit 0"]},
            {"name": "side", "image": IMAGE, "command": ["sh", "-c", WAIT], "restartPolicy": "Always"},
        ],
        terminationGracePeriodSeconds=5,
    )
    pod = await w.until("probed", runs, within_s=8)
    assert [s.ready for s in pod.status.init_container_statuses] == [True, True]
    container = pod.status.container_statuses[0].container_id.removeprefix("containerd://")
    await w.kubelet.node.cri.exec_sync(container, ["rm", "/tmp/alive"], 5)
    await w.until("probed", lambda p: runs(p) and p.status.container_statuses[0].restart_count == 1, within_s=15)
    assert "stopping" in w.log("probed")
    seen = [e.message for e in (await w.admin.list(events.RESOURCE, "default")).items if e.reason == "Unhealthy"]
    assert any(message.startswith("Liveness probe failed") for message in seen), seen
    await w.delete("probed")
    probe = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    await w.create(
        "leaving",
        "trap 'rm /tmp/ready; sleep 4; exit 0' TERM; touch /tmp/ready; while true; do sleep 0.1; done",
        container={"readinessProbe": probe},
    )
    await w.until("leaving", runs)
    await w.admin.delete(pods.RESOURCE, ObjectKey("default", "leaving"))
    pod = await w.until("leaving", lambda p: not p.status.container_statuses[0].ready, within_s=4)
    assert pod.status.container_statuses[0].state.running is not None


async def images(w: World) -> None:
    """An image that cannot be pulled is waited for with back-off, and never stands in the way of a deletion."""
    await w.create("absent", container={"image": "registry.invalid/none:1"})
    await w.create("never", container={"image": "registry.invalid/none:1", "imagePullPolicy": "Never"})

    def waits(pod: Pod) -> str:
        waiting = pod.status.container_statuses[0].state.waiting if pod.status.container_statuses else None
        return waiting.reason if waiting is not None else ""

    await w.until("never", lambda p: waits(p) == "ErrImageNeverPull")
    await w.delete("never", within_s=3)
    await w.delete("absent", within_s=3)


async def static_pods(w: World) -> None:
    """A file runs, is shown, outlives its mirror and the kubelet, and leaves nothing when it goes."""
    file = w.directory / "manifests" / "web.yaml"
    main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", f"echo begun; {WAIT}"]}
    spec = {"containers": [main], "terminationGracePeriodSeconds": 1}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": spec}
    file.write_bytes(msgspec.json.encode(body))
    first = await w.until("own-n1", runs, within_s=20)
    container = first.status.container_statuses[0].container_id
    await w.until_logged("own-n1", "begun")
    await w.admin.delete(pods.RESOURCE, ObjectKey("default", "own-n1"))
    second = await w.until("own-n1", lambda p: runs(p) and p.metadata.uid != first.metadata.uid)
    await w.stop_kubelet()
    w.start_kubelet()
    await asyncio.sleep(2)
    third = await w.until("own-n1", runs)
    assert third.metadata.uid == second.metadata.uid
    assert {p.status.container_statuses[0].container_id for p in (second, third)} == {container}
    file.unlink()
    deadline = time.monotonic() + 30
    while found(w, "pods/*") or found(w, "logs/pods/*") or (await w.admin.list(pods.RESOURCE, "default")).items:
        assert time.monotonic() < deadline, "a static pod without a file is still there"
        await asyncio.sleep(0.05)


async def storage_driver(w: World) -> None:
    """A driver registers, mounts a claim's volume for a pod, outlives the kubelet, and takes all of it off again."""
    source = w.directory / "volume"
    source.mkdir()
    (source / "file").write_text("kept\n")
    driver = CsiDriver(
        w.root / "plugins_registry",
        can=(CAN.STAGE_UNSTAGE_VOLUME,),
        mount=lambda volume, target: mounts.bind(source, Path(target)),
    )
    await driver.start()
    described = {"metadata": {"name": driver.name}, "spec": {"attachRequired": False}}
    await w.admin.create(csidriver.RESOURCE, msgspec.convert(described, csidriver.CSIDriver))
    secret = Secret(metadata=ObjectMeta(name="s", namespace="default"), data={"user": b"me"})
    await w.admin.create(secrets.RESOURCE, secret)
    key = {"name": "s", "namespace": "default"}
    csi = {"driver": driver.name, "volumeHandle": "vol-1", "nodePublishSecretRef": key}
    shared: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    claim = {"metadata": {"name": "c", "namespace": "default"}, "spec": shared | {"volumeName": "pv"}}
    claim["spec"]["resources"] = {"requests": {"storage": "1Mi"}}
    made = await w.admin.create(claims.RESOURCE, msgspec.convert(claim, claims.PersistentVolumeClaim))
    ref = {"namespace": "default", "name": "c", "uid": made.metadata.uid}
    spec = shared | {"capacity": {"storage": "1Mi"}, "csi": csi, "claimRef": ref}
    volume = {"metadata": {"name": "pv"}, "spec": spec}
    await w.admin.create(volumes.RESOURCE, msgspec.convert(volume, volumes.PersistentVolume))
    bound = {"status": {"phase": "Bound"}}
    await w.admin.patch(claims.RESOURCE, ObjectKey("default", "c"), bound, subresource="status")
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    listed = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    await w.create("user", f"cat /v/file; {WAIT}", container=mount, volumes=listed)
    await w.until("user", runs, within_s=20)
    await w.until_logged("user", "kept")
    (published,) = driver.of(csi_pb2.NodePublishVolumeRequest)
    assert dict(published.secrets) == {"user": "me"}
    await w.stop_kubelet()
    w.start_kubelet()
    await asyncio.sleep(2)
    await w.delete("user")
    assert len(driver.of(csi_pb2.NodeUnpublishVolumeRequest)) == len(driver.of(csi_pb2.NodeUnstageVolumeRequest)) == 1
    assert (source / "file").read_text() == "kept\n" and not found(w, "pods/*")
    await driver.stop()


async def server(w: World) -> None:
    """Logs over HTTPS for those who may read them, and nothing for anybody else."""
    authority = Authority(w.directory / "pki")
    identity = authority.issue("system:node:n1", "system:nodes")
    reader = authority.issue("reader", "system:kubelet-api-admins")
    listener = Server(w.kubelet.served())
    await listener.start("127.0.0.1", PORT, identity)
    await w.create("talker", f"for i in 1 2 3; do echo line $i; done; {WAIT}")
    await w.until("talker", runs)
    await asyncio.sleep(0.3)

    async def get(path: str, who: Any) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(who.ca))
        context.load_cert_chain(who.cert, who.key)
        async with aiohttp.ClientSession() as session, session.get(f"https://127.0.0.1:{PORT}{path}", ssl=context) as a:
            return a.status, await a.text()

    logs_path = "/containerLogs/default/talker/main"
    assert await get(logs_path, reader) == (200, "line 1\nline 2\nline 3\n")
    assert await get(f"{logs_path}?tailLines=1", reader) == (200, "line 3\n")
    assert (await get(f"{logs_path}?previous=true", reader))[0] == 400
    assert (await get("/containerLogs/default/talker/other", reader))[0] == 404
    assert (await get(logs_path, identity))[0] == 403
    status, body = await get("/stats/summary", reader)
    assert status == 200 and '"name":"talker"' in body
    assert (await get("/healthz", reader)) == (200, "ok")
    await listener.close()
    await w.delete("talker")


SCENARIOS = [
    environment_and_volumes,
    healing,
    restart_of_the_kubelet,
    volumes_after_a_restart_of_the_kubelet,
    probes_and_hooks,
    images,
    static_pods,
    storage_driver,
    server,
]


async def main(name: str, directory: Path) -> None:
    logs.configure("warning")
    scenario = next(s for s in SCENARIOS if s.__name__ == name)
    async with asyncio.TaskGroup() as group:
        world = World(directory, group)
        await world.start()
        await scenario(world)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
