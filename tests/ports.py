"""Ports on loopback for processes that a test starts."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket

_LOWEST, _COUNT, _WORKERS = 10_000, 2_500, 8
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_ports = itertools.count(random.SystemRandom().randrange(_COUNT))


def free_port() -> int:
    """Return a port that is free and stays so: below the range from which outgoing connections take theirs.

    A process that was killed comes back to its port, which a connection of another must not have taken meanwhile. Each
    worker of a run has ports of its own: what one has chosen is not taken until a process has begun. Where in them it
    begins is random, for the sake of other runs.
    """
    for number in _ports:
        port = _LOWEST + _worker * _COUNT + number % _COUNT
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there are always more ports")
