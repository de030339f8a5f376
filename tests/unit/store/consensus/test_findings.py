"""Fifteen ways in which PySyncObj 0.3.17 loses writes or safety: each happens to the library, and not to our members.

One scenario each, played by the same lines against both (`subjects.Subject`). What a test ends with is what went
wrong; it must have gone wrong for the library, or the test would show nothing, and must not for ours.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from store.consensus import durability
from tests.simulation.loop import run
from tests.unit.store.consensus.stock import Stock
from tests.unit.store.consensus.subjects import DoesNotStart, Entry, Ours, PowerCut, Subject


class Play:
    """What a scenario has in its hands."""

    def __init__(self, kind: type[Subject], directory: Path, power: PowerCut) -> None:
        self.kind, self.directory, self.power = kind, directory, power
        self.taken: list[str] = []
        self._subject: Subject | None = None

    async def started(self, *, dumps_to_file: bool = True) -> Subject:
        """The member, started, or started again from its files."""
        if self._subject is None:
            self._subject = self.kind(self.directory, dumps_to_file=dumps_to_file, takes=self.takes)
        await self._subject.start()
        return self._subject

    def takes(self, command: str) -> None:
        self.taken.append(command)
        if command == "poison":
            raise ValueError("a mistake of ours")


Scenario = Callable[[Play], Awaitable[bool]]


def finding(scenario: Scenario) -> Callable[..., None]:
    """Make a test of a scenario, which returns whether something went wrong."""

    @pytest.mark.parametrize("kind", [Stock, Ours], ids=["library", "ours"])
    def test(kind: type[Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(durability, "LOG_KEPT_BYTES", 20)
        monkeypatch.setattr(durability, "TRIM_BYTES", 10)
        play = Play(kind, tmp_path, PowerCut(tmp_path, monkeypatch))
        went_wrong = run(1, lambda _: scenario(play))
        assert went_wrong == (kind is Stock), "the library should have failed here" if kind is Stock else "it fails"

    functools.update_wrapper(test, scenario)
    del test.__wrapped__
    return test


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [(f"c{index}.{term}", index, term) for index in range(first, last + 1)]


def file_with(directory: Path, content: bytes) -> Path:
    return next(path for path in directory.rglob("*") if path.is_file() and content in path.read_bytes())


@finding
async def test_s1_an_acknowledgement_leaves_before_anything_was_synced(play):
    subject = await play.started()
    play.power.syncs = 0
    (answer,) = await subject.take_entries(*entries(2, 4), before=(1, 0), commit=1)
    assert answer.success
    return play.power.syncs == 0


@finding
async def test_s2_a_vote_is_forgotten_in_a_power_cut_and_given_again(play):
    subject = await play.started()
    await subject.wait(0.4)
    assert await subject.vote("3", 5)
    play.power.write_back("journal")  # the log, and not the file beside it
    await subject.kill()
    play.power.happens()
    again = await play.started()
    return await again.vote("2", 5)


@finding
async def test_s3_a_flipped_bit_is_served(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 9), before=(1, 0), commit=1)
    await subject.take_entries(*entries(10, 11), before=(9, 1), commit=1)
    before = subject.log
    await subject.kill()
    path = file_with(play.directory, b"c5.1")
    path.write_bytes(path.read_bytes().replace(b"c5.1", b"c4.1"))
    try:
        again = await play.started()
    except DoesNotStart:
        return False
    return again.log != before


@finding
async def test_s3_a_torn_end_keeps_a_member_from_starting(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 9), before=(1, 0), commit=1)
    await subject.take_entries(("x" * 100, 10, 1), before=(9, 1), commit=1)
    await subject.kill()
    path = file_with(play.directory, b"x" * 100)
    content = path.read_bytes()
    end = content.index(b"x" * 100) + 100
    path.write_bytes(content[: end - 150] + bytes(150) + content[end:])  # a page that was never written
    try:
        again = await play.started()
    except DoesNotStart:
        return True
    return again.log[-1] != ("c9.1", 9)


@finding
async def test_s4_a_kill_before_a_dump_is_reaped_discards_what_was_acknowledged_since(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 6), before=(1, 0), commit=6)
    await subject.wait(0.1)
    subject.dump()
    (answer,) = await subject.take_entries(*entries(7, 9), before=(6, 1), commit=6)
    assert answer.has_up_to == 9
    await subject.kill()
    again = await play.started()
    await again.wait(0.1)
    return again.log[-1][1] < 9


@finding
async def test_s5_a_deposed_leader_acknowledges_what_it_never_committed(play):
    subject = await play.started()
    await subject.lead()
    doomed = await subject.propose("doomed")
    await subject.begin_snapshot(50, subject.term + 1, commit=60)
    await subject.wait(0.2)
    return doomed == [True]


@finding
async def test_s6_a_repeated_message_shortens_a_log_that_was_acknowledged(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 6), before=(1, 0), commit=1)
    await subject.take_entries(*entries(2, 3), before=(1, 0), commit=1)
    return subject.log[-1][1] < 6


@finding
async def test_s7_the_log_is_forgotten_though_what_replaces_it_is_in_memory_only(play):
    subject = await play.started(dumps_to_file=False)
    await subject.take_entries(*entries(2, 9), before=(1, 0), commit=9)
    await subject.wait(0.1)
    assert len(subject.applied) == 8
    if play.kind is Stock:
        subject.dump()
    await subject.take_entries(*entries(10, 11), before=(9, 1), commit=11)
    await subject.wait(1.2)
    await subject.kill()
    again = await play.started()
    await again.take_entries(before=(11, 1), commit=11)
    await again.wait(0.2)
    return again.applied != [command for command, _, _ in entries(2, 11)]


@finding
async def test_s8_a_second_change_of_members_begins_before_the_first_is_committed(play):
    subject = await play.started()
    await subject.lead()
    await subject.change_twice()
    return subject.changes_not_committed > 1


@finding
async def test_s9_a_kill_while_the_log_is_trimmed_loses_its_end(play):
    subject = await play.started()
    for index in range(2, 40):
        await subject.take_entries((f"{index}" + "x" * 40, index, 1), before=(index - 1, min(1, index - 2)), commit=20)
    await subject.wait(0.1)
    subject.dump()
    subject.trim_and_die()
    again = await play.started()
    await again.wait(0.1)
    return again.log[-1][1] < 39


@finding
async def test_s10_a_damaged_snapshot_is_acknowledged(play):
    subject = await play.started()
    answers = await subject.take_damaged_snapshot(50, 1)
    assert subject.applied == []
    return any(answer.success for answer in answers)


@finding
async def test_s11_a_leader_whose_term_is_over_is_not_told(play):
    subject = await play.started()
    (answer,) = await subject.take_entries(*entries(2, 2), before=(1, 0), commit=1, term=7)
    late = await subject.take_entries(before=(1, 0), commit=1, term=4, leader="3")
    return answer.term is None and late == []


@finding
async def test_s12_whoever_comes_with_a_higher_term_deposes_a_leader_that_is_well(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 2), before=(1, 0), commit=1)
    voted = await subject.vote("3", 8)
    return voted and subject.term == 8


@finding
async def test_s12_a_vote_whose_answer_was_lost_is_not_given_again(play):
    subject = await play.started()
    await subject.wait(0.4)
    assert await subject.vote("3", 5)
    return not await subject.vote("3", 5)


@finding
async def test_s13_a_membership_in_the_log_is_out_of_force_after_a_restart(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 2), before=(1, 0), commit=1)
    await subject.take_membership(3, before=(2, 1))
    assert "4" in subject.voters
    await subject.kill()
    again = await play.started()
    await again.wait(0.1)
    return "4" not in again.voters


@finding
async def test_s14_a_command_that_raises_is_tried_for_ever(play):
    subject = await play.started()
    await subject.take_entries(("fine", 2, 1), ("poison", 3, 1), before=(1, 0), commit=3)
    await subject.wait(1)
    return play.taken.count("poison") > 1


@finding
async def test_s15_what_is_committed_runs_ahead_of_the_log_after_a_power_cut(play):
    subject = await play.started()
    await subject.take_entries(*entries(2, 5), before=(1, 0), commit=5)
    play.power.write_back("journal")
    await subject.take_entries(*entries(6, 8), before=(5, 1), commit=8)
    await subject.wait(1.2)
    play.power.write_back("journal.meta")
    await subject.kill()
    play.power.happens()
    again = await play.started()
    return again.commit > again.log[-1][1]
