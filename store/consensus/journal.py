"""The log on disk: entries, terms and votes in checksummed segments, synced in groups.

A segment is a file of records, `<crc32c> <length> <type> <index> <term> <payload>`, the checksum covering all after it.
Records are staged in memory, written together, and synced by one fdatasync: a *group*, which begins with a record that
holds the offset it starts at and how many bytes follow. Since a group is only written once the one before it is on
disk, that record proves everything before it was whole once; and bytes that come to lie at the end from elsewhere,
records though they may be, are none of ours. So damage can be told apart at start: after a crash the last group may be
torn, and was never acknowledged, so it is dropped; damage anywhere else may hold acknowledged writes, and the member
refuses to start. An entry whose index is already taken replaces that entry and all after it (a follower's conflict).

What the log must not lose is decided by who calls `write_and_sync`: nothing may be acknowledged before it returns.
Sources: Raft thesis section 10.2 (log on disk); Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import logging
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import google_crc32c

from store import counts

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
"""A segment this large is closed and another begun."""

_HEADER = struct.Struct("<IIBQQ")  # crc, payload length, type, index, term
_ENTRY, _VOTE, _BASE, _GROUP = 1, 2, 3, 4
_GROUP_MAGIC = b"\xf5group of records\x0a"

LogEntry = tuple[bytes, int, int]
"""Command, index, term: a tuple in this order because PySyncObj sends slices of the log as they are."""

EMPTY = b"\x01"
"""A command that does nothing: what stands at the log's base, and a new leader's first entry (PySyncObj's NO_OP)."""


class JournalDamaged(Exception):
    """The log can't be trusted; the member must not start. The message says which file and what to do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"log file {path}: {why}. It may hold acknowledged writes, so this member will not start without them. "
            "If the other members are healthy: remove this member, delete its data directory, and add it again. "
            "If it is the only one: restore its data directory from a snapshot."
        )
        self.path = path


class JournalFailed(OSError):
    """The log can't be written; the member must stop, and loses nothing by it."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            error.errno,
            f"log in {path} can't be written: {error.strerror}. Nothing acknowledged is lost. Make room or mend the "
            "disk, and start the member again; if the disk is to be replaced, replace the member",
        )


@dataclass(slots=True)
class _Segment:
    path: Path
    sequence: int
    index_max: int = 0
    """Highest index of an entry in it: it may be deleted once that is not needed."""


@dataclass(slots=True)
class Staged:
    """Records to be written and synced together."""

    records: list[bytes]
    last: int
    """The log's last index once they are on disk."""
    index_max: int
    """Highest index of an entry among them."""
    vote: bytes
    """A record of the term and vote, should a segment begin with this group."""
    needed_from: int
    """Segments with no entry from here on may be deleted."""


