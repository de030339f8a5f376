"""The wire between a lab's machines: a bridge that no packet leaves, and on which any direction can be cut.

What comes in over the bridge reaches the machines on it and this box itself, and is dropped by a routing rule where it
would go any further. A cut is a rule of nftables' bridge family that drops frames from one port to another, so it
holds for everything a machine sends: its own packets and its pods'. Counters tell how much was dropped.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path

from deploy.cluster_network import ClusterNetwork, run

HOST = "host"
"""This box, as one end of a cut."""


class Wire:
    """One lab's bridge."""

    def __init__(self, directory: Path) -> None:
        """Take the network that belongs to the lab in `directory`, or a free one; makes nothing yet."""
        self._network = ClusterNetwork.of(directory)
        self.identifier = self._network.identifier
        self.bridge = self._network.bridge
        self._table = f"steersman-lab-{self.identifier}".replace("-", "_")

    @property
    def gateway(self) -> IPv4Address:
        """This box's address on the wire."""
        return self._network.gateway

    @property
    def prefix_length(self) -> int:
        """Of every address on the wire."""
        return self._network.subnet.prefixlen

    def address(self, index: int) -> IPv4Address:
        """Return the address of machine number `index`, which counts from 1."""
        return self._network.node_address(index)

    def container(self, machine: str) -> str:
        """Return what systemd-nspawn calls a machine: unique among labs, short enough for an interface's name."""
        return f"{self.identifier[:6]}-{machine}"

    def _port(self, machine: str) -> str:
        return f"vb-{self.container(machine)}"

    def create(self) -> None:
        """Make the bridge and shut the way out; leaves what is already right alone."""
        self._network.create(way_out=False)
        if self.bridge not in run(["ip", "rule", "show"]):
            run(["ip", "rule", "add", "iif", self.bridge, "blackhole"])

    def destroy(self) -> None:
        """Remove what `create` and `cut` made."""
        self.heal()
        while self.bridge in run(["ip", "rule", "show"]):
            run(["ip", "rule", "delete", "iif", self.bridge, "blackhole"])
        self._network.destroy()

    def cut(self, pairs: Collection[tuple[str, str]]) -> None:
        """Drop frames from the first of each pair to the second, that way only; `HOST` stands for this box."""
        lines = [f"add table bridge {self._table}"]
        for hook in ("forward", "input", "output"):
            lines.append(f"add chain bridge {self._table} {hook} {{ type filter hook {hook} priority 0; }}")
        for source, target in sorted(set(pairs) - set(self.cuts())):
            if target == HOST:
                hook, match = "input", f'iifname "{self._port(source)}"'
            elif source == HOST:
                hook, match = "output", f'oifname "{self._port(target)}"'
            else:
                hook, match = "forward", f'iifname "{self._port(source)}" oifname "{self._port(target)}"'
            lines.append(f'add rule bridge {self._table} {hook} {match} counter drop comment "{source} {target}"')
        run(["nft", "-f", "-"], "\n".join(lines) + "\n")

    def cuts(self) -> dict[tuple[str, str], int]:
        """Return what is cut now, source and target, with how many frames were dropped there."""
        done = subprocess.run(
            ["nft", "--json", "list", "table", "bridge", self._table], capture_output=True, text=True, check=False
        )
        found: dict[tuple[str, str], int] = {}
        if done.returncode == 0:
            for entry in json.loads(done.stdout)["nftables"]:
                rule = entry.get("rule", {})
                if source_and_target := rule.get("comment"):
                    source, target = source_and_target.split()
                    counter = next(part["counter"] for part in rule["expr"] if "counter" in part)
                    found[source, target] = counter["packets"]
        return found

    def heal(self) -> int:
        """Let everything through again; return how many frames had been dropped."""
        dropped = sum(self.cuts().values())
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["nft", "delete", "table", "bridge", self._table], capture_output=True, check=False)
        return dropped
