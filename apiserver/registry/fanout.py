"""Hands each change of a kind to everyone who watches it, encoded once for all who ask alike.

    Change ──▶ Channel (one per selection) ──▶ Watcher (a cursor on the channel's log)

A channel turns a change into what its selection makes of it: an object that begins to match is ADDED, one that stops
matching is DELETED. Deliveries keep their encoded frames, one per `Encoding`, so that the tenth watcher of an event
costs no encoding; watchers at the same cursor even share the joined bytes of all that is pending. Channels that
want one value of an indexed field are found by that value, so a change costs only those who asked for it.

No task and no queue per watcher: `Watcher.on_ready` is called once per turn of the loop in which something arrived.
Whoever can't take it now simply doesn't; what is pending grows, and is taken in one piece later. Beyond a byte budget
the watcher is ended with 410 Expired. Where thousands follow one selection, most of them have taken everything there
was: those are handed the joined bytes of what is new by one call each (`Watcher.accept`), and nothing else is done for
them, since every line of Python here is paid by every watcher of every event.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from api.errors import ApiError, Expired
from apiserver.registry.codec import Stored
from apiserver.registry.selection import INDEXED_FIELDS, Selection
from component.metrics import Tally, shared

PENDING_BYTES_MAX = 8 * 1024 * 1024
"""How far a watcher may fall behind: the JSON of what is pending for it."""

ENCODES = shared(
    Tally("apiserver_watch_encodes_total", "Watch events encoded: once per event and encoding.", ("encoding",))
)
DELIVERED = shared(Tally("apiserver_watch_events_delivered_total", "Watch events handed to watchers."))
EVICTED = shared(Tally("apiserver_watch_evicted_total", "Watchers ended because they fell behind."))

ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"


class Encoding(Protocol):
    """One way to write events: JSON lines, Table lines, protobuf. Equal encodings must be the same object."""

    @property
    def label(self) -> str:
        """For the metric."""
        ...

    def frame(self, delivery: Delivery) -> bytes:
        """Return one event."""
        ...


Join = Callable[[Sequence[bytes]], bytes]
"""Puts the frames of several events (at least one) together as they are sent; what comes of it is shared, too."""


class Delivery:
    """One event as a channel tells it; shared by all watchers of all channels that tell it so."""

    __slots__ = ("ends_initial", "frames", "revision", "size_bytes", "stored", "type")

    def __init__(self, type: str, stored: Stored | None, revision: int, *, ends_initial: bool = False) -> None:
        self.type = type
        self.stored = stored
        """The object with the event's resourceVersion; None for a bookmark."""
        self.revision = revision
        self.frames: dict[Encoding, bytes] = {}
        self.ends_initial = ends_initial
        """On a bookmark: everything that was there at the beginning has been said (KEP-3157)."""
        self.size_bytes = len(stored.json) if stored else 64

    def frame(self, encoding: Encoding) -> bytes:
        """Return the event in an encoding, encoding it if nobody has yet."""
        frame = self.frames.get(encoding)
        if frame is None:
            frame = self.frames[encoding] = encoding.frame(self)
            ENCODES.add((encoding.label,))
        return frame


class Change:
    """One object before and after one revision."""

    __slots__ = ("_deliveries", "after", "before", "key", "revision")

    def __init__(self, key: str, revision: int, before: Stored | None, after: Stored | None) -> None:
        self.key = key
        self.revision = revision
        self.before = before
        self.after = after
        self._deliveries: dict[str, Delivery] = {}

    @property
    def size_bytes(self) -> int:
        """What remembering the change costs, beside the cache."""
        return (len(self.before.json) if self.before else 0) + (len(self.after.json) if self.after else 0) + 300

    def told_to(self, selection: Selection) -> Delivery | None:
        """Return what the change is to someone who asked for `selection`, or None if it is nothing."""
        is_in = self.after is not None and selection.matches(self.after)
        was_in = self.before is not None and selection.matches(self.before)
        if is_in:
            return self._delivery(MODIFIED if was_in else ADDED)
        return self._delivery(DELETED) if was_in else None

    def _delivery(self, type: str) -> Delivery:
        delivery = self._deliveries.get(type)
        if delivery is None:
            if type == DELETED:
                assert self.before is not None
                shown = self.before.at(self.revision)
            else:
                assert self.after is not None
                shown = self.after
            delivery = self._deliveries[type] = Delivery(type, shown, self.revision)
        return delivery


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a channel's log; all who have taken everything up to it hold the same object."""

    sequence: int
    """The number of the next delivery."""
    revision: int
    """The delivery's before it; 0 at the beginning."""
    total_bytes: int
    """Of all deliveries before it."""


