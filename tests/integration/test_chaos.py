"""`steer chaos store` on real members: clean for the store as it is, not clean for one that breaks a promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.chaos import faults
from lab.chaos.arena import Loopback
from lab.chaos.cluster import Cluster, SteerStore
from lab.chaos.rounds import Rounds
from lab.chaos.schedule import BY_NAME, FAULTS, Round
from lab.chaos.verdict import RoundReport, judge

pytestmark = [pytest.mark.integration, pytest.mark.soak]


async def one_round(directory: Path, fault: str, module: str = "store", members: int = 3) -> RoundReport:
    cluster = Cluster.found(SteerStore(module=module), Loopback(directory, members), directory, members)
    rounds = Rounds(cluster, directory)
    try:
        await rounds.begin()
        return await rounds.run(Round(0, BY_NAME[fault], calm_s=1.0, hold_s=0.3, seed=1))
    finally:
        await cluster.close()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch):
    def break_it(how: str) -> str:
        monkeypatch.setenv("STEER_BROKEN", how)
        return "tests.integration.broken_store"

    return break_it


async def test_a_store_whose_leader_is_killed_keeps_its_promises(tmp_path: Path):
    report = await one_round(tmp_path, "kill-leader")
    assert report.findings == ()
    assert report.calls > 100
    assert report.effects["members died of a signal"] == 1
    assert report.effects["terms advanced"] >= 1


async def test_stale_reads_are_caught(tmp_path: Path, broken):
    report = await one_round(tmp_path, "kill-follower", broken("stale-reads"))
    assert any("not linearizable" in finding for finding in report.findings)
    assert any("older than what was answered before it began" in finding for finding in report.findings)


async def test_acknowledging_before_the_sync_is_caught(tmp_path: Path, broken):
    report = await one_round(tmp_path, "kill-all", broken("unsynced"))
    assert any("acknowledged and lost" in finding for finding in report.findings)


async def test_applying_twice_is_caught(tmp_path: Path, broken):
    report = await one_round(tmp_path, "kill-follower", broken("applied-twice"))
    assert any("not linearizable" in finding for finding in report.findings)


async def test_the_librarys_own_journal_is_caught_by_a_flipped_bit(
    tmp_path: Path, broken, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(faults, "STOPS_WITHIN_S", 4.0)
    report = await one_round(tmp_path, "flipped-bit", broken("stock-journal"))
    verdict = judge([report], FAULTS)
    assert "flipped-bit: no members refused to start seen" in verdict.missing or verdict.findings
