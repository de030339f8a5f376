"""Shuffle sharding: each flow is dealt a hand of queues, so that two flows seldom share all of theirs (KEP-1040).

A flow that fills its own queues leaves the others' mostly alone: with 128 queues and hands of 6, ten noisy flows cover
all of another's queues about once in twenty thousand times.
"""

from __future__ import annotations

import functools
import hashlib


def flow_hash(schema: str, distinguisher: str) -> int:
    """Return 64 bits that stand for a flow: a FlowSchema's name, and the user or namespace that sets it apart."""
    text = f"{schema}\0{distinguisher}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


@functools.lru_cache(maxsize=4096)
def deal(hash_value: int, queues: int, hand_size: int) -> tuple[int, ...]:
    """Return `hand_size` different numbers below `queues`; the same hash always gets the same."""
    hand: list[int] = []
    for dealt in range(min(hand_size, queues)):
        hash_value, card = divmod(hash_value, queues - dealt)
        # `card` counts only queues that were not dealt yet.
        for taken in sorted(hand):
            if card >= taken:
                card += 1
        hand.append(card)
    return tuple(hand)