@dataclass(slots=True)
class Journal:
    """The log of one member. The entries belong to the event loop's thread, the files to `write_and_sync`'s."""

    directory: Path
    segment_bytes: int = SEGMENT_BYTES
    entries: list[LogEntry] = field(default_factory=list)
    """The entries in memory, without gaps; the first stands for everything before it."""
    term: int = 0
    vote: str | None = None
    size_bytes: int = 0
    """Bytes of commands in `entries`."""
    dropped_tail_bytes: int = 0
    """How much of a torn group was dropped at start; 0 after an orderly stop."""
    syncs: int = 0
    _segments: list[_Segment] = field(default_factory=list)
    _records: list[bytes] = field(default_factory=list)
    _staged_max: int = 0
    _descriptor: int = -1
    _size_bytes: int = 0

    def __post_init__(self) -> None:
        """Read the log back, or begin one.

        Raises:
            JournalDamaged: something other than a torn last group is wrong with it.
            OSError: the directory can't be used.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = sorted(self.directory.glob("*.log"))
        for position, path in enumerate(paths):
            sequence = int(path.stem)
            if self._segments and sequence != self._segments[-1].sequence + 1:
                missing = self.directory / f"{self._segments[-1].sequence + 1:016d}.log"
                raise JournalDamaged(missing, "is missing from the middle of the log")
            segment = _Segment(path, sequence)
            self._segments.append(segment)
            self._replay(segment, is_newest=position == len(paths) - 1)
        if not self._segments:
            self._begin_segment(0)
        else:
            newest = self._segments[-1].path
            self._descriptor = os.open(newest, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._size_bytes = os.fstat(self._descriptor).st_size

    # -- reading back

    def _replay(self, segment: _Segment, is_newest: bool) -> None:
        content = segment.path.read_bytes()
        offset = 0
        while offset < len(content):
            records, problem, end = _read_group(content, offset)
            if problem and not is_newest:
                raise JournalDamaged(segment.path, f"{problem} at byte {end}, in a segment that is complete")
            if problem and _group_after(content, end):
                raise JournalDamaged(
                    segment.path, f"{problem} at byte {end}, though what follows shows that it was whole once"
                )
            for kind, index, term, payload in records:
                self._recover(segment, kind, index, term, payload, offset)
            if problem:
                self._drop_tail(segment.path, end, len(content), problem)
                return
            offset = end

    def _recover(self, segment: _Segment, kind: int, index: int, term: int, payload: bytes, offset: int) -> None:
        match kind:
            case 1:  # _ENTRY
                if self.entries and index > self.entries[-1][1] + 1:
                    why = f"entries {self.entries[-1][1] + 1} to {index - 1} are missing before byte {offset}"
                    raise JournalDamaged(segment.path, why)
                self._place((payload, index, term))
                segment.index_max = max(segment.index_max, index)
            case 2:  # _VOTE
                self.term, self.vote = term, payload.decode() or None
            case 3:  # _BASE
                self._cut(0, len(self.entries))
                self._place((EMPTY, index, term))
                segment.index_max = max(segment.index_max, index)
            case _:
                raise JournalDamaged(segment.path, f"record of unknown type {kind} in the group at byte {offset}")

    def _drop_tail(self, path: Path, offset: int, size: int, problem: str) -> None:
        self.dropped_tail_bytes = size - offset
        log.warning(
            "dropped the torn end of the log: it was never acknowledged",
            extra={"file": str(path), "at_byte": offset, "dropped_bytes": size - offset, "why": problem},
        )
        with path.open("r+b") as file:
            file.truncate(offset)
            os.fsync(file.fileno())

    # -- changing the log: in memory at once, on disk with the next group

    @property
    def first_index(self) -> int:
        """Index of the entry that stands for everything before it."""
        return self.entries[0][1]

    @property
    def last_index(self) -> int:
        """Index of the newest entry, 0 in an empty log."""
        return self.entries[-1][1] if self.entries else 0

    def append(self, command: bytes, index: int, term: int) -> None:
        """Add an entry, replacing the one of that index and all after it, if there are any."""
        self._place((command, index, term))
        self._stage(_ENTRY, index, term, command)

    def set_vote(self, term: int, vote: str | None) -> None:
        """Record the current term and whom this member votes for in it."""
        self.term, self.vote = term, vote
        self._records.append(self._vote_record())

    def set_base(self, index: int, term: int) -> None:
        """Forget all entries: the state machine holds everything up to `index`."""
        self._cut(0, len(self.entries))
        self._place((EMPTY, index, term))
        self._stage(_BASE, index, term, b"")

    def truncate_from(self, position: int) -> None:
        """Forget `entries[position:]`; on disk the next append replaces them. They must not be committed."""
        self._cut(position, len(self.entries))

    def forget_before(self, index: int) -> None:
        """Let go, in memory, of entries before `index`, which the state machine has on disk."""
        count = index - self.first_index
        if count > 0:
            self._cut(0, count)

    def _place(self, entry: LogEntry) -> None:
        entries, index = self.entries, entry[1]
        if entries and index <= entries[-1][1]:
            self._cut(max(0, index - entries[0][1]), len(entries))
        assert not entries or index == entries[-1][1] + 1, f"gap in the log before entry {index}"
        entries.append(entry)
        self.size_bytes += len(entry[0])

    def _cut(self, start: int, end: int) -> None:
        self.size_bytes -= sum(len(command) for command, _, _ in self.entries[start:end])
        del self.entries[start:end]

    def _stage(self, kind: int, index: int, term: int, payload: bytes) -> None:
        self._records.append(_record(kind, index, term, payload))
        self._staged_max = max(self._staged_max, index)

    def _vote_record(self) -> bytes:
        return _record(_VOTE, 0, self.term, (self.vote or "").encode())

    # -- making it durable

    def take(self, needed_from: int = 0) -> Staged | None:
        """Take what is staged, to be given to `write_and_sync`; None when there is nothing.

        `needed_from` is the first entry that must stay on disk; whole segments before it may go.
        """
        if not self._records:
            return None
        staged = Staged(self._records, self.last_index, self._staged_max, self._vote_record(), needed_from)
        self._records, self._staged_max = [], 0
        return staged

    def write_and_sync(self, staged: Staged) -> None:
        """Write a group and sync it; in a thread of its own, one at a time.

        Raises:
            JournalFailed: it may or may not be on disk. Fail stop: after a failed fsync the kernel may have thrown the
                pages away, so trying again would lie (Rebello et al., "Can Applications Recover from fsync Failures?",
                2020).
        """
        try:
            self._write_and_sync(staged)
        except OSError as error:
            raise JournalFailed(self.directory, error) from error

    def _write_and_sync(self, staged: Staged) -> None:
        if self._size_bytes >= self.segment_bytes:
            os.close(self._descriptor)
            self._begin_segment(self._segments[-1].sequence + 1)
        records = staged.records if self._size_bytes else [staged.vote, *staged.records]
        length = sum(map(len, records))
        content = memoryview(b"".join([_record(_GROUP, self._size_bytes, length, _GROUP_MAGIC), *records]))
        written = 0
        with counts.FSYNC.of().timing():
            while written < len(content):
                written += os.write(self._descriptor, content[written:])
            os.fdatasync(self._descriptor)
        self._size_bytes += len(content)
        self._segments[-1].index_max = max(self._segments[-1].index_max, staged.index_max)
        self.syncs += 1
        # Oldest first, each synced: a gap in the middle is how a lost segment is recognised at start.
        while len(self._segments) > 1 and self._segments[0].index_max < staged.needed_from:
            self._segments.pop(0).path.unlink()
            self._sync_directory()

    def close(self) -> None:
        """Close the file; what is staged and not written is lost."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin_segment(self, sequence: int) -> None:
        path = self.directory / f"{sequence:016d}.log"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._size_bytes = 0
        self._sync_directory()
        self._segments.append(_Segment(path, sequence))

    def _sync_directory(self) -> None:
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _record(kind: int, index: int, term: int, payload: bytes) -> bytes:
    covered = _HEADER.pack(0, len(payload), kind, index, term)[4:]
    crc = google_crc32c.extend(google_crc32c.value(covered), payload)
    return struct.pack("<I", crc) + covered + payload


