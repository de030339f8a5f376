"""Which faults there are, and which one a round of a run gets: all of it from the seed and the round's number.

Rounds are drawn like cards: every fault once in an order of its own, then all of them again. A round can be drawn
without those before it, so a run can be taken up where another stopped, and one round be repeated alone.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lab.chaos.effects import Effect


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; `faults.py` has a function of the same name (with underscores) that does it."""

    name: str
    does: str
    effects: tuple[Effect, ...]
    """What must be seen of it, each at least once in a run."""
    needs: frozenset[str] = frozenset()
    """`network` (namespaces), `disk` (filesystems), `time` (clocks of their own), `cluster` (a majority is left)."""
    hold_s: tuple[float, float] = (2.0, 4.0)
    """How long it lasts."""


def _needs(*what: str) -> frozenset[str]:
    return frozenset(what)


FAULTS: tuple[Fault, ...] = (
    Fault("kill-leader", "kill -9 of the leader", (Effect.MEMBERS_DIED, Effect.TERMS_ADVANCED)),
    Fault("kill-follower", "kill -9 of a follower", (Effect.MEMBERS_DIED,), _needs("cluster")),
    Fault("kill-all", "kill -9 of every member", (Effect.MEMBERS_DIED, Effect.TERMS_ADVANCED), hold_s=(0.0, 1.0)),
    Fault(
        "pause-leader",
        "SIGSTOP of the leader, longer than an election takes",
        (Effect.PAUSES_SEEN, Effect.LEADERSHIPS_LOST),
        _needs("cluster"),
        (3.0, 5.0),
    ),
    Fault(
        "pause-follower",
        "SIGSTOP of a follower",
        (Effect.PAUSES_SEEN, Effect.FELL_BEHIND),
        _needs("cluster"),
        (3.0, 5.0),
    ),
    Fault(
        "cut-leader",
        "the leader cut off from the other members, not from clients",
        (Effect.PACKETS_DROPPED, Effect.LEADERSHIPS_LOST),
        _needs("cluster", "network"),
        (3.0, 5.0),
    ),
    Fault(
        "cut-follower",
        "a follower cut off from the other members, not from clients",
        (Effect.PACKETS_DROPPED, Effect.FELL_BEHIND),
        _needs("cluster", "network"),
        (3.0, 5.0),
    ),
    Fault(
        "deafen-leader",
        "the leader hears no other member, they hear it",
        (Effect.PACKETS_DROPPED, Effect.LEADERSHIPS_LOST),
        _needs("cluster", "network"),
        (4.0, 6.0),
    ),
    Fault(
        "mute-follower",
        "a follower hears one other member and is heard by none",
        (Effect.PACKETS_DROPPED,),
        _needs("cluster", "network"),
        (3.0, 5.0),
    ),
    Fault(
        "part-two",
        "the leader and one follower lose sight of each other; the third sees both",
        (Effect.PACKETS_DROPPED,),
        _needs("cluster", "network"),
        (3.0, 5.0),
    ),
    Fault(
        "slow-disk",
        "a member's filesystem stands still again and again",
        (Effect.DISK_WAITS_SEEN,),
        _needs("disk"),
        (3.0, 5.0),
    ),
    Fault(
        "full-disk",
        "a member's filesystem fills up",
        (Effect.MEMBERS_STOPPED,),
        _needs("disk"),
        (1.0, 2.0),
    ),
    Fault(
        "failing-disk",
        "the device under a member's filesystem takes no more writes, fsync fails: the member stops, and is replaced",
        (Effect.MEMBERS_STOPPED, Effect.MEMBERS_REPLACED),
        _needs("cluster", "disk"),
        (1.0, 2.0),
    ),
    Fault("torn-tail", "a member killed, its log ending in half a record", (Effect.MEMBERS_DIED, Effect.TAILS_DROPPED)),
    Fault(
        "torn-tails",
        "every member killed, every log ending in half a record",
        (Effect.MEMBERS_DIED, Effect.TAILS_DROPPED),
        hold_s=(0.0, 0.5),
    ),
    Fault(
        "flipped-bit",
        "one bit of a stopped member's log turned over: it must refuse to start, and is replaced",
        (Effect.MEMBERS_REFUSED_TO_START, Effect.MEMBERS_REPLACED),
        _needs("cluster"),
        (0.5, 1.5),
    ),
    Fault(
        "clock-jump",
        "members started again one by one, each with its monotonic clock hours or years off",
        (Effect.CLOCKS_SHIFTED,),
        _needs("time"),
        (0.5, 1.0),
    ),
    Fault(
        "rolling-restart",
        "an orderly stop and start of one member after the other",
        (Effect.MEMBERS_RESTARTED,),
        hold_s=(0.2, 0.8),
    ),
    Fault(
        "replace-member",
        "a member killed and its disk lost; another takes its place",
        (Effect.MEMBERS_REPLACED,),
        _needs("cluster"),
        (0.5, 1.5),
    ),
    Fault(
        "force-snapshot",
        "a follower stopped until the others' logs no longer reach back to it",
        (Effect.SNAPSHOTS_TAKEN_IN,),
        _needs("cluster"),
        (0.5, 1.0),
    ),
)

BY_NAME = {fault.name: fault for fault in FAULTS}


@dataclass(frozen=True, slots=True)
class Round:
    """One fault under load."""

    number: int
    fault: Fault
    calm_s: float
    """Load before the fault."""
    hold_s: float
    seed: int
    """For everything else that the round draws."""


def possible(offers: Collection[str], only: Sequence[str] = (), faults: Sequence[Fault] = FAULTS) -> tuple[Fault, ...]:
    """Return the faults whose needs are met, of those named in `only` if any are.

    Raises:
        ValueError: a name in `only` is no fault's, or that fault's needs are not met; the message says which.
    """
    by_name = {fault.name: fault for fault in faults}
    for name in only:
        if name not in by_name:
            raise ValueError(f"no fault is called {name!r}; there are {', '.join(by_name)}")
        if missing := by_name[name].needs - set(offers):
            raise ValueError(f"{name} needs what there is not here: {', '.join(sorted(missing))}")
    return tuple(fault for fault in faults if fault.needs <= set(offers) and (not only or fault.name in only))


def draw(seed: int, number: int, faults: Sequence[Fault]) -> Round:
    """Return round `number`, counted from 0, of the run with this seed."""
    deck = list(faults)
    random.Random(f"deck {seed} {number // len(deck)}").shuffle(deck)
    fault = deck[number % len(deck)]
    rng = random.Random(f"round {seed} {number}")
    return Round(
        number, fault, round(rng.uniform(0.8, 1.6), 2), round(rng.uniform(*fault.hold_s), 2), rng.getrandbits(48)
    )
