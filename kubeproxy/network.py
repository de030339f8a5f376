"""The node's pod network: CNI's configuration, the pods' bridge, routes to other nodes' pods.

Deciding is pure: `cni_configuration` and `plan_routes`. `PodNetwork` carries it out, level-triggered: it looks at what
the kernel has and changes what differs.

Three kinds of routes keep every packet where it belongs:

- a peer's pod CIDR goes by that peer's address, where the two share a subnet (host-gw);
- the service CIDR goes to the pods' bridge: the route gives connections a source address, and the rules give them
  another destination before they get there; what no rule claims finds nobody on the bridge;
- beneath both, the cluster's and the services' ranges are unreachable, so that nothing meant for them follows the
  default route out of the machine.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from api.core.ip_addresses import plain
from api.core.node import Node
from kubeproxy import commands

log = logging.getLogger(__name__)

ROUTE_PROTOCOL = "77"
"""Marks the routes that are ours (rt_protos): stale ones are found by it."""
BENEATH_METRIC = "4096"
CONFLIST = "10-steersman.conflist"
TIMEOUT_S = 15.0

KERNEL_SETTINGS = (
    ("ipv4/ip_forward", "1"),
    # A pod's packet to a ClusterIP comes in by the bridge and would leave by it, so the kernel would tell the pod of a
    # shorter way, and use up its allowance of ICMP messages on that: rejections would be lost.
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/{bridge}/send_redirects", "0"),
    # NodePorts answer on localhost too; `rules.py` keeps neighbours away from it.
    ("ipv4/conf/all/route_localnet", "1"),
    # Else a pod that reaches a neighbour on its bridge through a Service gets the answer untranslated.
    ("bridge/bridge-nf-call-iptables", "1"),
)
"""Below /proc/sys/net, and why."""


class NetworkError(Exception):
    """The kernel refused, or `ip` is missing; looked at again at the next turn."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What does not change while the process runs."""

    node_name: str
    cluster_cidr: str
    service_cidr: str
    cni_conf_dir: Path
    cni_state_dir: Path
    bridge: str = "cni0"


