"""Which faults there are on machines, with what must be seen of each.

`lab.chaos.schedule` draws them: all of it from a seed and a round's number, as for the store alone.
"""

from __future__ import annotations

from lab.chaos.effects import Effect
from lab.chaos.schedule import Fault

SCENARIOS: tuple[Fault, ...] = (
    Fault("kill-store-leader", "kill -9 of the store's leader", (Effect.UNITS_RESTARTED, Effect.LEADERSHIPS_LOST)),
    Fault(
        "kill-stores-in-turn",
        "kill -9 of every store, one after the other in an order of its own, each back before the next",
        (Effect.UNITS_RESTARTED, Effect.LEADERSHIPS_LOST),
        hold_s=(0.0, 0.5),
    ),
    Fault("kill-all-stores", "kill -9 of every store at once", (Effect.UNITS_RESTARTED, Effect.TERMS_ADVANCED)),
    Fault(
        "hang-store-leader",
        "SIGSTOP of the store's leader",
        (Effect.PAUSES_SEEN, Effect.LEADERSHIPS_LOST),
        hold_s=(4, 7),
    ),
    Fault(
        "partition-leading-machine",
        "the machine of the store's leader cut off from the others",
        (Effect.PACKETS_DROPPED, Effect.LEADERSHIPS_LOST),
        hold_s=(6, 10),
    ),
    Fault(
        "deafen-leading-machine",
        "the machine of the store's leader hears no other, they hear it",
        (Effect.PACKETS_DROPPED, Effect.LEADERSHIPS_LOST),
        hold_s=(6, 10),
    ),
    Fault(
        "mute-machine",
        "a machine that does not lead hears the others and is not heard",
        (Effect.PACKETS_DROPPED,),
        hold_s=(6, 10),
    ),
    Fault("power-cut", "the power of one machine cut", (Effect.MACHINES_BOOTED,), hold_s=(5, 12)),
    Fault(
        "power-cut-leader",
        "the power of the machine of the store's leader cut",
        (Effect.MACHINES_BOOTED, Effect.LEADERSHIPS_LOST),
        hold_s=(5, 12),
    ),
    Fault(
        "power-cut-all",
        "the power of all machines cut at once",
        (Effect.MACHINES_BOOTED, Effect.TERMS_ADVANCED),
        hold_s=(0.5, 2),
    ),
    Fault(
        "lose-machine",
        "the power of a machine with pods cut until the cluster has taken them out of their Service",
        (Effect.MACHINES_BOOTED, Effect.ENDPOINTS_GONE),
    ),
    Fault(
        "lose-quorum",
        "the power of all machines but one cut: it answers from its cache and says that the quorum is lost",
        (Effect.MACHINES_BOOTED, Effect.QUORUM_LOSS_NAMED, Effect.CACHE_ANSWERED),
        hold_s=(14, 18),
    ),
    Fault("full-machine-disk", "a machine's disk filled up", (Effect.NO_SPACE_SEEN,), hold_s=(4, 8)),
    Fault(
        "slow-machine-disk", "a machine's disk stands still again and again", (Effect.DISK_WAITS_SEEN,), hold_s=(4, 8)
    ),
    Fault(
        "clock-skew",
        "the processes of one machine started again with their clock minutes off, and again with the right one",
        (Effect.CLOCKS_SHIFTED, Effect.UNITS_RESTARTED),
        hold_s=(6, 10),
    ),
    Fault(
        "certificates-expired",
        "the processes of one machine started again two years later by their clock: all certificates are over",
        (Effect.CLOCKS_SHIFTED, Effect.CERTIFICATES_REFUSED),
        hold_s=(6, 10),
    ),
    Fault("hang-apiserver", "SIGSTOP of one API server", (Effect.PAUSES_SEEN,), hold_s=(6, 10)),
    Fault("kill-apiservers", "kill -9 of every API server at once", (Effect.UNITS_RESTARTED,)),
    Fault("kill-kubelet", "kill -9 of a machine's kubelet and containerd", (Effect.UNITS_RESTARTED,)),
    Fault("kill-controllers", "kill -9 of all controllers and schedulers", (Effect.UNITS_RESTARTED,)),
    Fault(
        "restart-in-turn",
        "an orderly restart of everything of ours on one machine after the other",
        (Effect.UNITS_RESTARTED,),
        hold_s=(0.5, 1.0),
    ),
    Fault(
        "upgrade-in-turn",
        "one machine after the other taken to another version with `steer upgrade`; the next time, back",
        (Effect.VERSIONS_CHANGED,),
        hold_s=(0.5, 1.0),
    ),
    Fault("reboot", "an orderly reboot of one machine", (Effect.MACHINES_BOOTED,), hold_s=(0.5, 1.0)),
)

BY_NAME = {each.name: each for each in SCENARIOS}

LEAVES_MAJORITY = frozenset(BY_NAME) - {"kill-all-stores", "power-cut-all", "lose-quorum"}
"""Faults through which most of the store's members stay well: writes must go on after a few seconds."""
