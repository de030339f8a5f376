"""What may be handed out, and in which order to try: pure.

A range has two bands. Whoever asks for a certain address takes it from anywhere; whoever takes any is given one from
the upper band while there is one, so that low addresses, which people write into manifests, stay
free for them. The sizes of the bands: KEP-3070 (cluster IPs) and KEP-3668 (node ports).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator
from dataclasses import dataclass
from random import Random

_GUESSES = 32
"""Random tries before a range is gone through in order."""


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers first..last, both included; below `dynamic_from` is the static band."""

    first: int
    last: int
    dynamic_from: int

    def __post_init__(self) -> None:
        assert self.first <= self.last and self.first <= self.dynamic_from

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.first <= number <= self.last

    def candidates(self, taken: Container[int], random: Random) -> Iterator[int]:
        """Yield free numbers in the order to try them: random ones of the upper band, then all, then the lower."""
        upper = range(self.dynamic_from, self.last + 1)
        lower = range(self.first, min(self.dynamic_from, self.last + 1))
        for band in (upper, lower):
            if not band:
                continue
            for _ in range(min(_GUESSES, len(band))):
                guess = random.choice(band)
                if guess not in taken:
                    yield guess
            start = random.randrange(len(band))
            for offset in range(len(band)):
                number = band[(start + offset) % len(band)]
                if number not in taken:
                    yield number


def port_range(text: str) -> Range:
    """Return the range that `30000-32767` means.

    Raises:
        ValueError: it is no range of ports.
    """
    low, dash, high = text.partition("-")
    if not dash or not low.isdigit() or not high.isdigit() or not 0 < int(low) <= int(high) < 65536:
        raise ValueError(f"{text!r} is not a range of ports such as 30000-32767")
    first, last = int(low), int(high)
    size = last - first + 1
    band = 0 if size < 32 else min(max(16, size // 32), 128)
    return Range(first, last, first + band)


def address_range(cidr: str) -> Range:
    """Return the range of Service addresses in an IPv4 network: neither its own address nor its broadcast.

    Raises:
        ValueError: it is no network, or one without room.
    """
    network = ipaddress.IPv4Network(cidr)
    if network.prefixlen > 30:
        raise ValueError(f"{cidr} has no room for Services: use a prefix of 30 or less")
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - 1
    size = last - first + 1
    band = 0 if size < 16 else min(max(16, size // 16), 256)
    return Range(first, last, first + band)
