from __future__ import annotations

import socket

import aiohttp

from api.core.containers import HTTPGetAction
from kubelet.probes import http, tcp


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def test_a_port_that_nobody_listens_on_is_told_in_the_kernels_words():
    port = closed_port()
    refused = f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    assert (await tcp.probe("127.0.0.1", port, 5)).message == refused
    async with aiohttp.ClientSession() as session:
        found = await http.probe(session, "127.0.0.1", port, HTTPGetAction(path="/", port=port), 5)
    assert found.message == f'Get "http://127.0.0.1:{port}/": {refused}'


async def test_a_port_that_somebody_listens_on_is_enough():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert (await tcp.probe("127.0.0.1", int(listening.getsockname()[1]), 5)).is_success