def cni_configuration(pod_cidr: str, bridge: str, state_dir: Path, mtu: int) -> dict[str, Any]:
    """Return the CNI network configuration list (CNI specification 0.4.0) for a node's pods. Pure."""
    return {
        "cniVersion": "0.4.0",
        "name": "steersman",
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": True,
                # A pod's request to its own Service comes back in by the port it went out of.
                "hairpinMode": True,
                "ipMasq": False,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state_dir),
                    "ranges": [[{"subnet": pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


@dataclass(frozen=True, slots=True, order=True)
class PeerRoute:
    """The way to one peer's pods."""

    pod_cidr: str
    via: str


def pod_cidr_of(node: Node) -> str:
    """Return a node's IPv4 pod CIDR; empty while it has none."""
    candidates = [node.spec.pod_cidr, *node.spec.pod_cidrs]
    return next((plain(cidr) for cidr in candidates if "." in cidr), "")


def address_of(node: Node) -> str:
    """Return a node's internal IPv4 address; empty while it has none."""
    addresses = [entry.address for entry in node.status.addresses if entry.type == "InternalIP"]
    return next((address for address in addresses if "." in address), "")


def peer_routes(nodes: Iterable[Node], node_name: str, networks: Sequence[IPv4Network]) -> list[PeerRoute]:
    """Return the routes to all peers' pods, sorted. Pure.

    `networks` are those this node is in; peers elsewhere cannot be reached this way and are left out.
    """
    routes = []
    for node in nodes:
        cidr, address = pod_cidr_of(node), address_of(node)
        if node.metadata.name == node_name or not cidr or not address:
            continue
        if any(IPv4Address(address) in network for network in networks):
            routes.append(PeerRoute(cidr, address))
        else:
            log.warning("no route to a node's pods: it is not in our network", extra={"peer": node.metadata.name})
    return sorted(routes)


def plan_routes(wanted: Iterable[PeerRoute], present: Mapping[str, str]) -> list[str]:
    """Return `ip -batch` lines from the routes `present` (destination to gateway) to those `wanted`. Pure."""
    by_cidr = {route.pod_cidr: route.via for route in wanted}
    lines = [f"route delete {cidr} proto {ROUTE_PROTOCOL}" for cidr in sorted(present) if cidr not in by_cidr]
    lines += [
        f"route replace {cidr} via {via} proto {ROUTE_PROTOCOL}"
        for cidr, via in sorted(by_cidr.items())
        if present.get(cidr) != via
    ]
    return lines


class PodNetwork:
    """Keeps this node's pod network as the cluster's nodes say it should be."""

    def __init__(self, settings: NetworkSettings, prefix: Sequence[str] = ()) -> None:
        """`prefix` starts commands elsewhere, as in another network namespace."""
        self._settings = settings
        self._prefix = tuple(prefix)
        self.pod_cidr = ""
        """This node's, once the network is set up for it."""

    async def sync(self, nodes: Sequence[Node]) -> None:
        """Make the kernel and CNI's configuration fit `nodes`. Safe to call at any time.

        Raises:
            NetworkError: some of it could not be done; call again.
        """
        settings = self._settings
        own = next((node for node in nodes if node.metadata.name == settings.node_name), None)
        cidr = pod_cidr_of(own) if own else ""
        beneath = [cidr for cidr in (settings.cluster_cidr, settings.service_cidr) if cidr]
        await self._batch(f"route replace unreachable {cidr} metric {BENEATH_METRIC}" for cidr in beneath)
        if cidr and (cidr != self.pod_cidr or not await self._has_bridge()):
            await self._make_bridge(IPv4Network(cidr), address_of(own) if own else "")
            # Last: once it is there the runtime calls the network ready.
            self._write_cni(cidr)
            self.pod_cidr = cidr
            log.info("pod network is ready", extra={"pod_cidr": cidr})
        networks = await self._own_networks()
        wanted = peer_routes(nodes, settings.node_name, networks)
        present = {
            route["dst"]: route.get("gateway", "")
            for route in await self._json("-4", "route", "show", "proto", ROUTE_PROTOCOL)
        }
        lines = plan_routes(wanted, present)
        if lines:
            await self._batch(lines)
            log.info("routes to other nodes' pods changed", extra={"routes": len(wanted)})

    async def _has_bridge(self) -> bool:
        links = await self._json("link", "show")
        return any(link["ifname"] == self._settings.bridge for link in links)

    async def _make_bridge(self, cidr: IPv4Network, address: str) -> None:
        bridge = self._settings.bridge
        if not await self._has_bridge():
            # Of its own accord a bridge takes the lowest address of its ports, and pods' neighbour tables go stale.
            mac = "02:" + ":".join(f"{byte:02x}" for byte in (0x5B, *cidr.network_address.packed))
            await self._batch([f"link add {bridge} address {mac} type bridge"])
        gateway = f"{cidr[1]}/{cidr.prefixlen}"
        for link in await self._json("-4", "address", "show", "dev", bridge):
            for entry in link.get("addr_info", []):
                address = f"{entry['local']}/{entry['prefixlen']}"
                if address != gateway:
                    await self._batch([f"address delete {address} dev {bridge}"])
        lines = [f"address replace {gateway} dev {bridge}", f"link set {bridge} up"]
        if address in [own.split("/")[0] for own in await self._addresses()]:
            # To its own pods too the node is who it is to all others, not the bridge: what a pod asks at the node's
            # address, or a Service translates to it, is answered from there even if the server leaves it to the kernel.
            lines.append(f"route replace {cidr} dev {bridge} proto kernel scope link src {address}")
        if self._settings.service_cidr:
            lines.append(f"route replace {self._settings.service_cidr} dev {bridge} src {cidr[1]}")
        await self._batch(lines)
        settings = [f"echo {value} > /proc/sys/net/{name.format(bridge=bridge)}" for name, value in KERNEL_SETTINGS]
        script = ["[ -e /proc/sys/net/bridge ] || modprobe br_netfilter", *settings]
        await self._run(["sh", "-e", "-c", "\n".join(script)])

    def _write_cni(self, cidr: str) -> None:
        settings = self._settings
        settings.cni_conf_dir.mkdir(parents=True, exist_ok=True)
        settings.cni_state_dir.mkdir(parents=True, exist_ok=True)
        content = json.dumps(cni_configuration(cidr, settings.bridge, settings.cni_state_dir, _mtu()), indent=2) + "\n"
        path = settings.cni_conf_dir / CONFLIST
        if path.exists() and path.read_text() == content:
            return
        temporary = path.with_suffix(".new")
        temporary.write_text(content)
        os.replace(temporary, path)

    async def _own_networks(self) -> list[IPv4Network]:
        return [IPv4Network(address, strict=False) for address in await self._addresses()]

    async def _addresses(self) -> list[str]:
        """Return the node's addresses with their networks' lengths, but for the loopback's and the bridge's."""
        return [
            f"{entry['local']}/{entry['prefixlen']}"
            for link in await self._json("-4", "address", "show")
            if link["ifname"] not in ("lo", self._settings.bridge)
            for entry in link.get("addr_info", [])
        ]

    async def _json(self, *arguments: str) -> list[dict[str, Any]]:
        # Empty objects stand for what a filter left out.
        listed = json.loads(await self._run(["ip", "-json", *arguments]) or "[]")
        return [entry for entry in listed if entry]

    async def _batch(self, lines: Iterable[str]) -> None:
        text = "".join(line + "\n" for line in lines)
        if text:
            await self._run(["ip", "-batch", "-"], text)

    async def _run(self, command: Sequence[str], text: str = "") -> str:
        try:
            result = await commands.run([*self._prefix, *command], text, timeout_s=TIMEOUT_S)
        except commands.CommandMissing as error:
            raise NetworkError(f"{error}: apt-get install iproute2") from None
        except TimeoutError:
            raise NetworkError(f"`{' '.join(command)}` took longer than {TIMEOUT_S:.0f} s") from None
        if result.code:
            raise NetworkError(f"`{' '.join(command)}` with {text!r}: {result.errors.strip()}")
        return result.output


def _mtu() -> int:
    """Return the largest packet that the node's own network carries."""
    try:
        return int(Path("/sys/class/net/eth0/mtu").read_text())
    except (OSError, ValueError):
        return 1500
