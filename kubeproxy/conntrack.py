"""Flows that outlive their endpoint: which to forget, and forgetting them.

A UDP client keeps sending from the same port, and the kernel keeps translating to where the first packet went, so flows
to endpoints that are gone must be deleted (kubernetes#19029); so must flows that began while a Service had no endpoint,
which would stay untranslated as long as they last. Which those are is told by looking at the kernel's table, not by
what changed: what went while no proxy ran is found, and flows in good order are never disturbed.

TCP finds out by itself, but for what was never answered: for two minutes the kernel remembers where it translated a
first packet to, and sends there whatever comes from the same port, be it the packet's repetition or a connection made
later. Once that is forgotten, both go to an endpoint that is there. All but `Conntrack` is pure.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kubeproxy import commands
from kubeproxy.topology import ServedPort

log = logging.getLogger(__name__)

UNANSWERED_MAX = 100
"""Each is a command. Where more endpoints go at once, they were taken away in order and answered to the last."""
TIMEOUT_S = 10.0

Fronts = Mapping[tuple[str, int], frozenset[str]]
"""By address and port that UDP clients send to, the endpoints (address:port) that flows may lead to.

A NodePort is at every address of the node, which is written as an empty one.
"""

_TUPLES = re.compile(
    r"src=\S+ dst=(?P<address>\S+) sport=\d+ dport=(?P<port>\d+) .*?"
    r"src=(?P<endpoint>\S+) dst=\S+ sport=(?P<endpoint_port>\d+) "
)
"""A line of `conntrack -L`: the packets as they were sent, then as answers come."""


class ConntrackError(Exception):
    """The kernel's table could not be read or changed; nothing tells the clients concerned."""


@dataclass(frozen=True, slots=True, order=True)
class Flow:
    """UDP flows that were sent to one address and port and are answered from one endpoint.

    Of TCP, connections that an endpoint has not answered, whatever they were sent to.
    """

    address: str = ""
    port: int = 0
    endpoint: str = ""
    endpoint_port: int = 0
    protocol: str = "udp"

    def arguments(self) -> list[str]:
        """Return what follows `conntrack -D`."""
        if self.protocol == "tcp":
            return ["--proto", "tcp", "--state", "SYN_SENT", "--dst-nat", self.endpoint]
        sent = ["--orig-dst", self.address, "--orig-port-dst", str(self.port)]
        answered = ["--reply-src", self.endpoint, "--reply-port-src", str(self.endpoint_port)]
        return ["--proto", "udp", *sent, *answered]


def fronts_of(ports: Iterable[ServedPort]) -> Fronts:
    """Return what UDP clients may send to, and where that may lead."""
    found: dict[tuple[str, int], frozenset[str]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        found |= {(each, port.port): port.serving for each in (port.cluster_ip, *port.external_ips, *port.ingress_ips)}
        if port.node_port:
            found["", port.node_port] = port.serving
    return found


def parse_flows(listing: str) -> set[Flow]:
    """Return the UDP flows that `conntrack -L` prints."""
    return {
        Flow(found["address"], int(found["port"]), found["endpoint"], int(found["endpoint_port"]))
        for found in map(_TUPLES.search, listing.splitlines())
        if found
    }


def stale_flows(flows: Iterable[Flow], before: Fronts, now: Fronts) -> list[Flow]:
    """Return those of `flows` that lead where they should not, sorted.

    What was served `before` and is no longer may lead nowhere.
    """
    fronts = {**dict.fromkeys(before, frozenset[str]()), **now}
    found = []
    for flow in flows:
        serving = fronts.get((flow.address, flow.port), fronts.get(("", flow.port)))
        if serving is not None and f"{flow.endpoint}:{flow.endpoint_port}" not in serving:
            found.append(flow)
    return sorted(found)


def unanswered_flows(old: Iterable[ServedPort], new: Iterable[ServedPort]) -> list[Flow]:
    """Return the TCP connections to forget after going from `old` to `new`: those to endpoints that went."""
    after = {(port.name, port.protocol): port for port in new}
    gone: set[str] = set()
    for port in old:
        now = after.get((port.name, port.protocol))
        if port.protocol == "tcp" and now != port:
            gone |= _addresses(port) - (_addresses(now) if now else set())
    if len(gone) > UNANSWERED_MAX:
        return []
    return [Flow(endpoint=address, protocol="tcp") for address in sorted(gone)]


def _addresses(port: ServedPort) -> set[str]:
    return {target.address for target in (*port.cluster_targets, *port.local_targets)}


class Conntrack:
    """The kernel's table of flows, by way of the command line tool."""

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        """`prefix` starts commands elsewhere, as in another network namespace."""
        self._prefix = tuple(prefix)

    async def udp_flows(self) -> set[Flow]:
        """Return every UDP flow.

        Raises:
            ConntrackError: the table cannot be read.
        """
        return parse_flows(await self._run("-L", "--proto", "udp"))

    async def forget(self, flows: Iterable[Flow]) -> None:
        """Delete `flows`; none to delete is no error.

        Raises:
            ConntrackError: some are still there.
        """
        for flow in flows:
            await self._run("-D", *flow.arguments())

    async def _run(self, *arguments: str) -> str:
        try:
            result = await commands.run([*self._prefix, "conntrack", *arguments], timeout_s=TIMEOUT_S)
        except commands.CommandMissing as error:
            raise ConntrackError(f"{error}: apt-get install conntrack") from None
        except TimeoutError as error:
            raise ConntrackError(str(error)) from None
        # It ends with 1 both for an error and for having found nothing.
        if result.code and "0 flow entries" not in result.errors:
            raise ConntrackError(f"`conntrack {' '.join(arguments)}`: {result.errors.strip()}")
        return result.output
