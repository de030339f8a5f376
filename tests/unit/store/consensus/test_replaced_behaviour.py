"""What PySyncObj does as it ships, and our members do not: one test for each way in which it can lose writes or safety.

`test_findings.py` shows each on the library itself; here is what members do instead, in more detail. A `Follower` is
one real member of three whose wire is in the test's hands; where several members are needed, they are those of the
simulation.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from component.clock import LoopClock
from store.consensus import durability
from store.consensus.consensus import OutcomeUnknown
from store.consensus.journal import EMPTY, Journal, JournalDamaged
from store.consensus.member import Member
from store.consensus.membership import ChangeUnderWay, MemberRecord, Members, MembershipChange
from store.consensus.reconfiguring import MEMBERSHIP
from store.consensus.snapshot import frame
from store.recovery import continue_from
from tests.simulation.consensus import Disk, Machine, MemoryJournal, State, World
from tests.simulation.loop import run
from tests.unit.store.consensus.subjects import HeldDisk, KeptWire


class Follower:
    """Member 1 of 1, 2 and 3, which hears only what the test says."""

    def __init__(self, rng: random.Random, disk: Disk | None = None) -> None:
        self.world = World(rng, 3)
        self.disk = disk or self.world.disks[1]
        self.wire, self.held = KeptWire(), HeldDisk()
        self.machine = Machine(self.world, 1, self.disk)
        self.fatal: list[BaseException] = []
        self.member = Member(
            1, "s1", MemoryJournal(self.disk.log), self.machine, self.wire, LoopClock(), rng, self.fatal.append,
            encode_entry=b"\n".join, decode_entry=lambda entry: entry.split(b"\n"), new_disk=lambda _: self.held,
        )  # fmt: skip

    async def started(self) -> Follower:
        await self.member.start()
        return self

    async def hear(self, **message) -> list[dict]:
        """Deliver a message of member 2; return what is answered."""
        return await self.hear_from("2", **message)

    async def hear_from(self, peer: str, **message) -> list[dict]:
        self.wire.sent.clear()
        self.member.on_message(peer, message)
        for _ in range(6):
            await asyncio.sleep(0)
        return [sent for to, sent in self.wire.sent if to == peer]

    async def append(self, *entries, before=(1, 0), term=1, commit=1) -> list[dict]:
        return await self.hear(
            type="append_entries", term=term, hb=1, confirm=False, quiet=False, commit_index=commit,
            prevLogIdx=before[0], prevLogTerm=before[1], entries=[list(entry) for entry in entries],
        )  # fmt: skip

    @property
    def log(self) -> list[tuple[int, int]]:
        return [(index, term) for _, index, term in self.member._journal.entries]

    async def stopped(self) -> Disk:
        """Crash: what was synced is left."""
        self.member._ticker.cancel()
        self.member._is_stopped = True
        return self.disk


def entry(index: int, term: int = 1) -> tuple[bytes, int, int]:
    return b"\x00%d.%d" % (term, index), index, term


def with_follower(scenario, seed: int = 1) -> None:
    async def main(rng: random.Random) -> None:
        follower = await Follower(rng).started()
        try:
            await scenario(follower)
        finally:
            await follower.stopped()

    run(seed, main)


def test_no_vote_and_no_acknowledgement_leaves_before_it_is_synced():
    """The library never syncs anything."""

    async def scenario(follower: Follower) -> None:
        follower.held.is_held = True
        assert await follower.append(entry(2)) == []
        assert follower.wire.sent == []
        follower.held.release()
        await asyncio.sleep(0.01)
        assert [message["next_node_idx"] for _, message in follower.wire.sent if "success" in message] == [3]

        follower.held.is_held = True
        await asyncio.sleep(0.6)
        vote = {"type": "request_vote", "term": 9, "last_log_index": 9, "last_log_term": 9, "transfer": True}
        assert await follower.hear_from("3", **vote) == []
        follower.held.release()
        await asyncio.sleep(0.01)
        assert ("3", {"type": "response_vote", "term": 9}) in follower.wire.sent

    with_follower(scenario)


def test_a_vote_is_remembered_through_a_crash_and_a_lost_one_refuses_to_start(tmp_path):
    """The library keeps the vote unsynced in a file beside the log, and starts without it where it can't read it."""

    async def main(rng: random.Random) -> None:
        follower = await Follower(rng).started()
        vote = {"type": "request_vote", "term": 5, "last_log_index": 1, "last_log_term": 0, "transfer": True}
        assert {"type": "response_vote", "term": 5} in await follower.hear_from("3", **vote)
        again = await Follower(rng, await follower.stopped()).started()
        assert {"type": "response_vote", "term": 5} not in await again.hear_from("2", **vote)
        assert {"type": "response_vote", "term": 5} in await again.hear_from("3", **vote)
        await again.stopped()

    run(1, main)
    journal = Journal(tmp_path)
    journal.set_base(1, 0)
    journal.set_vote(5, "3")
    journal.write_and_sync(journal.take())
    journal.append(EMPTY, 2, 5)
    journal.write_and_sync(journal.take())
    journal.close()
    path = next(Path(tmp_path).glob("*.log"))
    content = path.read_bytes()
    path.write_bytes(content.replace((5).to_bytes(8, "little") + b"3", (5).to_bytes(8, "little") + b"2", 1))
    with pytest.raises(JournalDamaged, match="whole once"):
        Journal(tmp_path)


