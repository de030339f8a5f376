"""One node of a cluster on one machine: a host made of kernel namespaces, with its own containerd.

A `NodeHost` has pid, mount, network, UTS, IPC and cgroup namespaces of its own and a cgroup subtree in every hierarchy;
to what runs inside it looks like a machine. `power_on` boots it in half a second; `power_off` kills its first process,
which is a clean power cut: the kernel takes every process, mount and interface with it, and what the node had written
under its directory is what it finds at the next power-on.

All state is on disk or in the kernel (`boot.json`: pid and start time of the first process), so any later
process can go on where a killed one stopped. Calls block for up to some seconds; call them from a thread.

    <dir>/boot.json, boot-plan.json   the running boot, and what it was told
    <dir>/console.log, containerd.log
    <dir>/containerd.sock             CRI, reachable from inside and outside
    <dir>/containerd/                 containerd's root and its config.toml
    <dir>/cni/, <dir>/ipam/           written by the node's kubeproxy
    <dir>/etc/                        this node's hosts, hostname, machine-id, resolv.conf
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from deploy import cgroups, containerd
from deploy.cluster_network import ClusterNetwork, NetworkError, run
from deploy.images.archive import read_references
from deploy.images.pause import REFERENCE as PAUSE_IMAGE
from deploy.preflight import CNI_DIRECTORIES, cni_directory

log = logging.getLogger(__name__)

SOCKET_PATH_BYTES_MAX = 100
"""A Unix socket's address holds 108 bytes; containerd appends `.ttrpc` to ours."""
BOOT_TIMEOUT_S = 15.0
CONTAINERD_TIMEOUT_S = 30.0
OFF_TIMEOUT_S = 10.0

_OWN = ("var/lib/cni", "var/log/pods", "var/log/containers")
"""Directories of the machine that each node has its own of."""

SYSCTLS = (
    ("/proc/sys/net/ipv4/ip_forward", "1"),
    # A reply may come in where the question did not go out: pods' packets cross bridge and host routes.
    ("/proc/sys/net/ipv4/conf/all/rp_filter", "0"),
    ("/proc/sys/net/ipv4/conf/default/rp_filter", "0"),
    # A NodePort on localhost is translated to a pod's address.
    ("/proc/sys/net/ipv4/conf/all/route_localnet", "1"),
    # Without it a pod that reaches itself or a neighbour through a Service gets its answer untranslated.
    ("/proc/sys/net/bridge/bridge-nf-call-iptables", "1"),
)

ENTER = 'for d in $2; do echo 0 >"$d/cgroup.procs" || exit 75; done; p=$1; shift 2; exec nsenter -t "$p" --all -- "$@"'
"""Takes the first process's pid, the node's cgroups, and a command: joins the cgroups, then the namespaces."""


class NodeError(Exception):
    """A node cannot be powered on or used; the message says what to do."""


