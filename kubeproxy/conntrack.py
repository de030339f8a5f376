"""Flows that outlive their endpoint: which to forget, and forgetting them.

A UDP client keeps sending from the same port, and the kernel keeps translating to where the first packet went, so flows
to endpoints that are gone must be deleted (kubernetes#19029); so must flows that began while a Service had no endpoint,
which would stay untranslated as long as they last.

TCP finds out by itself, but for what was never answered: for two minutes the kernel remembers where it translated a
first packet to, and sends there whatever comes from the same port, be it the packet's repetition or a connection made
later. Once that is forgotten, both go to an endpoint that is there. `stale_flows` is pure.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubeproxy import commands
from kubeproxy.topology import ServedPort

log = logging.getLogger(__name__)

UNANSWERED_MAX = 100
"""Each is a command. Where more endpoints go at once, they were taken away in order and answered to the last."""


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """UDP flows that were sent to an address (or a NodePort), perhaps only those translated to one endpoint.

    Of TCP, connections that an endpoint has not answered.
    """

    address: str = ""
    node_port: int = 0
    endpoint: str = ""
    """Address of the endpoint; empty for all."""
    protocol: str = "udp"

    def arguments(self) -> list[str]:
        """Return what follows `conntrack -D`."""
        arguments = ["--proto", self.protocol]
        if self.protocol == "tcp":
            arguments += ["--state", "SYN_SENT"]
        if self.address:
            arguments += ["--orig-dst", self.address]
        if self.node_port:
            arguments += ["--orig-port-dst", str(self.node_port)]
        if self.endpoint:
            arguments += ["--dst-nat", self.endpoint]
        return arguments


def stale_flows(old: Iterable[ServedPort], new: Iterable[ServedPort]) -> list[Flow]:
    """Return the flows to forget after going from `old` to `new`, sorted."""
    before = {(port.name, port.protocol): port for port in old}
    after = {(port.name, port.protocol): port for port in new}
    flows: set[Flow] = set()
    unanswered: set[Flow] = set()
    for key, port in before.items():
        now = after.get(key)
        if now == port:
            continue
        gone = _endpoints(port) - (_endpoints(now) if now else set())
        if port.protocol == "tcp":
            unanswered |= {Flow(endpoint=endpoint, protocol="tcp") for endpoint in gone}
        elif port.protocol == "udp":
            flows |= {flow for endpoint in gone for flow in _flows(port, endpoint)}
    for key, port in after.items():
        was = before.get(key)
        if port.protocol == "udp" and _endpoints(port) and not (was and _endpoints(was)):
            flows |= set(_flows(port, ""))
    if len(unanswered) <= UNANSWERED_MAX:
        flows |= unanswered
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
            log.error("conntrack is not installed, so clients may keep sending to endpoints that are gone")
            return
        except TimeoutError:
            log.warning("conntrack took too long", extra={"flow": flow})
            continue
        # It ends with 1 both for an error and for having found nothing.
        if result.code and "0 flow entries" not in result.errors:
            log.warning("could not delete flows", extra={"flow": flow, "error": result.errors.strip()})
