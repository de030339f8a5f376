from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import watchdog
from deploy.watchdog import Watchdog, is_stopped

SAYS = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
for _ in range(int(sys.argv[1])):
    s.send(b"WATCHDOG=1")
    time.sleep(0.05)
time.sleep(60)
"""


class Time:
    """Runs a hundred times as fast."""

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() * 20


@pytest.fixture
async def dog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.02)
    made = Watchdog(tmp_path, Time())
    made.open()
    yield made
    made.close()


@pytest.fixture
def start(dog: Watchdog):
    children = []

    def begin(times: int) -> int:
        environment = {**os.environ, **dog.environment()}
        children.append(subprocess.Popen([sys.executable, "-c", SAYS, str(times)], env=environment))
        return children[-1].pid

    yield begin
    for child in children:
        child.kill()
        child.wait()


async def is_hung(dog: Watchdog, pid: int, *, is_new: bool, waiting_s: float = 1.0, within_s: float = 10) -> bool:
    try:
        async with asyncio.timeout(waiting_s):
            await dog.until_hung(pid, within_s, is_new=is_new)
    except TimeoutError:
        return False
    return True


async def test_one_that_goes_on_saying_something_is_alive(dog: Watchdog, start):
    assert not await is_hung(dog, start(1000), is_new=True)


async def test_one_that_falls_silent_hangs(dog: Watchdog, start):
    assert await is_hung(dog, start(3), is_new=True, waiting_s=20)


async def test_a_new_one_has_time_to_say_something_first_and_one_taken_over_has_not(dog: Watchdog, start):
    silent = start(0)
    assert not await is_hung(dog, silent, is_new=True)
    assert await is_hung(dog, silent, is_new=False, waiting_s=20)


async def test_one_that_is_stopped_has_less_time(dog: Watchdog, start):
    pid = start(0)
    os.kill(pid, signal.SIGSTOP)
    assert await is_hung(dog, pid, is_new=False, within_s=1e9, waiting_s=20)
    assert is_stopped(pid) and not is_stopped(os.getpid())


async def test_others_cannot_say_it_in_its_place(dog: Watchdog, start):
    silent = start(0)
    task = asyncio.create_task(is_hung(dog, silent, is_new=False, waiting_s=20))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect("\0" + dog.environment()["NOTIFY_SOCKET"][1:])
        while not task.done():
            other.send(b"WATCHDOG=1")
            await asyncio.sleep(0.02)
    assert await task


async def test_without_the_socket_nobody_is_taken_to_hang(dog: Watchdog, tmp_path: Path, start):
    second = Watchdog(tmp_path, Time())
    second.open()
    assert not await is_hung(second, start(0), is_new=False)
