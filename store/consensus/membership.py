"""Who the members are, and what one step of change makes of them. Pure.

A `Members` is the whole membership, and an entry of the log that changes it holds the whole of the next one: so a
member that drops the entry goes back by dropping the value, and a snapshot needs nothing but the newest. Only one
member changes at a time, so the majorities before and after always share a member (Raft thesis section 4.1).

Members are known by id, drawn anew whenever one is added: a machine that lost its disk comes back as somebody else,
and so can't vote a second time in a term in which it has voted. The name is what its certificate says
(`steer-store-<name>`); it may be learnt only when the member has started, as etcd's `member add` does not tell it.

New members are learners first: they are sent the log and have no vote, so that a member that is not up yet never
counts towards a majority (Raft thesis section 4.2.1). One added to vote is promoted by the leader once it is in sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

LEARNERS_MAX = 1
"""As in etcd: more would slow the leader for little."""
REMOVED_MAX = 64
"""Ids of former members that are remembered, so as to tell them."""

Kind = Literal["add", "promote", "remove", "update", "publish"]


class MembershipRefused(Exception):
    """The change can't be made; the message is etcd's, and `code` the name of the gRPC status etcd gives it."""

    def __init__(self, message: str, code: str = "FAILED_PRECONDITION") -> None:
        super().__init__(message)
        self.code = code


class ChangeUnderWay(MembershipRefused):
    """The change before this one is not committed yet: try again."""

    def __init__(self) -> None:
        super().__init__("another change of members is under way", "UNAVAILABLE")


class MemberRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One member."""

    id: int
    peer_urls: tuple[str, ...]
    name: str = ""
    """Empty until the member was first reached."""
    client_urls: tuple[str, ...] = ()
    """Empty until the member has started."""
    is_learner: bool = False
    wants_vote: bool = False
    """Of a learner: it is promoted as soon as it is in sync."""

    @property
    def address(self) -> str:
        """Where it listens for the others, as host:port."""
        return urlsplit(self.peer_urls[0]).netloc if self.peer_urls else ""


class MembershipChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step; which fields matter depends on its kind.

    add: `peer_urls`, `wants_vote`, `name` if known (the id is the leader's to draw). promote, remove: `id`.
    update: `id` and `peer_urls`. publish: `id`, `name` and `client_urls`, as a member says of itself.
    """

    kind: Kind
    id: int = 0
    name: str = ""
    peer_urls: tuple[str, ...] = ()
    client_urls: tuple[str, ...] = ()
    wants_vote: bool = False


class Members(msgspec.Struct, frozen=True, omit_defaults=True):
    """The membership; `records` are ordered by id."""

    records: tuple[MemberRecord, ...] = ()
    removed: tuple[int, ...] = ()
    """Ids of members removed, newest last."""

    def get(self, id: int) -> MemberRecord | None:
        """Return a member's record."""
        return next((record for record in self.records if record.id == id), None)

    def named(self, name: str) -> MemberRecord | None:
        """Return the record of the member of that name."""
        return next((record for record in self.records if name and record.name == name), None)

    @property
    def voters(self) -> tuple[int, ...]:
        """Ids of those that elect and commit."""
        return tuple(record.id for record in self.records if not record.is_learner)

    @property
    def learners(self) -> tuple[int, ...]:
        """Ids of those that are only sent the log."""
        return tuple(record.id for record in self.records if record.is_learner)

    @property
    def quorum(self) -> int:
        """How many voters make a majority."""
        return len(self.voters) // 2 + 1

    def encode(self) -> bytes:
        """Return the bytes kept in the log and beside the state."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(raw: bytes) -> Members:
        """Return the membership of `encode`'s bytes; none for none."""
        return msgspec.json.decode(raw, type=Members) if raw else Members()

    def after(self, change: MembershipChange) -> Members:
        """Return the membership after one step.

        Raises:
            MembershipRefused: the step makes no sense here.
        """
        match change.kind:
            case "add":
                return self._after_add(change)
            case "remove":
                self._known(change.id)
                left = tuple(record for record in self.records if record.id != change.id)
                if not any(not record.is_learner for record in left):
                    raise MembershipRefused("re-configuration failed due to not enough started members")
                return Members(left, (*self.removed, change.id)[-REMOVED_MAX:])
            case "promote":
                if not self._known(change.id).is_learner:
                    raise MembershipRefused("can only promote a learner member")
                return self._with(change.id, is_learner=False, wants_vote=False)
            case "update":
                self._known(change.id)
                self._check_urls(change.peer_urls, but=change.id)
                return self._with(change.id, peer_urls=tuple(sorted(change.peer_urls)))
            case "publish":
                self._known(change.id)
                other = self.named(change.name)
                if other is not None and other.id != change.id:
                    raise MembershipRefused(f"member name {change.name} is taken by {other.id:x}")
                return self._with(change.id, name=change.name, client_urls=change.client_urls)

    def _after_add(self, change: MembershipChange) -> Members:
        if self.get(change.id) is not None or change.id in self.removed or self.named(change.name) is not None:
            raise MembershipRefused("member ID already exist")
        self._check_urls(change.peer_urls)
        if len(self.learners) >= LEARNERS_MAX:
            raise MembershipRefused("too many learner members in cluster")
        urls = tuple(sorted(change.peer_urls))
        added = MemberRecord(change.id, urls, change.name, is_learner=True, wants_vote=change.wants_vote)
        return Members(_sorted((*self.records, added)), self.removed)

    def _check_urls(self, urls: Sequence[str], but: int = 0) -> None:
        for url in urls:
            check_peer_url(url)
        if not urls:
            raise MembershipRefused("given member URLs are invalid", "INVALID_ARGUMENT")
        taken = {url for record in self.records if record.id != but for url in record.peer_urls}
        if taken & set(urls):
            raise MembershipRefused("Peer URLs already exists")

    def _known(self, id: int) -> MemberRecord:
        record = self.get(id)
        if record is None:
            raise MembershipRefused("member not found", "NOT_FOUND")
        return record

    def _with(self, id: int, **fields: object) -> Members:
        records = (msgspec.structs.replace(record, **fields) if record.id == id else record for record in self.records)
        return Members(_sorted(records), self.removed)


def check_peer_url(url: str) -> None:
    """Check that members can be reached by `url`.

    Raises:
        MembershipRefused: they can't.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:
        good = False
    if not good:
        message = f"given member URLs are invalid: {url!r} is not of the form https://host:port"
        raise MembershipRefused(message, "INVALID_ARGUMENT")


def _sorted(records: object) -> tuple[MemberRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.id))  # type: ignore[call-overload]
