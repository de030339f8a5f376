"""The library as it ships, behind the face of `subjects.Subject`: what our members would do without our overrides.

The store has put its own clock and log into the library it loaded; this is a second copy of it, untouched but for the
clock. It gets files for its log and its dumps, and a wire that keeps what is sent, as it would without a network.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pysyncobj
import pytest

from tests.unit.store.consensus.subjects import Answer, DoesNotStart, Entry, Killed

LEADER = 2
TICK_S = 0.05
"""As the library's own thread has it."""


def _load_another_copy() -> Any:
    """Load it under another name, so that what it pickles is found again."""
    place = next(iter(pysyncobj.__path__))
    spec = importlib.util.spec_from_file_location("shipped_pysyncobj", f"{place}/__init__.py")
    assert spec is not None and spec.loader is not None
    package = sys.modules["shipped_pysyncobj"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return importlib.import_module("shipped_pysyncobj.syncobj")


syncobj = _load_another_copy()
Node, Transport = syncobj.Node, importlib.import_module("shipped_pysyncobj.transport").Transport


class _Wire(Transport):  # type: ignore[misc]
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        self.sent.append((node.id, message))
        return True


class _List(syncobj.SyncObj):  # type: ignore[misc]
    """A state machine as the library's manual has them."""

    def __init__(self, takes: Callable[[str], None], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._SyncObj__properies.add("takes")
        self.takes = takes
        self.commands: list[str] = []

    @syncobj.replicated
    def take(self, command: str) -> None:
        self.takes(command)
        self.commands.append(command)


class Stock:
    """The library's own member, as `Subject` has it."""

    def __init__(self, directory: Path, *, dumps_to_file: bool = True, takes: Callable[[str], None]) -> None:
        self._log, self._takes = directory / "journal", takes
        self._conf = {
            "autoTick": False,
            "journalFile": str(self._log),
            "fullDumpFile": str(directory / "dump") if dumps_to_file else None,
            # A child would take its time, in which the parent goes on; here that time ends with the next tick.
            "useFork": False,
            "dynamicMembershipChange": True,
            "raftMinTimeout": 0.5,
            "raftMaxTimeout": 1.0,
            "connectionTimeout": 2.0,
        }

    async def start(self) -> None:
        syncobj.monotonicTime = asyncio.get_running_loop().time
        peers = [Node("2"), Node("3")]
        try:
            conf = syncobj.SyncObjConf(**self._conf)
            self._node = _List(self._takes, Node("1"), peers, conf, nodeClass=Node, transportClass=_Wire)
        except Exception as error:
            raise DoesNotStart(repr(error)) from error
        self._wire = self._node._SyncObj__transport
        for peer in peers:
            self._wire._onNodeConnected(peer)

    async def kill(self) -> None:
        """Let go of it; what is in its mapped file is in the page cache."""

    async def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            await asyncio.sleep(TICK_S)
            with suppress(Exception):  # its thread logs what goes wrong in a tick, and makes the next
                self._node._onTick(0)

    def _hear(self, peer: str, **message: Any) -> list[dict[str, Any]]:
        before = len(self._wire.sent)
        self._wire._onMessageReceived(Node(peer), message)
        return [sent for to, sent in self._wire.sent[before:] if to == peer]

    def _answers(self, sent: list[dict[str, Any]]) -> list[Answer]:
        return [
            Answer(message["success"], message["next_node_idx"] - 1, message.get("term"))
            for message in sent
            if message["type"] == "next_node_idx"
        ]

    def _encode(self, command: str) -> bytes:
        take = self._node._methodToID["take_v0"]
        return b"\x00" + pickle.dumps((take, (command,)), 2) if command else b"\x01"

    async def take_entries(
        self, *entries: Entry, before: tuple[int, int], commit: int, term: int = 1, leader: str = "2"
    ) -> list[Answer]:
        encoded = [(self._encode(command), index, of) for command, index, of in entries]
        message = {"commit_index": commit, "prevLogIdx": before[0], "prevLogTerm": before[1], "entries": encoded}
        return self._answers(self._hear(leader, type="append_entries", term=term, **message))

    async def vote(self, candidate: str, term: int) -> bool:
        sent = self._hear(candidate, type="request_vote", term=term, last_log_index=99, last_log_term=99)
        return any(message["type"] == "response_vote" for message in sent)

    async def take_damaged_snapshot(self, index: int, term: int) -> list[Answer]:
        sent = []
        for piece in ((b"damaged", True, False), (b"", False, True)):
            sent += self._hear("2", type="append_entries", term=term, commit_index=index, serialized=piece)
        return self._answers(sent)

    async def begin_snapshot(self, index: int, term: int, commit: int) -> None:
        self._hear("2", type="append_entries", term=term, commit_index=commit, serialized=(b"some", True, False))

    async def lead(self) -> None:
        while not self._wire.sent:
            await self.wait(TICK_S)
        assert {message["type"] for _, message in self._wire.sent} == {"request_vote"}
        for peer in ("2", "3"):
            self._hear(peer, type="response_vote", term=self.term)
        assert self._node._SyncObj__raftState == LEADER
        end = self._node._SyncObj__raftLog[-1][1]
        for peer in ("2", "3"):
            self._hear(peer, type="next_node_idx", reset=False, success=True, next_node_idx=end + 1)
        await self.wait(TICK_S)

    async def propose(self, command: str) -> list[bool]:
        outcome: list[bool] = []
        self._node.take(command, callback=lambda _, error: outcome.append(error == 0))
        await self.wait(TICK_S)
        return outcome

    async def change_twice(self) -> None:
        self._node.addNodeToCluster(Node("4"))
        self._node.removeNodeFromCluster(Node("2"))
        await self.wait(2 * TICK_S)

    async def take_membership(self, index: int, before: tuple[int, int]) -> None:
        change = b"\x02" + pickle.dumps(["add", "4", Node("4")], 2)
        message = {"commit_index": 1, "prevLogIdx": before[0], "prevLogTerm": before[1]}
        self._hear("2", type="append_entries", term=1, entries=[(change, index, 1)], **message)

    def dump(self) -> None:
        self._node.forceLogCompaction()
        self._node._SyncObj__tryLogCompaction()

    def trim_and_die(self) -> None:
        deaths = iter([False, False, True])

        def dying(command: bytes, index: int, term: int) -> None:
            if next(deaths):
                raise Killed
            add(command, index, term)

        journal = self._node._SyncObj__raftLog
        add = journal.add
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(journal, "add", dying)
            self._node._SyncObj__tryLogCompaction()

    @property
    def log(self) -> list[tuple[str, int]]:
        return [(self._decode(command), index) for command, index, _ in self._node._SyncObj__raftLog[:]]

    def _decode(self, command: bytes) -> str:
        try:
            return str(pickle.loads(command[1:])[1][0]) if command[:1] == b"\x00" else ""
        except Exception:
            return "(damaged)"

    @property
    def applied(self) -> list[str]:
        return list(self._node.commands)

    @property
    def commit(self) -> int:
        return int(self._node.raftCommitIndex)

    @property
    def term(self) -> int:
        return int(self._node.raftCurrentTerm)

    @property
    def voters(self) -> set[str]:
        return {"1", *(node.id for node in self._node.otherNodes)}

    @property
    def changes_not_committed(self) -> int:
        return sum(
            command[:1] == b"\x02" and index > self.commit for command, index, _ in self._node._SyncObj__raftLog[:]
        )
