"""Which ports of its node a pod takes, and which two pods cannot share one: for the scheduler and for nodes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from api.core.pod import PodSpec

EVERY_ADDRESS = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node taken by a pod; `ip` is `0.0.0.0` for every address."""

    ip: str
    protocol: str
    port: int

    def conflicts_with(self, other: HostPort) -> bool:
        """Return whether both cannot be open on one node."""
        same = self.port == other.port and self.protocol == other.protocol
        return same and (self.ip == other.ip or EVERY_ADDRESS in (self.ip, other.ip))


def host_ports(spec: PodSpec) -> tuple[HostPort, ...]:
    """Return the node's ports that a pod takes while it runs, sidecars' included."""
    sidecars = [each for each in spec.init_containers if each.restart_policy == "Always"]
    return tuple(
        HostPort(port.host_ip or EVERY_ADDRESS, port.protocol or "TCP", port.host_port)
        for container in (*sidecars, *spec.containers)
        for port in container.ports
        if port.host_port
    )