class Shared:
    """The joined bytes of what is new in a channel, for all who write it alike."""

    __slots__ = ("content", "encoding", "join", "with_bookmarks")

    def __init__(self, encoding: Encoding, join: Join, with_bookmarks: bool) -> None:
        self.encoding = encoding
        self.join = join
        self.with_bookmarks = with_bookmarks
        self.content: bytes | None = None
        """None until somebody has asked since the channel was last flushed."""


class Channel:
    """The events of one selection, and the watchers that follow them."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.watchers: dict[Watcher, None] = {}
        self._log: deque[Delivery] = deque()
        self._first = 0
        """Sequence number of the log's first entry."""
        self.end = Place(0, 0, 0)
        """Where the next delivery will be."""
        self._flushed = self.end
        """The end as it was when watchers were last told."""
        self._shared: dict[tuple[Encoding, Join, bool], Shared] = {}
        self.taken_count = 0
        """Deliveries taken since the metric was last brought up to date, by all watchers together."""
        self._joined: dict[tuple[Encoding, Join, int, bool], bytes] = {}

    def append(self, delivery: Delivery) -> None:
        """Add an event to the log."""
        if self._joined:
            self._joined.clear()
        self._log.append(delivery)
        end = self.end
        self.end = Place(end.sequence + 1, delivery.revision, end.total_bytes + delivery.size_bytes)

    def shared(self, encoding: Encoding, join: Join, with_bookmarks: bool) -> Shared:
        """Return where those who write alike find the bytes of what is new."""
        key = (encoding, join, with_bookmarks)
        if key not in self._shared:
            self._shared[key] = Shared(encoding, join, with_bookmarks)
        return self._shared[key]

    def since(self, cursor: int) -> Sequence[Delivery]:
        """Return the log from `cursor` on."""
        skip = cursor - self._first
        if skip == 0:
            return self._log
        return list(itertools.islice(self._log, skip, None))

    def joined_since(self, cursor: int, encoding: Encoding, join: Join, with_bookmarks: bool) -> bytes:
        """Return the log from `cursor` on as it is sent; those at the same cursor share the bytes."""
        key = (encoding, join, cursor, with_bookmarks)
        joined = self._joined.get(key)
        if joined is None:
            entries = self.since(cursor)
            frames = [d.frame(encoding) for d in entries if with_bookmarks or d.type != BOOKMARK]
            joined = self._joined[key] = join(frames) if frames else b""
        return joined

    def flush(self) -> int:
        """Tell every watcher that something is pending, and forget what all have taken; return how many took what."""
        begin, end = self._flushed, self.end
        self._flushed = end
        slowest, handed = end.sequence, 0
        for watcher in list(self.watchers):
            accept = watcher.accept
            if accept is not None and watcher.place is begin and not watcher.backlog:
                shared = watcher.shared
                content = shared.content
                if content is None:
                    content = self.joined_since(begin.sequence, shared.encoding, shared.join, shared.with_bookmarks)
                    shared.content = content
                if not content or accept(content):
                    watcher.place = end
                    handed += 1
                    continue
            watcher.poke()
            if watcher.place.sequence < slowest and watcher.error is None:
                slowest = watcher.place.sequence
        told = self.taken_count + handed * (end.sequence - begin.sequence)
        DELIVERED.add(amount=told)
        self.taken_count = 0
        for shared in self._shared.values():
            shared.content = None
        if slowest >= self.end.sequence:
            self._first = self.end.sequence
            self._log.clear()
            self._joined.clear()
        else:
            while self._first < slowest:
                self._log.popleft()
                self._first += 1
        return told


