"""A watch that another server has: its lines of JSON become events of the component API.

It looks to a watch stream like one of our own (`registry.fanout.Watcher`): events pile up until they are taken, and
`on_ready` says when there are some. Where they are not taken, nothing more is read of the other server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp
import msgspec

from api.errors import ApiError, Expired, InternalError, from_status
from apiserver.registry.fanout import BOOKMARK
from proto.steersman.v1 import resources_pb2 as pb

PENDING_BYTES_MAX: Final = 4 * 1024 * 1024
"""Nothing more is read while so much has not been taken."""
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
_TYPES: Final = frozenset(("ADDED", "MODIFIED", "DELETED", BOOKMARK))
_EVENT_ENDS: Final = b"\n"


class _Metadata(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class _Object(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


_LINE: Final = msgspec.json.Decoder(_Line)
_OBJECT: Final = msgspec.json.Decoder(_Object)


class RelayedWatch:
    """One watch of another server; `close` it in the end."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._pending: deque[pb.WatchEvent] = deque()
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self.on_ready: Callable[[], None] | None = None
        self.error: ApiError | None = None
        """Set when the watch is over."""
        self._reader = asyncio.get_running_loop().create_task(self._read())

    @property
    def has_pending(self) -> bool:
        """Whether `take` would return anything."""
        return bool(self._pending)

    def take(self, limit: int) -> list[pb.WatchEvent]:
        """Return what is pending, oldest first, at most `limit` of it."""
        taken = [self._pending.popleft() for _ in range(min(limit, len(self._pending)))]
        self._pending_bytes -= sum(len(event.json) for event in taken)
        self._room.set()
        return taken

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        self.on_ready = None
        self._reader.cancel()
        self._answer.close()

    async def _read(self) -> None:
        # Neither is a fault of this server, which clients would leave for another on ServiceUnavailable.
        error: ApiError = InternalError("the aggregated server ended the watch")
        try:
            async for line in _lines(self._answer.content):
                event = _event(line)
                self._pending.append(event)
                self._pending_bytes += len(event.json)
                self._tell()
                while self._pending_bytes > PENDING_BYTES_MAX:
                    self._room.clear()
                    await self._room.wait()
        except ApiError as said:
            error = said
        except Exception as failure:
            # Whatever it was: whoever watches hears of nothing more, and must be told so.
            error = InternalError(f"the watch of an aggregated server broke: {failure or type(failure).__name__}")
        finally:
            self._answer.close()
        self.error = error
        self._tell()

    def _tell(self) -> None:
        if self.on_ready is not None:
            self.on_ready()


def _event(line: bytes) -> pb.WatchEvent:
    """Return the event on a line; raises what an ERROR says."""
    found = _LINE.decode(line)
    if found.type == "ERROR":
        told = msgspec.json.decode(found.object)
        raise from_status(told) if isinstance(told, dict) else Expired("the aggregated server ended the watch")
    if found.type not in _TYPES:
        raise ValueError(f"an event of type {found.type!r}")
    version = _OBJECT.decode(found.object).metadata.resource_version
    json = b"" if found.type == BOOKMARK else bytes(found.object)
    return pb.WatchEvent(type=found.type, json=json, resource_version=version)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    held = bytearray()
    async for piece in content.iter_any():
        held += piece
        if _EVENT_ENDS in piece:
            *whole, rest = bytes(held).split(_EVENT_ENDS)
            held = bytearray(rest)
            for line in whole:
                if line.strip():
                    yield line
        if len(held) > LINE_BYTES_MAX:
            raise ValueError(f"an event has more than {LINE_BYTES_MAX} bytes")
