"""Container logs on disk: the CRI format, and reading them as `kubectl logs` asks.

A line is `<RFC 3339 time with nanoseconds> stdout|stderr F|P <text>`; `P` is a part of a longer line that goes on in
the next. A log that grows past a limit is rotated: the file is renamed to `0.log.<time>`, and the runtime opens a new
one. Reading is from the end when only the tail is wanted, so a large log costs no more than what is shown.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from api.timestamps import parse

BLOCK_BYTES = 64 * 1024
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is wanted."""

    follow: bool = False
    timestamps: bool = False
    since_s: float | None = None
    """Only lines at or after this moment, in seconds since the epoch."""
    tail_lines: int | None = None
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log file, or a part of one."""

    stamp: str
    stream: str
    is_partial: bool
    text: bytes
    """With its newline, unless partial."""


def parse_line(raw: bytes) -> Line | None:
    """Return what a line of the file says, or None if it is none of ours."""
    fields = raw.rstrip(b"\n").split(b" ", 3)
    if len(fields) < 3 or fields[1] not in (b"stdout", b"stderr"):
        return None
    text = fields[3] if len(fields) > 3 else b""
    is_partial = fields[2].split(b":")[0] == b"P"
    return Line(fields[0].decode(), fields[1].decode(), is_partial, text if is_partial else text + b"\n")


def rotations(path: Path) -> list[Path]:
    """Return the log's files, oldest first: what was rotated away, then the one being written."""
    older = sorted(p for p in path.parent.glob(f"{path.name}.*") if not p.name.endswith(".tmp"))
    return [*older, path]


def tail_offset(stream: BinaryIO, lines: int) -> int:
    """Return where the last `lines` lines of a file begin, reading backwards; a line in parts counts once."""
    position = stream.seek(0, os.SEEK_END)
    if lines <= 0:
        return position
    found, beginning = 0, b""
    while position > 0:
        size = min(BLOCK_BYTES, position)
        position -= size
        stream.seek(position)
        block = stream.read(size) + beginning
        # What stands before the first newline began in an earlier block.
        cut = block.find(b"\n") + 1 if position else 0
        if position and cut == 0:
            beginning = block
            continue
        at, beginning = len(block), block[:cut]
        for raw in reversed(_split(block[cut:])):
            line = parse_line(raw)
            if line is not None and not line.is_partial:
                if found == lines:
                    return position + at
                found += 1
            at -= len(raw)
    return 0


def _split(block: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in block.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def last_lines(path: Path, lines: int, bytes_max: int) -> str:
    """Return the end of a log as text: at most so many lines and bytes. Raises OSError."""
    with path.open("rb") as stream:
        stream.seek(tail_offset(stream, lines))
        text = b"".join(line.text for raw in stream if (line := parse_line(raw)) is not None)
    return text[-bytes_max:].decode(errors="replace")


class _Filter:
    """Turns lines of the file into what is sent."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit_bytes
        self._in_partial = False

    @property
    def is_done(self) -> bool:
        return self._left is not None and self._left <= 0

    def take(self, raw: bytes) -> bytes:
        line = parse_line(raw)
        if line is None:
            return b""
        since = self._options.since_s
        if since is not None and _time(line.stamp) < since:
            return b""
        text = line.text
        if self._options.timestamps and not self._in_partial:
            text = line.stamp.encode() + b" " + text
        self._in_partial = line.is_partial
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text


def _time(stamp: str) -> float:
    try:
        return parse(stamp)
    except ValueError:
        return 0.0


def _open_for(path: Path, options: LogOptions) -> Iterator[BinaryIO]:
    """Yield open files, oldest first, placed where reading should begin."""
    files = rotations(path)
    if options.tail_lines is not None:
        # How many lines each file contributes is known from the newest backwards.
        wanted, chosen = options.tail_lines, []
        for file in reversed(files):
            if not file.exists():
                continue
            stream = file.open("rb")
            offset = tail_offset(stream, wanted)
            stream.seek(offset)
            wanted -= sum(1 for raw in stream if (line := parse_line(raw)) is None or not line.is_partial)
            stream.seek(offset)
            chosen.append(stream)
            if wanted <= 0:
                break
        yield from reversed(chosen)
        return
    for file in files:
        if file.exists():
            yield file.open("rb")


async def read(
    path: Path, options: LogOptions, is_running: Callable[[], bool], *, poll_s: float = POLL_S
) -> AsyncIterator[bytes]:
    """Yield the log in pieces; with `follow`, go on until the container has ended and all of it was read.

    A file that is renamed away while it is followed is read to its end, and the new one after it.

    Raises:
        FileNotFoundError: there is no log.
    """
    chosen = _Filter(options)
    streams = list(_open_for(path, options))
    if not streams:
        raise FileNotFoundError(str(path))
    stream = streams[-1]
    try:
        for current in streams:
            pieces, size = [], 0
            for count, raw in enumerate(_whole_lines(current)):
                piece = chosen.take(raw)
                if piece:
                    pieces.append(piece)
                    size += len(piece)
                if size >= BLOCK_BYTES or chosen.is_done:
                    yield b"".join(pieces)
                    pieces, size = [], 0
                if chosen.is_done:
                    return
                if count % 4096 == 4095:
                    await asyncio.sleep(0)  # a long log must not hold up the node
            if pieces:
                yield b"".join(pieces)
        if options.follow:
            async for piece in _follow(path, stream, chosen, is_running, poll_s):
                yield piece
    finally:
        for opened in streams:
            opened.close()


def _whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines; a last one without its end is put back."""
    while True:
        at = stream.tell()
        raw = stream.readline()
        if not raw.endswith(b"\n"):
            stream.seek(at)
            return
        yield raw


async def _follow(
    path: Path, stream: BinaryIO, chosen: _Filter, is_running: Callable[[], bool], poll_s: float
) -> AsyncIterator[bytes]:
    while not chosen.is_done:
        was_running = is_running()
        pieces = []
        for raw in _whole_lines(stream):
            pieces.append(chosen.take(raw))
            if chosen.is_done:
                break
        if any(pieces):
            yield b"".join(pieces)
            continue
        if _is_another_file(path, stream):
            # The writer has moved on; what it left in the old file has been read above.
            stream.close()
            stream = _open(path)
            continue
        if not was_running:
            stream.close()
            return
        await asyncio.sleep(poll_s)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _is_another_file(path: Path, stream: BinaryIO) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False