def _examine(content: bytes, offset: int) -> tuple[str, int]:
    """Return what is wrong with the record at `offset` ("" if nothing), and where it ends."""
    if offset + _HEADER.size > len(content):
        return "incomplete record", len(content)
    crc, length, *_ = _HEADER.unpack_from(content, offset)
    end = offset + _HEADER.size + length
    if end > len(content):
        return "incomplete record", len(content)
    if google_crc32c.value(content[offset + 4 : end]) != crc:
        return "checksum mismatch", end
    return "", end


def _read_group(content: bytes, offset: int) -> tuple[list[tuple[int, int, int, bytes]], str, int]:
    """Return a group's records as (type, index, term, payload), what is wrong with it, and where it ends.

    A group with something wrong is as if it were not there: no records, and it ends where it begins. But one that does
    not say its length, as they were once written, goes up to the next group or to what is wrong.
    """
    problem, end = _examine(content, offset)
    if problem:
        return [], problem, offset
    _, _, kind, start, length = _HEADER.unpack_from(content, offset)
    if kind != _GROUP:
        return [], "a record that is in no group", offset
    if start != offset:
        return [], f"a group that was written at byte {start}", offset
    if end + length > len(content):
        return [], "incomplete group", offset
    group_end = end + length if length else len(content)
    records: list[tuple[int, int, int, bytes]] = []
    position = end
    while position < group_end:
        problem, end = _examine(content, position)
        if problem:
            return ([], problem, offset) if length else (records, problem, position)
        _, _, kind, index, term = _HEADER.unpack_from(content, position)
        if kind == _GROUP and not length:
            break
        records.append((kind, index, term, content[position + _HEADER.size : end]))
        position = end
    return records, "", position


def _group_after(content: bytes, offset: int) -> bool:
    """Whether a valid group begins after `offset`: then all up to there was synced once."""
    position = content.find(_GROUP_MAGIC, offset + _HEADER.size)
    while position >= 0:
        start = position - _HEADER.size
        if start > offset:
            problem, _ = _examine(content, start)
            if not problem and _HEADER.unpack_from(content, start)[3] == start:
                return True
        position = content.find(_GROUP_MAGIC, position + 1)
    return False
