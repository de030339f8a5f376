"""Sends imaginary packets through rule text, the way the kernel would.

It knows the matches and targets that `kubeproxy.rules` writes and fails on any other, so that a new kind of rule is
not silently walked past.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address, ip_network

from kubeproxy.rules import JUMPS, Ruleset


@cache
def words_of(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


@cache
def is_within(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)


@dataclass
class Packet:
    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    is_from_this_node: bool = False
    state: str = "NEW"


@dataclass
class Outcome:
    """Where it arrived: DNAT target or the original destination; `verdict` of the filter table."""

    destination: str
    is_masqueraded: bool
    verdict: str = "ACCEPT"
    chains: list[str] = field(default_factory=list)


class Tracer:
    def __init__(self, rules: Ruleset, node_addresses: tuple[str, ...] = ("172.31.0.11", "127.0.0.1")) -> None:
        self.rules, self.node_addresses = rules, node_addresses
        self.recent: dict[str, set[str]] = {}

    def send(self, packet: Packet, pick: Callable[[float], bool] = lambda probability: probability == 1.0) -> Outcome:
        """Walk the tables in the kernel's order; `pick(probability)` decides for the statistic match."""
        self.pick, self.mark, self.seen = pick, 0, []
        self.address, self.port = packet.destination, packet.port
        self.is_translated = False
        first, second = ("OUTPUT", None) if packet.is_from_this_node else ("PREROUTING", None)
        self.walk("nat", first, packet)
        destination = f"{self.address}:{self.port}"
        hook = "INPUT" if self.address in self.node_addresses else "FORWARD"
        hook = "OUTPUT" if packet.is_from_this_node else hook
        verdict = self.walk("filter", hook, packet) or "ACCEPT"
        masqueraded = self.walk("nat", "POSTROUTING", packet) == "MASQUERADE"
        return Outcome(destination, masqueraded, verdict, self.seen)

    def walk(self, table: str, hook: str, packet: Packet) -> str | None:
        put_first = [jump for jump in reversed(JUMPS) if not jump.is_last]
        for jump in [*put_first, *(jump for jump in JUMPS if jump.is_last)]:
            if (jump.table, jump.source) == (table, hook) and self.matches(words_of(jump.match), packet):
                verdict = self.chain(table, jump.target, packet)
                if verdict:
                    return verdict
        return None

    def chain(self, table: str, name: str, packet: Packet) -> str | None:
        self.seen.append(name)
        for rule in self.rules.table(table)[name]:
            words = words_of(rule)
            at = words.index("-j")
            if not self.matches(words[:at], packet):
                continue
            target, options = words[at + 1], words[at + 2 :]
            if target == "RETURN":
                return None
            if target == "MARK":
                operation, value = options
                number = int(value, 16)
                self.mark = self.mark | number if operation == "--or-mark" else self.mark ^ number
            elif target == "DNAT":
                self.address, _, port = options[1].rpartition(":")
                self.port, self.is_translated = int(port), True
                return "ACCEPT"
            elif target in ("ACCEPT", "DROP", "REJECT", "MASQUERADE"):
                return target
            else:
                verdict = self.chain(table, target, packet)
                if verdict:
                    return verdict
        return None

    def matches(self, words: Sequence[str], packet: Packet) -> bool:
        position, negated, verdict, recent = 0, False, True, ""

        def value() -> str:
            nonlocal position
            position += 1
            return words[position]

        while position < len(words):
            word = words[position]
            result = True
            if word == "!":
                negated = True
                position += 1
                continue
            if word == "-m" or word == "--comment":
                value()
            elif word == "-p":
                result = packet.protocol == value()
            elif word == "-s":
                result = is_within(packet.source, value())
            elif word == "-d":
                result = is_within(self.address, value())
            elif word == "--dport":
                result = self.port == int(value())
            elif word == "--dst-type":
                value()
                result = self.address in self.node_addresses
            elif word == "--src-type":
                value()
                result = packet.is_from_this_node
            elif word == "--ctstate":
                states = value().split(",")
                result = packet.state in states or ("DNAT" in states and self.is_translated)
            elif word == "--mark":
                number, mask = (int(part, 16) for part in value().split("/"))
                result = self.mark & mask == number
            elif word == "--mode":
                value()
            elif word == "--probability":
                result = self.pick(float(value()))
            elif word == "--name":
                recent = value()
            elif word == "--seconds":
                value()
            elif word in ("--reap", "--rsource"):
                pass
            elif word == "--rcheck":
                result = packet.source in self.recent.get(recent, set())
            elif word == "--set":
                self.recent.setdefault(recent, set()).add(packet.source)
            else:
                raise AssertionError(f"the tracer does not know {word!r} in {words}")
            verdict = verdict and result != negated
            negated = False
            position += 1
        return verdict
