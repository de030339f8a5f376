from __future__ import annotations

import asyncio
import json

import pytest

from component.clock import RealClock
from metricsserver.__main__ import Rounds
from metricsserver.asking import Asking, Kubelet, NoAnswer, Refused
from metricsserver.samples import Samples

FORBIDDEN = json.dumps({"kind": "Status", "message": 'nodes is forbidden: User "x" cannot list resource "nodes"'})


class Opening(Asking):
    """API servers that come up, then learn of our rights, then answer; each question's time is kept."""

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def kubelets(self) -> list[Kubelet]:
        self.asked_at.append(asyncio.get_running_loop().time())
        if len(self.asked_at) == 1:
            raise NoAnswer("nobody is there")
        if len(self.asked_at) == 2:
            raise Refused(403, FORBIDDEN.encode())
        return []


@pytest.mark.looptime
async def test_a_round_that_could_not_begin_is_tried_again_after_a_second():
    asking = Opening()
    rounds = Rounds(asking, Samples(), RealClock(), resolution_s=15.0)
    running = asyncio.create_task(rounds.run())
    await asyncio.sleep(1.5)
    assert rounds.check() == 'the API server answers 403: nodes is forbidden: User "x" cannot list resource "nodes"'
    await asyncio.sleep(1)
    assert rounds.check() is None
    await asyncio.sleep(27.5)
    assert [round(at) for at in asking.asked_at] == [0, 1, 2, 7, 22], "what comes after is asked no oftener than before"
    running.cancel()


@pytest.mark.parametrize("body", [b"gateway down", b"[1]", b"\xff", b"null"])
def test_an_answer_that_is_no_status_is_shown_as_it_came(body: bytes):
    assert body.decode(errors="replace") in str(Refused(502, body))
