"""Real nodes for tests: hosts of namespaces in a data directory of their own, and bare pods put on them through CRI.

Needs root and containerd. Everything is gone afterwards: the fixture checks that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from deploy.cluster_network import ClusterNetwork
from deploy.images import build
from deploy.node_host import NodeHost
from proto.cri import api_pb2 as cri
from proto.cri import api_pb2_grpc as cri_grpc

WEB = "steersman.local/web:1"

can_run = os.geteuid() == 0 and all(shutil.which(name) for name in ("containerd", "runc", "iptables", "ip", "ctr"))


class Pods:
    """Pods on one node, straight through CRI: no API server, no kubelet."""

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self._channel = grpc.insecure_channel(
            f"unix://{host.socket}", options=[("grpc.default_authority", "localhost")]
        )
        self._runtime = cri_grpc.RuntimeServiceStub(self._channel)

    def network_ready(self) -> bool:
        conditions = self._runtime.Status(cri.StatusRequest(), timeout=10).status.conditions
        return all(condition.status for condition in conditions)

    def run(self, name: str, dns: str = "") -> tuple[str, str]:
        """Start a pod of the web image and return its container's id and its address."""
        logs = self._host.directory / "pod-logs" / name
        logs.mkdir(parents=True, exist_ok=True)
        sandbox = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default"),
            hostname=name,
            log_directory=str(logs),
            linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"/kubepods/pod{name}"),
        )
        if dns:
            sandbox.dns_config.servers.append(dns)
            sandbox.dns_config.searches.extend(["default.svc.cluster.local", "svc.cluster.local", "cluster.local"])
            sandbox.dns_config.options.append("ndots:5")
        pod = self._runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=sandbox), timeout=60).pod_sandbox_id
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="web"), image=cri.ImageSpec(image=WEB), log_path="web.log"
        )
        created = self._runtime.CreateContainer(
            cri.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=sandbox), timeout=60
        ).container_id
        self._runtime.StartContainer(cri.StartContainerRequest(container_id=created), timeout=60)
        status = self._runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=pod), timeout=10)
        return created, status.status.network.ip

    def pid(self, container: str) -> int:
        """Return one of a container's processes, as this machine numbers them; the node has numbers of its own."""
        for entry in Path("/proc").glob("[0-9]*/cgroup"):
            with contextlib.suppress(OSError):
                if container in entry.read_text():
                    return int(entry.parent.name)
        raise LookupError(f"no process of container {container}")

    def sandbox_states(self) -> list[int]:
        return [one.state for one in self._runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=10).items]

    def stop(self, container: str) -> float:
        """Stop a container with ten seconds' grace and return how long that took."""
        started = time.monotonic()
        self._runtime.StopContainer(cri.StopContainerRequest(container_id=container, timeout=10), timeout=30)
        return time.monotonic() - started

    def exec(self, container: str, *command: str) -> str:
        """Run a command and return what it printed; its errors are part of that."""
        answer = self._runtime.ExecSync(
            cri.ExecSyncRequest(container_id=container, cmd=list(command), timeout=20), timeout=30
        )
        return (answer.stdout + answer.stderr).decode()

    def get(self, container: str, url: str, seconds: int = 5) -> str:
        # Debian's busybox 1.35 crashes on `wget -T`.
        return self.exec(container, "timeout", str(seconds), "wget", "-qO-", url)

    def close(self) -> None:
        self._channel.close()


@contextmanager
def nodes(count: int) -> Iterator[list[NodeHost]]:
    """Power on `count` nodes with images, and take everything away afterwards."""
    before = traces()
    directory = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))
    network = ClusterNetwork.of(directory)
    hosts = [NodeHost(f"n{number}", number, directory / f"n{number}", network) for number in range(1, count + 1)]
    try:
        network.create()
        archives = build.archives(Path(tempfile.gettempdir()) / "steersman-test-images")
        for host in hosts:
            host.power_on()
            host.load_images(archives)
        yield hosts
    finally:
        for host in hosts:
            host.destroy()
        network.destroy()
        shutil.rmtree(directory, ignore_errors=True)
    left = [line for line in traces() - before if network.identifier[:6] in line or str(directory) in line]
    assert not left, f"left behind: {left}"


def traces() -> set[str]:
    """Return what a node could leave behind: interfaces, mounts, rules, cgroups, processes."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    found = {f"link {line.split()[1]}" for line in lines("ip", "-o", "link")}
    found |= {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    found |= {f"rule {line}" for line in lines("iptables-save", "-t", "nat")}
    found |= {f"process {line}" for line in lines("ps", "-eo", "args")}
    found |= {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("**/steersman-*")}
    return found