class Watcher:
    """One watch: a backlog to begin with, then a cursor on a channel's log.

    The owner sets `on_ready` and takes what is pending whenever it can; it must `close` the watcher in the end.
    """

    def __init__(
        self,
        channel: Channel,
        backlog: Iterable[Delivery],
        *,
        revision: int,
        with_bookmarks: bool,
        on_close: Callable[[Watcher], None],
    ) -> None:
        self._channel = channel
        self.backlog = list(backlog)
        """What comes before the channel's log and has not been taken."""
        self._with_bookmarks = with_bookmarks
        self._on_close = on_close
        self.place = channel.end
        """How far it has taken the channel's log."""
        self._revision = revision
        self.on_ready: Callable[[], None] | None = None
        self.accept: Callable[[bytes], bool] | None = None
        """Set by `hand_to`: takes the joined bytes of all that is pending, or returns False if it can't now."""
        self.error: ApiError | None = None
        """Set when the watch is over: Expired (fell behind, or the cache began anew)."""
        self.is_ahead = False
        """Whether `revision` is yet to come, so that nothing can be said of it."""
        channel.watchers[self] = None

    @property
    def revision(self) -> int:
        """Everything up to here has been taken or does not concern this watch."""
        return self._revision if self.backlog else max(self._revision, self.place.revision)

    @property
    def has_pending(self) -> bool:
        """Whether `take` would return anything."""
        return bool(self.backlog) or self.place is not self._channel.end

    @property
    def pending_bytes(self) -> int:
        """How much JSON is pending, the backlog apart."""
        return self._channel.end.total_bytes - self.place.total_bytes

    def hand_to(self, accept: Callable[[bytes], bool], encoding: Encoding, join: Join) -> None:
        """Hand what is new to `accept` from now on whenever nothing else is pending, instead of `on_ready`."""
        self.shared = self._channel.shared(encoding, join, self._with_bookmarks)
        self.accept = accept

    def poke(self) -> None:
        """Tell the owner, or end the watch if its owner has let it fall too far behind."""
        if self.error is None and self.on_ready is not None:
            self.on_ready()
            if self.place is self._channel.end:
                return
        if self.pending_bytes > PENDING_BYTES_MAX and self.error is None:
            EVICTED.add()
            self.fail(Expired("The watch fell too far behind and was ended: list again, then watch from there."))

    def fail(self, error: ApiError) -> None:
        """End the watch; the owner sees `error` when it is told."""
        self.error = error
        self._detach()
        if self.on_ready is not None:
            self.on_ready()

    def take(self, limit: int = 0) -> list[Delivery]:
        """Return what is pending, oldest first, at most `limit` of it (0: all)."""
        if self.backlog:
            taken = self.backlog[:limit] if limit else self.backlog
            self.backlog = self.backlog[len(taken) :]
            if taken:
                self._revision = max(self._revision, taken[-1].revision)
        else:
            channel, place = self._channel, self.place
            entries = channel.since(place.sequence)
            taken = list(itertools.islice(entries, limit)) if limit else list(entries)
            if len(taken) == channel.end.sequence - place.sequence:
                self.place = channel.end
            elif taken:
                size = sum(delivery.size_bytes for delivery in taken)
                self.place = Place(place.sequence + len(taken), taken[-1].revision, place.total_bytes + size)
            if not self._with_bookmarks:
                taken = [delivery for delivery in taken if delivery.type != BOOKMARK]
        self._channel.taken_count += len(taken)
        return taken

    def take_joined(self, encoding: Encoding, join: Join) -> bytes:
        """Return all that is pending as it is sent, empty if nothing is."""
        if self.backlog:
            frames = [delivery.frame(encoding) for delivery in self.take()]
            return join(frames) if frames else b""
        channel, place = self._channel, self.place
        if place is channel.end:
            return b""
        joined = channel.joined_since(place.sequence, encoding, join, self._with_bookmarks)
        self.place = channel.end
        channel.taken_count += channel.end.sequence - place.sequence
        return joined

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        self._detach()
        self.on_ready = None

    def follow(self, channel: Channel, on_close: Callable[[Watcher], None]) -> None:
        """Leave the channel for another, from whose present end on it hears of everything."""
        self._channel.watchers.pop(self)
        self._channel, self._on_close, self.is_ahead = channel, on_close, False
        self.place = channel.end
        if self.accept is not None:
            self.hand_to(self.accept, self.shared.encoding, self.shared.join)
        channel.watchers[self] = None

    def _detach(self) -> None:
        self.accept = None
        if self in self._channel.watchers:
            del self._channel.watchers[self]
            self._on_close(self)

    @property
    def channel(self) -> Channel:
        """What it follows."""
        return self._channel


