"""Members that break a rule of raft are caught by the simulation: a check of the checkers and of their schedules.

A mutant exists only here, patched in. Each schedule also runs with members as they are, and finds nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from store.consensus import replication
from store.consensus.member import Member
from tests.simulation.consensus import MemoryJournal, World
from tests.simulation.loop import run
from tests.simulation.schedules import figure_eight, second_candidate


@pytest.fixture
def small_messages(monkeypatch):
    """An entry a message, so that one can arrive without the next."""
    monkeypatch.setattr(replication, "APPEND_BYTES", 1)


def count_any_term(monkeypatch):
    """Commit whatever is on a majority, of any term (what Raft thesis section 3.6.2 forbids)."""

    def advance_commit(self) -> None:
        matched = [self._SyncObj__raftMatchIndex.get(peer, 0) for peer in self._SyncObj__otherNodes]
        matched = sorted([*matched, min(self._durable, self._journal.last_index)], reverse=True)
        self._SyncObj__raftCommitIndex = max(self._SyncObj__raftCommitIndex, matched[len(matched) // 2])

    monkeypatch.setattr(Member, "_advance_commit", advance_commit)


def forget_the_vote(monkeypatch):
    """Come back with the term, and not knowing who was voted for."""
    recover = MemoryJournal._recover

    def forgetting(self, segment, kind, index, term, payload, offset) -> None:
        recover(self, segment, kind, index, term, payload, offset)
        self.vote = None

    monkeypatch.setattr(MemoryJournal, "_recover", forgetting)


def forget_term_and_vote(monkeypatch):
    """Come back with what the log's last entry says."""
    recover = MemoryJournal._recover

    def forgetting(self, segment, kind, index, term, payload, offset) -> None:
        recover(self, segment, kind, index, term, payload, offset)
        self.vote, self.term = None, self.entries[-1][2] if self.entries else 0

    monkeypatch.setattr(MemoryJournal, "_recover", forgetting)


def vote_before_it_is_synced(monkeypatch):
    """Let votes go without waiting for the disk."""
    sync = Member._sync

    def hasty(self) -> None:
        votes = [(peer, message) for peer, message in self.held if message["type"] == "response_vote"]
        self.held = [each for each in self.held if each not in votes]
        self._release(votes)
        sync(self)

    monkeypatch.setattr(Member, "_sync", hasty)


def play_figure_eight(seed: int) -> int:
    """Play some rounds; return how many came to their end."""

    async def main(rng: random.Random) -> int:
        world = World(rng, 5)
        ended = 0
        for _ in range(6):
            ended += await figure_eight(world, rng)
            assert not world.fatal, world.fatal
        await world.converge()
        return ended

    return run(seed, main)


def play_second_candidate(seed: int) -> int:
    """Play some rounds; return how many came to their end."""

    async def main(rng: random.Random) -> int:
        world = World(rng, 3)
        ended = 0
        for _ in range(6):
            ended += await second_candidate(world, rng)
            assert not world.fatal, world.fatal
        await world.converge()
        return ended

    return run(seed, main)


@pytest.mark.parametrize("seed", range(6))
def test_an_old_terms_entry_on_a_majority_is_never_taken_for_committed(small_messages, seed):
    assert play_figure_eight(seed) >= 2, "the schedule hardly ever came to its end"


@pytest.mark.parametrize("seed", range(6))
def test_nobody_votes_twice_in_a_term_however_often_it_dies_after_voting(seed):
    assert play_second_candidate(seed) >= 2, "the schedule hardly ever came to its end"


@pytest.mark.parametrize(
    ("mutant", "play"),
    [
        (count_any_term, play_figure_eight),
        (forget_the_vote, play_second_candidate),
        (forget_term_and_vote, play_second_candidate),
        (vote_before_it_is_synced, play_second_candidate),
    ],
)
def test_a_mutant_is_caught(
    small_messages, monkeypatch, mutant: Callable[[pytest.MonkeyPatch], None], play: Callable[[int], int]
):
    mutant(monkeypatch)
    for seed in range(10):
        try:
            play(seed)
        except AssertionError as caught:
            if re.search("leads in our term|both lead|somewhere, and|has another entry|is committed", str(caught)):
                return
            raise
    pytest.fail("nothing was noticed")
