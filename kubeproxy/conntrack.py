"""Flows that outlive their endpoint: which to forget, and forgetting them.

TCP finds out by itself. A UDP client keeps sending from the same port, and the kernel keeps translating to where the
first packet went, so flows to endpoints that are gone must be deleted (kubernetes#19029); so must flows that began
while a Service had no endpoint, which would stay untranslated as long as they last. `stale_flows` is pure.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubeproxy import commands
from kubeproxy.topology import ServedPort

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """UDP flows that were sent to an address (or a NodePort), perhaps only those translated to one endpoint."""

    address: str = ""
    node_port: int = 0
    endpoint: str = ""
    """Address of the endpoint; empty for all."""

    def arguments(self) -> list[str]:
        """Return what follows `conntrack -D`."""
        arguments = ["--proto", "udp"]
        if self.address:
            arguments += ["--orig-dst", self.address]
        if self.node_port:
            arguments += ["--orig-port-dst", str(self.node_port)]
        if self.endpoint:
            arguments += ["--dst-nat", self.endpoint]
        return arguments


def stale_flows(old: Iterable[ServedPort], new: Iterable[ServedPort]) -> list[Flow]:
    """Return the flows to forget after going from `old` to `new`, sorted."""
    before = {(port.name, port.protocol): port for port in old if port.protocol == "udp"}
    after = {(port.name, port.protocol): port for port in new if port.protocol == "udp"}
    flows: set[Flow] = set()
    for key, port in before.items():
        now = after.get(key)
        gone = _endpoints(port) - (_endpoints(now) if now else set())
        flows |= {flow for endpoint in gone for flow in _flows(port, endpoint)}
    for key, port in after.items():
        was = before.get(key)
        if _endpoints(port) and not (was and _endpoints(was)):
            flows |= set(_flows(port, ""))
    return sorted(flows)


def _endpoints(port: ServedPort) -> set[str]:
    return {target.address for target in (*port.cluster_targets, *port.local_targets)}


def _flows(port: ServedPort, endpoint: str) -> Iterable[Flow]:
    for address in (port.cluster_ip, *port.external_ips, *port.ingress_ips):
        yield Flow(address=address, endpoint=endpoint)
    if port.node_port:
        yield Flow(node_port=port.node_port, endpoint=endpoint)


async def forget(flows: Sequence[Flow], prefix: Sequence[str] = (), timeout_s: float = 10.0) -> None:
    """Delete `flows` from the kernel's table; none to delete is no error. `prefix` starts the command elsewhere."""
    for flow in flows:
        try:
            result = await commands.run([*prefix, "conntrack", "-D", *flow.arguments()], timeout_s=timeout_s)
        except commands.CommandMissing:
            log.error("conntrack is not installed, so UDP clients may keep sending to endpoints that are gone")
            return
        except TimeoutError:
            log.warning("conntrack took too long", extra={"flow": flow})
            continue
        # It ends with 1 both for an error and for having found nothing.
        if result.code and "0 flow entries" not in result.errors:
            log.warning("could not delete flows", extra={"flow": flow, "error": result.errors.strip()})
