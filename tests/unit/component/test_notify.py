from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from component import journal, logs, notify


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


async def test_a_process_says_that_it_is_up_then_alive(listener, monkeypatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    problem: list[str | None] = ["no leader"]
    teller = asyncio.create_task(notify.run({"store": lambda: problem[0]}))
    assert await asyncio.to_thread(listener.recv, 999) == b"READY=1\nSTATUS=not ready: store: no leader"
    problem[0] = None
    assert await asyncio.to_thread(listener.recv, 999) == b"WATCHDOG=1\nSTATUS=ready"
    teller.cancel()
    await asyncio.gather(teller, return_exceptions=True)


BEGINS_ANEW_WITHIN = """
import asyncio
from component import notify, signals
async def main():
    for turn in range(2):
        teller = asyncio.create_task(notify.run({"turn": lambda: f"turn {turn}"}))
        await asyncio.sleep(0.05)
        if turn == 0:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)
    await asyncio.sleep(60)
raise SystemExit(signals.run(main()))
"""


def test_that_it_stops_is_said_when_it_is_told_to_and_not_when_it_begins_anew(listener) -> None:
    process = subprocess.Popen([sys.executable, "-c", BEGINS_ANEW_WITHIN])
    try:
        for turn in range(2):
            assert listener.recv(999) == b"READY=1\nSTATUS=not ready: turn: turn %d" % turn
        process.terminate()
        assert listener.recv(999) == b"STOPPING=1"
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()


async def test_nobody_is_told_where_nobody_listens(monkeypatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    await asyncio.wait_for(notify.run({}), 1)


def test_alive_is_said_twice_as_often_as_it_must_be(monkeypatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert notify.interval_s() == 2.0
    monkeypatch.setenv("WATCHDOG_PID", "1")  # meant for another process
    assert notify.interval_s() == notify.SAY_EVERY_S


def test_a_records_fields_reach_the_journal(tmp_path, monkeypatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.settimeout(5)
        monkeypatch.setattr(journal, "ADDRESS", str(tmp_path / "journal"))
        monkeypatch.setattr(journal, "is_stderr", lambda: True)
        root = logging.getLogger()
        before, level = list(root.handlers), root.level
        try:
            logs.configure()
            logging.getLogger("test").warning("pod started", extra={"pod": "default/web", "two words": "a\nb"})
            received = receiver.recv(9999)
        finally:
            root.handlers[:], root.level = before, level
    assert b"MESSAGE=pod started pod=default/web" in received
    assert b"PRIORITY=4\n" in received
    assert b"POD=default/web\n" in received
    assert b"TWO_WORDS\n\x03\0\0\0\0\0\0\0a\nb\n" in received


def test_a_field_cannot_pass_for_one_of_the_journals_own() -> None:
    assert journal.field_name("_pid") == "PID"
    assert journal.field_name("message") == "X_MESSAGE"
    assert journal.field_name("0é") == "X_"