class NodeHost:
    """One node; safe to make again at any time for the same directory."""

    def __init__(
        self,
        name: str,
        index: int,
        directory: Path,
        network: ClusterNetwork,
        *,
        cluster_cidr: str = "10.244.0.0/16",
        service_cidr: str = "10.96.0.0/16",
        nameservers: Sequence[str] = (),
    ) -> None:
        """Name the node; touches nothing yet.

        Args:
            name: its host name.
            index: its number in the cluster, from 1; gives its address.
            directory: where it keeps everything, absolute, and not below /run.
            network: the wire it is plugged into; must have been created before `power_on`.
            cluster_cidr: where pods' addresses come from; packets to it never leave by the default route.
            service_cidr: where Services' addresses come from; likewise.
            nameservers: what its resolv.conf names; empty for the machine's own.
        """
        self.name, self.index, self.directory, self.network = name, index, directory, network
        self._cidrs = (cluster_cidr, service_cidr)
        self._nameservers = list(nameservers)
        self._cgroup = f"steersman-{network.identifier}/{name}"
        self._record = directory / "boot.json"

    @property
    def address(self) -> IPv4Address:
        """The node's own address."""
        return self.network.node_address(self.index)

    @property
    def socket(self) -> Path:
        """Where containerd listens for CRI, the same path inside and outside."""
        return self.directory / "containerd.sock"

    @property
    def cni_conf_dir(self) -> Path:
        """Where the node's containerd looks for its CNI configuration."""
        return self.directory / "cni"

    # -- power ---------------------------------------------------------------------------------------------------

    def pid(self) -> int | None:
        """Return the first process's pid, or None when the node is off."""
        try:
            record = json.loads(self._record.read_text())
            fields = Path(f"/proc/{record['pid']}/stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        is_same = int(fields[19]) == record["start"] and fields[0] not in "ZX"
        return int(record["pid"]) if is_same else None

    def is_on(self) -> bool:
        """Whether the node runs."""
        return self.pid() is not None

    def power_on(self) -> None:
        """Boot the node, plug it in, and wait until its containerd answers; completes a boot that was cut short.

        Raises:
            NodeError: it does not come up; the message says what is missing or where to read why.
        """
        started = time.monotonic()
        self._check()
        try:
            if not self.is_on():
                self._boot()
            self._plug_in()
        except NetworkError as error:
            raise NodeError(f"node {self.name}: {error}") from error
        self._wait_for_containerd()
        log.info("node is on", extra={"node": self.name, "took_s": round(time.monotonic() - started, 2)})

    def comes_on(self, within_s: float) -> bool:
        """Wait until the node, which somebody else powers on, runs and its containerd answers; whether it does."""
        give_up_at = time.monotonic() + within_s
        while time.monotonic() < give_up_at:
            with contextlib.suppress(NodeError):
                if self.is_on():
                    self._ctr("version")
                    return True
            time.sleep(0.05)
        return False

    def power_off(self) -> None:
        """Cut the power: every process of the node is killed, its interfaces and mounts go. Safe when it is off.

        Raises:
            NodeError: the kernel did not let go of it in time.
        """
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            give_up_at = time.monotonic() + OFF_TIMEOUT_S
            while self.is_on():
                if time.monotonic() > give_up_at:
                    raise NodeError(f"node {self.name}: process {pid} was killed and is still there")
                time.sleep(0.01)
        subprocess.run(["ip", "link", "delete", self.network.veth(self.index)], capture_output=True, check=False)
        self._clear_cgroups()
        self._record.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def destroy(self) -> None:
        """Power the node off for good and remove its traces from the kernel; its directory stays."""
        self.power_off()
        cgroups.remove_level_above(self._cgroup)

    # -- use -----------------------------------------------------------------------------------------------------

    def argv(self, command: Sequence[str]) -> list[str]:
        """Return what to run here so that `command` runs in the node, as a child of the program returned.

        Raises:
            NodeError: the node is off.
        """
        pid = self.pid()
        if pid is None:
            raise NodeError(f"node {self.name} is off")
        directories = json.loads(self._record.read_text())["cgroups"]
        return ["/bin/sh", "-c", ENTER, "enter-node", str(pid), " ".join(directories), *command]

    def run(self, command: Sequence[str], *, text: str | None = None, timeout_s: float = 60.0) -> str:
        """Run `command` in the node and return its output.

        Raises:
            NodeError: the node is off, or the command failed.
        """
        done = subprocess.run(
            self.argv(command), input=text, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode != 0:
            raise NodeError(f"node {self.name}: `{' '.join(command)}` failed: {done.stderr.strip()}")
        return done.stdout

    def write_resolv(self, nameservers: Sequence[str], search: Sequence[str] = ()) -> None:
        """Write the node's resolv.conf; at once in force in a running node."""
        lines = [f"nameserver {address}" for address in nameservers]
        if search:
            lines.append(f"search {' '.join(search)}")
        # In place: the running node has the very file mounted.
        (self.directory / "etc").mkdir(parents=True, exist_ok=True)
        (self.directory / "etc" / "resolv.conf").write_text("".join(line + "\n" for line in lines))

    def load_images(self, archives: Iterable[Path]) -> list[str]:
        """Import OCI image archives that the node does not have yet, and return the names of those imported.

        Raises:
            NodeError: the node is off, or an archive is not one.
        """
        present = self._images()
        imported: list[str] = []
        for archive in archives:
            references = read_references(archive)
            if references and all(present.get(name) == digest for name, digest in references.items()):
                continue
            self._ctr("images", "import", str(archive))
            imported += references or [archive.name]
        return imported

    def forget_images(self, of: str, *, but: str) -> None:
        """Remove every image called `of`, whatever its tag, but the one named `but`; containers that run go on.

        Raises:
            NodeError: the node is off.
        """
        for name in self._images():
            if name.startswith(f"{of}:") and name != but:
                self._ctr("images", "remove", name)

    # -- steps ---------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if os.geteuid() != 0:
            raise NodeError("nodes with containers need root: run it with sudo, or take --runtime hollow")
        if not self.directory.is_absolute() or self.directory.is_relative_to("/run"):
            raise NodeError(f"{self.directory}: a node's directory is an absolute path outside /run")
        if len(os.fsencode(self.socket)) > SOCKET_PATH_BYTES_MAX:
            raise NodeError(f"{self.directory} is too long for a socket's path: choose a shorter --data-dir")
        if cni_directory() is None:
            places = " and ".join(str(place) for place in CNI_DIRECTORIES)
            raise NodeError(f"CNI plugins are missing in {places}: apt-get install containernetworking-plugins")

    def _boot(self) -> None:
        for part in ("containerd", "cni", "ipam", "etc", "manifests", *_OWN):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        # Bound over in the node only, so that CNI's cache and the logs of one node are not another's.
        for part in _OWN:
            Path("/", part).mkdir(parents=True, exist_ok=True)
        self._clear_cgroups()
        plan_path = self.directory / "boot-plan.json"
        plan_path.write_text(json.dumps(self._boot_plan(), indent=1))
        with (self.directory / "console.log").open("ab") as console:
            try:
                done = subprocess.run(
                    [sys.executable, "-S", "-I", str(Path(__file__).with_name("node_init.py")), str(plan_path)],
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    cwd="/",
                    timeout=BOOT_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise NodeError(f"node {self.name} did not boot: see {self.directory}/console.log") from None
        if done.returncode != 0:
            raise NodeError(f"node {self.name} did not boot: see the end of {self.directory}/console.log")

    def _boot_plan(self) -> dict[str, Any]:
        mounted = cgroups.hierarchies()
        leaves = cgroups.create(mounted, self._cgroup)
        own = [str(hierarchy.mountpoint / self._cgroup) for hierarchy in mounted]
        is_v2_only = all(hierarchy.version == 2 for hierarchy in mounted)
        mounts = [] if is_v2_only else [("tmpfs", "/sys/fs/cgroup", "mode=755")]
        mounts += [
            ("cgroup2" if hierarchy.version == 2 else "cgroup", str(hierarchy.mountpoint), hierarchy.options)
            for hierarchy in mounted
        ]
        links = [
            (str(entry), os.readlink(entry))
            for entry in sorted(Path("/sys/fs/cgroup").iterdir())
            if entry.is_symlink() and not is_v2_only
        ]
        return {
            "hostname": self.name,
            "record": str(self._record),
            "cgroups": own,
            "cgroup_leaves": [str(leaf) for leaf in leaves],
            "cgroup_mounts": mounts,
            "cgroup_links": links,
            "hand_down": [str(hierarchy.mountpoint) for hierarchy in mounted if hierarchy.version == 2],
            "binds": self._binds(),
            "sysctls": SYSCTLS,
            "services": [
                {"argv": ["containerd", "--config", str(self._containerd_config())], "log": self._log("containerd")}
            ],
        }

    def _log(self, service: str) -> str:
        return str(self.directory / f"{service}.log")

    def _binds(self) -> list[tuple[str, str]]:
        """Write this node's own copies of the machine's identity, and return what to lay over what."""
        etc = self.directory / "etc"
        machine_id = hashlib.sha256(f"{self.network.identifier}/{self.name}".encode()).hexdigest()[:32]
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "machine-id").write_text(f"{machine_id}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{self.address} {self.name}\n")
        (etc / "boot_id").write_text(f"{uuid.uuid4()}\n")
        if self._nameservers or not (etc / "resolv.conf").exists():
            self.write_resolv(self._nameservers or machine_nameservers())
        return [
            *((str(etc / name), f"/etc/{name}") for name in ("hostname", "machine-id", "hosts", "resolv.conf")),
            (str(etc / "boot_id"), "/proc/sys/kernel/random/boot_id"),
            *((str(self.directory / part), f"/{part}") for part in _OWN),
        ]

    def _containerd_config(self) -> Path:
        root = self.directory / "containerd"
        root.mkdir(parents=True, exist_ok=True)
        try:
            settings = containerd.settings_here(
                root=root,
                state=Path("/run/containerd"),
                socket=self.socket,
                cni_conf_dir=self.cni_conf_dir,
                cni_bin_dir=cni_directory() or CNI_DIRECTORIES[0],
                sandbox_image=PAUSE_IMAGE,
            )
        except containerd.ContainerdMissing as error:
            raise NodeError(str(error)) from error
        path = root / "config.toml"
        path.write_text(containerd.render(settings))
        return path

    def _plug_in(self) -> None:
        """Connect the node's eth0 to the bridge, give it its address and routes. Safe to call twice."""
        pid, veth = self.pid(), self.network.veth(self.index)
        if pid is None:
            raise NodeError(f"node {self.name} went off while booting: see {self.directory}/console.log")
        inside = ["nsenter", "--target", str(pid), "--net", "ip"]
        if not self.network.exists():
            self.network.create()
        links = json.loads(run([*inside, "-json", "link", "show"]))
        if not any(link["ifname"] == "eth0" for link in links):
            # The machine's end of an earlier life may linger while the kernel takes that life apart.
            subprocess.run(["ip", "link", "delete", veth], capture_output=True, check=False)
            create = ["link", "add", veth, "type", "veth", "peer", "name", "eth0"]
            run(["ip", *create, "address", self.network.mac(self.index), "netns", str(pid)])
        run(["ip", "link", "set", veth, "master", self.network.bridge, "up"])
        lines = [
            "link set lo up",
            "link set eth0 up",
            f"address replace {self.address}/{self.network.subnet.prefixlen} dev eth0",
            f"route replace default via {self.network.gateway}",
            # Beneath the routes that kubeproxy makes: what they do not claim goes nowhere, rather than out.
            *(f"route replace unreachable {cidr} metric 4096" for cidr in self._cidrs),
        ]
        run([*inside, "-batch", "-"], text="\n".join(lines) + "\n")

    def _wait_for_containerd(self) -> None:
        give_up_at = time.monotonic() + CONTAINERD_TIMEOUT_S
        while True:
            try:
                self._ctr("version")
                return
            except NodeError:
                if time.monotonic() > give_up_at:
                    log_path = self._log("containerd")
                    raise NodeError(f"node {self.name}: containerd does not answer: see {log_path}") from None
                if not self.is_on():
                    raise NodeError(f"node {self.name} went off: see {self.directory}/console.log") from None
            time.sleep(0.05)

    def _clear_cgroups(self) -> None:
        try:
            cgroups.remove(cgroups.hierarchies(), self._cgroup)
        except OSError as error:
            raise NodeError(f"node {self.name}: {error.filename} is still in use") from error

    def _images(self) -> dict[str, str]:
        """Return the digest of each image the node has, by name."""
        rows = [line.split() for line in self._ctr("images", "list").splitlines()[1:]]
        return {row[0]: row[2] for row in rows if len(row) > 2}

    def _ctr(self, *arguments: str) -> str:
        if not self.socket.exists():
            raise NodeError(f"node {self.name}: {self.socket} is not there")
        command = ["ctr", "--address", str(self.socket), "--namespace", containerd.NAMESPACE, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise NodeError(f"node {self.name}: `ctr {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


def machine_nameservers() -> list[str]:
    """Return the name servers this machine asks that a node can reach too: not those on its loopback."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in path.read_text().splitlines()]
            found = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
            reachable = [address for address in found if not address.startswith("127.") and address != "::1"]
            if reachable:
                return reachable
    return []
