"""Ports on loopback for processes that a test starts."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket

_LOWEST, _COUNT = 10_000, 20_000
_ports = itertools.count(random.SystemRandom().randrange(_COUNT))


def free_port() -> int:
    """Return a port that is free and stays so: below the range from which outgoing connections take theirs.

    A process that was killed comes back to its port, which a connection of another must not have taken meanwhile. Each
    process of tests begins at a random place, so that two at once do not choose alike.
    """
    for number in _ports:
        port = number % _COUNT + _LOWEST
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there are always more ports")
