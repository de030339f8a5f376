"""PySyncObj, and everything it is handed: one version only, our time, randomness, log and wire, and no pickle.

The library's raft is a class with private state (`self.__raftLog` and so on, which Python spells `_SyncObj__raftLog`).
The files beside this one each replace one concern of it in a subclass that bears the library's own class name, so that
`self.__x` in them means the library's `__x`. That is the whole trick, and why exactly one version is accepted. They
are stacked in this order, and `member.py` puts the face on top:

    library class → core → durability → reconfiguring → replication → election → installing → forwarding → member
"""

from __future__ import annotations

import random
import sys
from typing import Any

from component.clock import Clock
from store.consensus.journal import Journal
from store.consensus.transport import Message

# The library would import `cryptography` for its own encryption, which is not used here: 9 MB saved.
_absent = object()
_present = sys.modules.get("cryptography", _absent)
sys.modules["cryptography"] = None  # type: ignore[assignment]
try:
    from pysyncobj import SyncObjConf, syncobj
    from pysyncobj.journal import Journal as LibraryJournal
    from pysyncobj.node import Node
    from pysyncobj.transport import Transport as LibraryTransport
finally:
    if _present is _absent:
        del sys.modules["cryptography"]
    else:
        sys.modules["cryptography"] = _present  # type: ignore[assignment]

LIBRARY_VERSION = "0.3.17"
"""The one version of PySyncObj whose private parts are known to be what these files take them for."""

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2

__all__ = [
    "CANDIDATE",
    "FOLLOWER",
    "LEADER",
    "LIBRARY_VERSION",
    "Log",
    "NoSerializer",
    "Peer",
    "SyncObjConf",
    "Wire",
    "install_seams",
    "seams",
    "syncobj",
]


class Peer(Node):  # type: ignore[misc]
    """A member as the library names it: by its id in hex, and hashed by number, so that sets have an order."""

    def __hash__(self) -> int:
        return int(self.id, 16)

    @property
    def number(self) -> int:
        """The member's id."""
        return int(self.id, 16)


class _NoPickle:
    """Stands where the library has `pickle`: nothing it would pickle or unpickle is used here."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"pickle.{name} must not be reached")


class _Seams:
    """What the library takes from its module's globals, handed in: set before every entry into it."""

    clock: Clock
    random: random.Random
    journal: LibraryJournal

    def monotonic(self) -> float:
        """Stand for the library's monotonic clock."""
        return self.clock.monotonic()


class _NoPoller:
    """Stands for the library's socket poller: the event loop polls."""

    def subscribe(self, *_: object) -> None:
        """Nothing to do."""

    def unsubscribe(self, *_: object) -> None:
        """Nothing to do."""

    def poll(self, timeout_s: float) -> None:
        """Nothing to do."""


seams = _Seams()


def install_seams() -> None:
    """Put ours where the library has its own.

    Raises:
        RuntimeError: the library is of another version.
    """
    if syncobj.VERSION != LIBRARY_VERSION:
        raise RuntimeError(
            f"PySyncObj {syncobj.VERSION} is installed, and this store works with {LIBRARY_VERSION} only: "
            f"pip install pysyncobj=={LIBRARY_VERSION}"
        )
    syncobj.monotonicTime = seams.monotonic
    syncobj.createJournal = lambda _: seams.journal
    syncobj.createPoller = lambda _: _NoPoller()
    syncobj.pickle = _NoPickle()


install_seams()


class Log(LibraryJournal):  # type: ignore[misc]
    """Our journal under the names the library calls it by."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def add(self, command: bytes, index: int, term: int) -> None:
        self._journal.append(command, index, term)

    def clear(self) -> None:
        raise AssertionError("the log is never wiped: a state is installed by `Journal.set_base`")

    def deleteEntriesFrom(self, position: int) -> None:
        raise AssertionError("only a conflict shortens the log: see replication.py")

    def deleteEntriesTo(self, position: int) -> None:
        raise AssertionError("the log is trimmed by what is on disk: see durability.py")

    def __getitem__(self, item: Any) -> Any:
        return self._journal.entries[item]

    def __len__(self) -> int:
        return len(self._journal.entries)

    def _destroy(self) -> None:
        pass

    def setRaftCommitIndex(self, index: int) -> None:
        pass  # not needed: the state machine keeps how far it has applied

    def getRaftCommitIndex(self) -> int:
        return 1

    def setCurrentTerm(self, term: int, vote: str | None) -> None:
        self._journal.set_vote(term, vote)

    def getCurrentTerm(self) -> int:
        return self._journal.term

    def getVotedForNodeId(self) -> str | None:
        return self._journal.vote


class Wire(LibraryTransport):  # type: ignore[misc]
    """Stands for the library's transport, which has nothing left to send: every message is sent by our overrides."""

    def send(self, node: Node, message: Message) -> bool:
        raise AssertionError(f"the library sends {message.get('type')}: an override is missing")

    def addNode(self, node: Node) -> None:
        raise AssertionError("members change by reconfiguring.py")

    def dropNode(self, node: Node) -> None:
        raise AssertionError("members change by reconfiguring.py")


class NoSerializer:
    """Stands for the library's pickled dumps made by fork; none of its methods may be reached."""