class Fanout:
    """All channels of one kind, found by what a change is about."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, str, str], Channel] = {}
        self._by_field: dict[str, dict[str, dict[Channel, None]]] = {}
        self._by_namespace: dict[str, dict[Channel, None]] = {}
        self._general: dict[Channel, None] = {}
        self._dirty: dict[Channel, None] = {}
        self._ahead: dict[Watcher, int] = {}
        """Those that begin after a revision yet to come, which is the value."""
        self.told_count = 0
        """How many events watchers have taken, counted when they are next told of some."""

    @property
    def watcher_count(self) -> int:
        """How many watches run."""
        return sum(len(channel.watchers) for channel in self._channels.values()) + len(self._ahead)

    def count_interested(self, namespace: str, name: str) -> int:
        """Return how many watches of everything, of a namespace, or of a name an object belongs to."""
        count = sum(len(channel.watchers) for channel in self._general)
        if namespace and self._by_namespace:
            count += sum(len(channel.watchers) for channel in self._by_namespace.get(namespace, ()))
        if "metadata.name" in self._by_field:
            count += sum(len(channel.watchers) for channel in self._by_field["metadata.name"].get(name, ()))
        return count

    def watch(
        self, selection: Selection, backlog: Iterable[Delivery], *, revision: int, with_bookmarks: bool
    ) -> Watcher:
        """Start a watch: `backlog` first, then every change published from now on."""
        channel = self._channel(selection)
        return Watcher(channel, backlog, revision=revision, with_bookmarks=with_bookmarks, on_close=self._closed)

    def watch_ahead(self, selection: Selection, *, revision: int, with_bookmarks: bool) -> Watcher:
        """Start a watch of the changes after a revision that is yet to come; until then it hears of nothing."""
        waiting = Channel(selection)
        on_close = self._closed_ahead
        watcher = Watcher(waiting, (), revision=revision, with_bookmarks=with_bookmarks, on_close=on_close)
        watcher.is_ahead = True
        self._ahead[watcher] = revision
        return watcher

    def _channel(self, selection: Selection) -> Channel:
        channel = self._channels.get(selection.key)
        if channel is None:
            channel = self._channels[selection.key] = Channel(selection)
            self._bucket(channel)[channel] = None
        return channel

    def _reach(self, revision: int) -> None:
        """Let those in whose revision has come."""
        for watcher in [each for each, wanted in self._ahead.items() if wanted <= revision]:
            del self._ahead[watcher]
            watcher.follow(self._channel(watcher.channel.selection), self._closed)

    def publish(self, change: Change) -> None:
        """Append a change to the channels that want it; `flush` tells their watchers."""
        if self._ahead:
            self._reach(change.revision - 1)
        for channel in self._candidates(change):
            delivery = change.told_to(channel.selection)
            if delivery is not None:
                channel.append(delivery)
                self._dirty[channel] = None

    def publish_bookmark(self, revision: int) -> None:
        """Tell every channel that all before `revision` has been said."""
        bookmark = Delivery(BOOKMARK, None, revision)
        self._reach(revision)
        for channel in self._channels.values():
            channel.append(bookmark)
            self._dirty[channel] = None

    def flush(self) -> None:
        """Tell the watchers of every channel that has something new."""
        dirty, self._dirty = self._dirty, {}
        for channel in dirty:
            self.told_count += channel.flush()

    def fail_all(self, error: ApiError) -> None:
        """End every watch."""
        for channel in list(self._channels.values()):
            for watcher in list(channel.watchers):
                watcher.fail(error)
        for watcher in list(self._ahead):
            watcher.fail(error)

    def _closed_ahead(self, watcher: Watcher) -> None:
        self._ahead.pop(watcher, None)

    def _candidates(self, change: Change) -> Iterable[Channel]:
        found = list(self._general)
        if self._by_namespace:
            namespace = change.key.rpartition("/")[0]
            found += self._by_namespace.get(namespace, ())
        for path, by_value in self._by_field.items():
            values = {stored.field(path): None for stored in (change.before, change.after) if stored is not None}
            for value in values:
                found += by_value.get(value, ())
        return found

    def _bucket(self, channel: Channel) -> dict[Channel, None]:
        selection = channel.selection
        for path in INDEXED_FIELDS:
            if path in selection.exact:
                return self._by_field.setdefault(path, {}).setdefault(selection.exact[path], {})
        if selection.namespace:
            return self._by_namespace.setdefault(selection.namespace, {})
        return self._general

    def _closed(self, watcher: Watcher) -> None:
        channel = watcher.channel
        if channel.watchers:
            return
        self._channels.pop(channel.selection.key, None)
        self._dirty.pop(channel, None)
        self._bucket(channel).pop(channel, None)
        for path in list(self._by_field):
            by_value = self._by_field[path]
            value = channel.selection.exact.get(path)
            if value is not None and not by_value.get(value, True):
                del by_value[value]
            if not by_value:
                del self._by_field[path]
        if not self._by_namespace.get(channel.selection.namespace, True):
            del self._by_namespace[channel.selection.namespace]
