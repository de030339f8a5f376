"""The wire between the nodes of one cluster on one machine: a Linux bridge, and a way out.

Its name and addresses come from the data directory, so several clusters live side by side and every verb finds its own
again. The bridge's own address is the nodes' gateway, where the control plane listens. Towards the rest of the world
nodes are hidden behind the machine by one iptables rule, known by its comment; nothing else of the machine's
tables is touched.

`subnet_for` is pure; `ClusterNetwork.create` and `destroy` may be repeated at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

SPACE = IPv4Network("172.31.0.0/16")
"""Where clusters take their /24 from: RFC 1918, and rarely in use."""
FIRST_NODE = 10
"""Node number n has the subnet's address FIRST_NODE + n."""
NODES_MAX = 240
BRIDGE_PREFIX = "st-"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
TURNED_FORWARDING_ON = Path("/run/steersman-turned-forwarding-on")
"""There while the machine forwards packets only because a cluster asked it to; gone with the machine's next boot."""


class NetworkError(Exception):
    """The machine's network cannot be set up; the message says what to do."""


def cluster_id(data_dir: Path) -> str:
    """Return eight hexadecimal digits that stand for a data directory in names of interfaces and cgroups."""
    return hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:8]


def subnet_for(identifier: str, in_use: Iterable[IPv4Network]) -> IPv4Network:
    """Return a /24 of SPACE that overlaps nothing in use, starting the search at a place of the cluster's own.

    Raises:
        NetworkError: all of SPACE is in use.
    """
    used = list(in_use)
    candidates = list(SPACE.subnets(new_prefix=24))
    start = int(identifier, 16) % len(candidates)
    for candidate in candidates[start:] + candidates[:start]:
        if not any(candidate.overlaps(other) for other in used):
            return candidate
    raise NetworkError(f"every /24 of {SPACE} is in use on this machine; take one interface or cluster down")


def networks_in_use(excluding: str) -> list[IPv4Network]:
    """Return the networks this machine has addresses in or routes to, but those of the interface `excluding`.

    The default route claims everything and so says nothing.
    """
    found = []
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        if route.get("dev") == excluding or route["dst"] == "default" or route.get("type") in ("broadcast", "local"):
            continue
        found.append(IPv4Network(route["dst"], strict=False))
    for link in json.loads(run(["ip", "-json", "-4", "address", "show"])):
        if link.get("ifname") != excluding:
            for entry in link.get("addr_info", []):
                found.append(IPv4Network(f"{entry['local']}/{entry['prefixlen']}", strict=False))
    return found