def test_a_flipped_bit_is_never_served_and_a_torn_end_does_not_keep_a_member_down(tmp_path):
    """The library has no checksums: flipped bytes are served, and an unwritten last page keeps it from starting."""
    journal = Journal(tmp_path)
    journal.set_base(1, 0)
    for index in range(2, 5):
        journal.append(b"\x00" + b"v" * 50, index, 1)
        journal.write_and_sync(journal.take())
    journal.close()
    path = next(Path(tmp_path).glob("*.log"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert Journal(tmp_path).last_index == 3
    flipped = bytearray(whole)
    flipped[whole.index(b"v" * 50)] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(JournalDamaged):
        Journal(tmp_path)


async def busy_world(rng: random.Random, seconds: float = 0.0) -> World:
    world = World(rng, 3)
    for id in world.initial.voters:
        await world.start(id)
    await world.wait_leader()
    return world


async def propose(world: World, member: Member, *commands: bytes) -> None:
    for command in commands:
        await member.propose(command)
        world.acknowledged.append(command)


@pytest.fixture
def short_logs(monkeypatch):
    monkeypatch.setattr(durability, "LOG_KEPT_BYTES", 60)
    monkeypatch.setattr(durability, "TRIM_BYTES", 30)


def test_a_kill_while_a_snapshot_is_on_its_way_discards_nothing(short_logs):
    """The library's forked dump outlives its parent, and at the next start the log is wiped since it differs."""

    async def main(rng: random.Random) -> None:
        world = await busy_world(rng)
        leader = await world.wait_leader()
        behind = next(id for id in world.members if id != leader.status().id)
        world.crash(behind)
        await propose(world, leader, *(b"c%d" % n for n in range(60)))
        world.sync_s_max = 0.2  # so that it takes a while
        await world.start(behind)
        for _ in range(2000):
            if world.members[behind]._receiving is not None:
                break
            await asyncio.sleep(0.001)
        assert world.members[behind]._receiving is not None, "no snapshot was on its way"
        for id in list(world.members):
            world.crash(id)
        await world.converge()

    run(3, main)
    journal = MemoryJournal([])
    journal.set_base(1, 0)
    for index in range(2, 9):
        journal.append(EMPTY, index, 1)
    continue_from(journal, 5, 1)
    assert journal.last_index == 8, "what is beyond a state of the same history may have been acknowledged"
    continue_from(journal, 6, 2)
    assert (journal.first_index, journal.last_index) == (6, 6), "and what is of another history was not"


def test_a_deposed_leader_acknowledges_nothing_when_a_snapshot_replaces_its_log(short_logs):
    """The library commits up to its own last entry on the snapshot path, and answers success for its own tail."""

    async def main(rng: random.Random) -> None:
        world = await busy_world(rng)
        old = await world.wait_leader()
        others = set(world.members) - {old.status().id}
        world.partition({old.status().id}, others)
        doomed = [old.propose(b"doomed%d" % n) for n in range(5)]
        await asyncio.sleep(4)
        new = await world.wait_leader()
        assert new is not old
        await propose(world, new, *(b"kept%d" % n for n in range(60)))
        world.heal()
        outcomes = await asyncio.gather(*doomed, return_exceptions=True)
        assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes), outcomes
        await world.converge()
        assert world.installed >= 1, "the snapshot path was not taken"

    run(5, main)


def test_a_repeated_or_late_message_does_not_shorten_the_log():
    """The library cuts the log back to the beginning of every batch, conflict or not."""

    async def scenario(follower: Follower) -> None:
        await follower.append(*(entry(index) for index in range(2, 7)))
        (answer,) = await follower.append(entry(2), entry(3))
        assert (answer["success"], answer["next_node_idx"]) == (True, 4)
        assert await follower.append(before=(4, 1))
        assert follower.log[-1] == (6, 1)
        await follower.append(entry(4, 2), before=(3, 1), term=2)
        assert follower.log[-2:] == [(3, 1), (4, 2)], "a conflict does"

    with_follower(scenario)


def test_the_log_is_only_forgotten_as_far_as_the_state_is_on_disk(short_logs):
    """The library trims the log on disk to a dump that may be in memory only."""

    async def main(rng: random.Random) -> None:
        world = await busy_world(rng)
        leader = await world.wait_leader()
        for n in range(80):
            await propose(world, leader, b"c%d" % n)
            for id, member in world.members.items():
                assert member._journal.first_index <= max(1, world.machines[id].persisted)
        assert leader._journal.first_index > 1, "nothing was trimmed"
        for id in list(world.members):
            world.crash(id)
        await world.converge()

    run(7, main)


def test_a_second_change_of_members_waits_for_the_first():
    """The library tests for a change under way without ever noting one: two changes can make two majorities."""

    async def main(rng: random.Random) -> None:
        world = await busy_world(rng)
        leader = await world.wait_leader()
        world.partition({leader.status().id}, set(world.members) - {leader.status().id})
        first = leader._change_as_leader(MembershipChange("add", 4, peer_urls=("https://10.0.0.4:1",)))
        with pytest.raises(ChangeUnderWay):
            leader._change_as_leader(MembershipChange("remove", 2 if leader.status().id != 2 else 3))
        world.heal()
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(first, 20)
            raise OutcomeUnknown("committed after all")

    run(2, main)


def test_a_kill_while_the_log_is_trimmed_leaves_all_that_is_needed(tmp_path, monkeypatch):
    """The library clears its log and adds the rest again, in place."""
    journal = Journal(tmp_path, segment_bytes=300)
    journal.set_base(1, 0)
    for index in range(2, 30):
        journal.append(b"\x00" + b"v" * 60, index, 1)
        journal.write_and_sync(journal.take())
    unlinked: list[Path] = []
    really = Path.unlink

    def unlink(path: Path, **named: bool) -> None:
        if unlinked:
            raise KeyboardInterrupt  # killed here
        unlinked.append(path)
        really(path, **named)

    journal.append(b"\x00", 30, 1)
    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        journal.write_and_sync(journal.take(needed_from=20))
    again = Journal(tmp_path)
    assert again.first_index <= 20
    assert again.last_index == 30


def test_a_damaged_snapshot_is_neither_taken_over_nor_acknowledged():
    """The library swallows whatever goes wrong with a snapshot, and answers success."""

    async def scenario(follower: Follower) -> None:
        chunks = list(frame([State((50, 1), (b"x",)).encode()], 50, 1))
        chunks[0] = chunks[0][:-1] + b"?"
        answers: list[dict] = []
        for number, chunk in enumerate(chunks):
            message = {"type": "snapshot", "term": 1, "transfer": 7, "number": number, "index": 50, "hb": 1}
            answers += await follower.hear(**message, chunk=chunk, last=number == len(chunks) - 1)
        assert answers == []
        assert follower.disk.installed is None
        assert follower.fatal == []
        assert await follower.append(entry(2)), "the member lives"

    with_follower(scenario)


def test_answers_carry_their_term_and_an_old_leader_is_told_of_ours():
    """The library's answers have no term, and a message of an old term gets none."""

    async def scenario(follower: Follower) -> None:
        await follower.append(entry(2), term=7)
        answers = await follower.hear_from(
            "3", type="append_entries", term=4, hb=9, confirm=False, quiet=False, commit_index=1,
            prevLogIdx=1, prevLogTerm=0, entries=[],
        )  # fmt: skip
        assert [(answer["type"], answer["term"]) for answer in answers] == [("next_node_idx", 7)]
        assert "success" not in answers[0]

    with_follower(scenario)


def test_a_member_that_was_cut_off_comes_back_without_deposing_the_leader():
    """The library's member comes back with a higher term, to which everybody yields."""

    async def main(rng: random.Random) -> None:
        world = await busy_world(rng)
        leader = await world.wait_leader()
        term, away = leader.status().term, next(id for id in world.members if id != leader.status().id)
        world.partition({away}, set(world.members) - {away})
        await asyncio.sleep(20)
        world.heal()
        await asyncio.sleep(5)
        assert world.leader() is leader
        assert {member.status().term for member in world.members.values()} == {term}

    run(4, main)


def test_who_hears_a_leader_gives_no_vote():
    """The library votes for, and drops its leader for, any higher term."""

    async def scenario(follower: Follower) -> None:
        await follower.append(entry(2))
        ask = {"last_log_index": 9, "last_log_term": 9}
        assert await follower.hear_from("3", type="request_vote", term=8, transfer=False, **ask) == []
        (answer,) = await follower.hear_from("3", type="pre_vote", term=8, **ask)
        assert not answer["granted"]
        assert follower.member.status().term == 1

    with_follower(scenario)


def test_a_membership_is_in_force_while_it_is_in_the_log():
    """The library applies members' changes at start only once they are committed, and dumps uncommitted ones."""

    async def main(rng: random.Random) -> None:
        follower = await Follower(rng).started()
        four = MemberRecord(4, ("https://10.0.0.4:2380",), "s4", is_learner=True)
        members = Members((*follower.world.initial.records, four))
        change = (bytes([MEMBERSHIP]) + members.encode(), 2, 1)
        await follower.append(change)
        assert follower.member.members == members
        assert follower.machine.members == follower.world.initial.encode(), "not committed, so not in any snapshot"
        again = await Follower(rng, await follower.stopped()).started()
        assert again.member.members == members
        await again.append(entry(2, 2), term=2)
        assert again.member.members == again.world.initial
        await again.stopped()

    run(1, main)


def test_what_goes_wrong_in_a_turn_stops_the_member_instead_of_being_tried_again():
    """The library logs the exception and goes on with half a step; a command that raises is applied for ever."""

    async def scenario(follower: Follower) -> None:
        tried: list[int] = []

        def apply(index, term, commands):
            tried.append(index)
            raise ValueError("a mistake of ours")

        follower.machine.apply = apply
        await follower.append(entry(2), commit=2)
        await asyncio.sleep(3)
        assert tried == [2]
        assert [str(error) for error in follower.fatal] == ["a mistake of ours"]
        assert await follower.append(entry(3)) == []

    with_follower(scenario)


def test_nothing_is_committed_beyond_what_is_known_to_match_the_leaders_log():
    """The library commits up to its own last entry, whatever that is."""

    async def scenario(follower: Follower) -> None:
        await follower.append(*(entry(index) for index in range(2, 9)))
        await follower.append(before=(3, 1), commit=100)
        assert follower.member.status().commit == 3
        (answer,) = await follower.append(entry(21), before=(20, 1), commit=100)
        assert (answer["success"], follower.member.status().commit) == (False, 3)

    with_follower(scenario)


def test_of_two_that_ask_to_be_elected_at_once_one_gives_way():
    """The library's two candidates of one term share the votes, and wait for the next election."""

    async def main(rng: random.Random) -> None:
        world = await busy_world(rng)
        leader = await world.wait_leader()
        terms = leader.status().term
        world.crash(leader.status().id)
        await asyncio.sleep(0.02)  # what it sent has come
        for member in world.members.values():
            member._heard_leader_at = float("-inf")
            member._SyncObj__raftElectionDeadline = world.clock.monotonic()
        await asyncio.sleep(0.24)
        assert [member.status().role for member in world.members.values()].count("leader") == 1
        assert {member.status().term for member in world.members.values()} == {terms + 1}

    for seed in range(10):
        run(seed, main)
