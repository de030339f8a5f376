"""Delay sequences: how long to wait before the next try. Pure; randomness is handed in."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow by `factor` from `initial_s` to at most `delay_max_s`.

    `jitter` spreads each delay downwards by up to that fraction, so that many clients of one server that failed
    together do not come back together.
    """

    initial_s: float
    delay_max_s: float
    factor: float = 2.0
    jitter: float = 0.0

    def delay_s(self, failures: int, rng: random.Random | None = None) -> float:
        """Return the delay after `failures` failures in a row; the first failure gives `initial_s`.

        Without `rng` there is no jitter.
        """
        if failures <= 0:
            return 0.0
        # Past this exponent any sensible sequence has reached its end; it keeps the power from overflowing.
        delay = min(self.delay_max_s, self.initial_s * self.factor ** min(failures - 1, 64))
        if self.jitter and rng is not None:
            delay *= 1 - self.jitter * rng.random()
        return delay


QUEUE = Backoff(0.005, 60.0)
"""A work queue's: 5 ms, 10 ms ... for each key, as upstream's; its 1000 s would be long after the cause is gone."""

RECONNECT = Backoff(0.2, 5.0, jitter=0.5)
"""A reflector's: quick at first, since most failures are one server restarting."""

REDIAL = Backoff(0.2, 1.5, jitter=0.5)
"""A reflector's while nobody is there at all: to look whether there is a connection again costs no server anything."""