@dataclass(frozen=True)
class ClusterNetwork:
    """One cluster's bridge and addresses."""

    identifier: str
    subnet: IPv4Network
    record: Path
    """The file that remembers `subnet`."""

    @classmethod
    def of(cls, data_dir: Path) -> ClusterNetwork:
        """Return the network of the cluster in `data_dir`: as chosen before, else freshly chosen and remembered.

        Raises:
            NetworkError: no subnet is free, or another interface now uses the remembered one.
        """
        identifier, record = cluster_id(data_dir), data_dir / "network.json"
        in_use = networks_in_use(excluding=BRIDGE_PREFIX + identifier)
        if record.exists():
            subnet = IPv4Network(json.loads(record.read_text())["subnet"])
            clash = next((other for other in in_use if other.overlaps(subnet)), None)
            if clash is not None:
                raise NetworkError(
                    f"{subnet}, this cluster's network, is now in use on this machine too (as {clash}): free it, "
                    "or start afresh with `steer down --purge`"
                )
            return cls(identifier, subnet, record)
        subnet = subnet_for(identifier, in_use)
        data_dir.mkdir(parents=True, exist_ok=True)
        _write(record, {"subnet": str(subnet)})
        return cls(identifier, subnet, record)

    @property
    def bridge(self) -> str:
        """The bridge's name."""
        return BRIDGE_PREFIX + self.identifier

    @property
    def gateway(self) -> IPv4Address:
        """The bridge's address: the nodes' default route, and where the control plane listens."""
        return self.subnet[1]

    def node_address(self, index: int) -> IPv4Address:
        """Return the address of node number `index`, which counts from 1."""
        if not 1 <= index <= NODES_MAX:
            raise NetworkError(f"a cluster on one machine has 1 to {NODES_MAX} nodes, not number {index}")
        return self.subnet[FIRST_NODE + index]

    def mac(self, index: int) -> str:
        """Return node `index`'s MAC address, or with 0 the bridge's.

        Fixed, because neighbours remember it: a node reborn under another would be unreachable until they forget.
        """
        low = index.to_bytes(2, "big")
        return ":".join(f"{byte:02x}" for byte in (0x02, *bytes.fromhex(self.identifier)[:3], *low))

    def veth(self, index: int) -> str:
        """Return the name of the machine's end of node `index`'s cable."""
        return f"{BRIDGE_PREFIX}{self.identifier[:6]}-{index}"

    def exists(self) -> bool:
        """Whether the bridge is there."""
        return Path("/sys/class/net", self.bridge).exists()

    def create(self, *, way_out: bool = True) -> None:
        """Make the bridge, its address and, unless told otherwise, the way out; leaves what is already right alone.

        Raises:
            NetworkError: a program is missing or the kernel refuses.
        """
        for module in ("bridge", "br_netfilter", "overlay", "veth"):
            # Built in, or no modules at all: the commands below tell.
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(["modprobe", "-q", module], capture_output=True, check=False)
        if not self.exists():
            run(["ip", "link", "add", self.bridge, "address", self.mac(0), "type", "bridge"])
        run(["ip", "address", "replace", f"{self.gateway}/{self.subnet.prefixlen}", "dev", self.bridge])
        run(["ip", "link", "set", self.bridge, "up"])
        if not way_out:
            return
        if FORWARDING.read_text().strip() == "0":
            # Remembered, so that the last cluster to go gives the machine back as it was.
            TURNED_FORWARDING_ON.touch()
            FORWARDING.write_text("1")
        if not self._has_way_out():
            run(["iptables", "-w", "5", "-t", "nat", "-A", "POSTROUTING", *self._way_out()])

    def destroy(self) -> None:
        """Remove what `create` made; the choice of subnet stays in the data directory."""
        while self._has_way_out():
            run(["iptables", "-w", "5", "-t", "nat", "-D", "POSTROUTING", *self._way_out()])
        for link in Path("/sys/class/net").iterdir():
            if link.name == self.bridge or link.name.startswith(f"{BRIDGE_PREFIX}{self.identifier[:6]}-"):
                subprocess.run(["ip", "link", "delete", link.name], capture_output=True, check=False)
        is_last = not any(link.name.startswith(BRIDGE_PREFIX) for link in Path("/sys/class/net").iterdir())
        if is_last and TURNED_FORWARDING_ON.exists():
            FORWARDING.write_text("0")
            TURNED_FORWARDING_ON.unlink()

    def _way_out(self) -> Sequence[str]:
        # `! -o bridge`: where bridged frames pass through iptables (bridge-nf-call-iptables), traffic from
        # node to node must keep its source address.
        comment = f"steersman {self.identifier}: way out for nodes"
        return [
            "-s", str(self.subnet), "!", "-o", self.bridge, "-m", "comment", "--comment", comment, "-j", "MASQUERADE",
        ]  # fmt: skip

    def _has_way_out(self) -> bool:
        check = ["iptables", "-w", "5", "-t", "nat", "-C", "POSTROUTING", *self._way_out()]
        try:
            return subprocess.run(check, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            raise NetworkError("iptables is not installed: apt-get install iptables") from None


def _write(path: Path, content: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def run(command: Sequence[str], text: str | None = None) -> str:
    """Run a network tool with `text` as its input and return its output.

    Raises:
        NetworkError: it is missing, or it failed.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        package = {"ip": "iproute2", "nsenter": "util-linux"}.get(command[0], command[0])
        raise NetworkError(f"{command[0]} is not installed: apt-get install {package}") from None
    if done.returncode != 0:
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout
