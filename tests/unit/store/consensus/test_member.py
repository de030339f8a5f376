"""One member over a real log and a state machine that remembers what it was given."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from component.clock import RealClock
from store.consensus import durability, library
from store.consensus.consensus import NotLeader, OutcomeUnknown
from store.consensus.journal import Journal, JournalDamaged
from store.consensus.member import Member
from store.consensus.membership import MemberRecord, Members
from store.consensus.transport import Alone


class Machine:
    def __init__(self, applied=(0, 0)) -> None:
        self.applied = applied
        self.persisted = applied[0]
        self.commands: list[bytes] = []
        self.entries = 0
        self.members = Members((MemberRecord(1, ("https://127.0.0.1:1",), "store-1"),)).encode()

    def apply(self, index, term, commands):
        self.applied = (index, term)
        self.entries += bool(commands)
        self.commands += commands
        if b"break" in commands:
            raise AssertionError("an invariant is broken")
        return [b"did " + command for command in commands]

    def schedule_flush(self, durable) -> None:
        assert self.applied[0] <= durable


def make(directory, machine, on_fatal=None) -> Member:
    return Member(
        1,
        "store-1",
        Journal(directory),
        machine,
        Alone(),
        RealClock(),
        random.Random(1),
        on_fatal or (lambda error: None),
        encode_entry=lambda commands: b"\n".join(commands),
        decode_entry=lambda entry: entry.split(b"\n"),
    )


async def started(directory, machine, on_fatal=None) -> Member:
    member = make(directory, machine, on_fatal)
    await member.start()
    async with asyncio.timeout(2):
        await member.wait_leader()
    return member


async def test_a_lone_member_leads_at_once(tmp_path):
    member = make(tmp_path, Machine())
    async with asyncio.timeout(0.2):
        await member.start()
        await member.wait_leader()
    assert (member.status().role, member.status().leader, member.status().term) == ("leader", "store-1", 1)
    await member.stop()


async def test_what_is_proposed_together_shares_an_entry_and_each_gets_its_answer(tmp_path):
    machine = Machine()
    member = await started(tmp_path, machine)
    answers = await asyncio.gather(*(member.propose(b"%d" % n) for n in range(50)))
    assert answers == [b"did %d" % n for n in range(50)]
    assert machine.entries == 1
    await member.stop()


async def test_nothing_is_answered_before_it_is_synced(tmp_path, monkeypatch):
    member = await started(tmp_path, Machine())
    may_sync = threading.Event()
    really = Journal.write_and_sync

    def held_up(journal, staged):
        may_sync.wait(5)
        really(journal, staged)

    monkeypatch.setattr(Journal, "write_and_sync", held_up)
    answer = member.propose(b"x")
    await asyncio.sleep(0.05)
    assert not answer.done()
    may_sync.set()
    assert await answer == b"did x"
    await member.stop()


async def test_a_restart_applies_again_what_the_state_machine_lacks(tmp_path):
    first = Machine()
    member = await started(tmp_path, first)
    for n in range(3):
        await member.propose(b"%d" % n)
    applied = first.applied
    await member.stop()

    behind = Machine()
    again = await started(tmp_path, behind)
    assert behind.commands == [b"0", b"1", b"2"]
    await again.stop()

    current = Machine(applied)
    again = await started(tmp_path, current)
    assert current.commands == []
    assert again.status().term == 3
    await again.stop()


async def test_a_log_that_ends_before_the_state_is_refused(tmp_path):
    member = await started(tmp_path, Machine())
    await member.stop()
    with pytest.raises(JournalDamaged, match="the state is at 999"):
        make(tmp_path, Machine((999, 1)))


async def test_a_broken_invariant_stops_the_member_and_no_answer_is_made_up(tmp_path):
    fatal: list[BaseException] = []
    member = await started(tmp_path, Machine(), fatal.append)
    with pytest.raises(OutcomeUnknown):
        await member.propose(b"break")
    assert "an invariant is broken" in str(fatal[0])
    with pytest.raises(NotLeader):
        await member.propose(b"more")
    await member.stop()


async def test_a_failed_sync_stops_the_member(tmp_path, monkeypatch):
    fatal: list[BaseException] = []
    member = await started(tmp_path, Machine(), fatal.append)

    def fail(journal, staged):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Journal, "write_and_sync", fail)
    with pytest.raises(OutcomeUnknown):
        await member.propose(b"x")
    assert fatal[0].errno == 5


async def test_a_read_is_answered_at_what_is_applied(tmp_path):
    machine = Machine()
    member = await started(tmp_path, machine)
    await member.propose(b"x")
    assert await member.read_index() == machine.applied[0]
    await member.stop()
    with pytest.raises(NotLeader):
        await member.read_index()


async def test_the_log_in_memory_is_trimmed_to_what_is_not_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(durability, "TRIM_BYTES", 20)
    machine = Machine()
    member = await started(tmp_path, machine)
    for n in range(60):
        await member.propose(b"%d" % n)
        machine.persisted = machine.applied[0]
    assert len(member._journal.entries) < 15
    assert member._journal.size_bytes == sum(len(command) for command, _, _ in member._journal.entries)
    await member.stop()


def test_another_version_of_the_library_is_refused(monkeypatch):
    monkeypatch.setattr(library.syncobj, "VERSION", "0.3.18")
    with pytest.raises(RuntimeError, match=r"pip install pysyncobj==0\.3\.17"):
        library.install_seams()


def test_the_library_never_pickles():
    with pytest.raises(AssertionError):
        library.syncobj.pickle.loads(b"")
