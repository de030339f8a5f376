"""`steer-store` with one promise broken on purpose, to show that `lab.chaos` notices. Run as a module.

STEER_BROKEN in the environment says which: `stale-reads` answers from what the member happened to have; `unsynced`
acknowledges what is only in memory, as a machine does whose page cache is lost;
`applied-twice` applies some entries twice; `stock-journal` keeps the log in PySyncObj's own journal, as shipped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from pysyncobj.journal import createJournal

import store.consensus.journal
from proto.steersman.v1 import store_pb2
from store import __main__ as store_main
from store.apply import State
from store.consensus.journal import _BASE, _ENTRY, _HEADER, _VOTE, EMPTY, Journal, Staged
from store.mvcc.kv import Range, RangeResult
from store.replica import Replica

STALE_S = 0.3
"""How long an answer to a read is given again."""
LOST_S = 1.0
"""How long what was "synced" stays in memory."""


def read_stale() -> None:
    answer = Replica.range
    remembered: dict[str, tuple[float, RangeResult]] = {}

    async def read_index(self: Replica) -> None:
        return None

    async def answer_from_memory(self: Replica, query: Range, *, serializable: bool = False) -> RangeResult:
        at, result = remembered.get(repr(query), (0.0, None))
        if result is None or at < time.monotonic() - STALE_S:
            result = await answer(self, query, serializable=serializable)
            remembered[repr(query)] = (time.monotonic(), result)
        return result

    Replica.read_index = read_index
    Replica.range = answer_from_memory


def skip_syncs() -> None:
    write = Journal.write_and_sync
    waiting: list[tuple[float, Staged]] = []

    def write_late(self: Journal, staged: Staged) -> None:
        waiting.append((time.monotonic(), staged))
        while waiting and waiting[0][0] < time.monotonic() - LOST_S:
            write(self, waiting.pop(0)[1])

    Journal.write_and_sync = write_late
    # The state would otherwise be ahead of the log, and the member refuse to start: caught, but not what is meant.
    State.schedule_flush = lambda self, durable: None


def apply_twice() -> None:
    apply = State.apply

    def apply_again(self: State, index: int, term: int, commands: Sequence[bytes]) -> Sequence[object]:
        if index % 10:
            return apply(self, index, term, commands)
        doubled = []
        for raw in commands:
            again = store_pb2.Command.FromString(raw)
            again.ClearField("id")
            doubled += [raw, again.SerializeToString() if again.HasField("txn") else b""]
        answers = apply(self, index, term, [each for each in doubled if each])
        return [answer for answer, _ in zip(_firsts(answers, doubled), commands, strict=True)]

    State.apply = apply_again


def use_stock_journal() -> None:
    class StockJournal(Journal):
        """Our log's face over the library's file: no checksums, no syncs."""

        def __post_init__(self) -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._stock = createJournal(str(self.directory / "0000000000000000.log"))
            for command, index, term in self._stock[:]:
                self._place((command, index, term))
            self.term, self.vote = self._stock.getCurrentTerm(), self._stock.getVotedForNodeId() or None

        def write_and_sync(self, staged: Staged) -> None:
            stock = self._stock
            for record in staged.records:
                _, length, kind, index, term = _HEADER.unpack_from(record)
                payload = record[_HEADER.size : _HEADER.size + length]
                if kind == _VOTE:
                    stock.setCurrentTerm(term, payload.decode())
                elif kind == _BASE:
                    stock.clear()
                    stock.add(EMPTY, index, term)
                elif kind == _ENTRY:
                    if len(stock) and index <= stock[-1][1]:
                        stock.deleteEntriesFrom(index - stock[0][1])
                    stock.add(payload, index, term)

        def close(self) -> None:
            return

    store.consensus.journal.Journal = StockJournal
    State.schedule_flush = lambda self, durable: None  # the library has no state on disk but its dumps


def _firsts(answers: Sequence[object], doubled: Sequence[bytes]) -> list[object]:
    """Return the answers to every first of two, where a second may be missing."""
    rest = iter(answers)
    firsts = []
    for position, raw in enumerate(doubled):
        if raw:
            answer = next(rest)
            if position % 2 == 0:
                firsts.append(answer)
    return firsts


BREAKS = {
    "stale-reads": read_stale,
    "unsynced": skip_syncs,
    "applied-twice": apply_twice,
    "stock-journal": use_stock_journal,
}

if __name__ == "__main__":
    BREAKS[os.environ["STEER_BROKEN"]]()
    store_main.main()
