"""From a committed entry to new state: deterministic, the same on every member.

Nothing here reads a clock, draws at random, iterates over a set or raises for what a client asked: a command that
can't be done has its error *returned*, so that no request can stop every member at the same entry. What raises is a
broken invariant, and stops this member.

`Remembered` is the bounded, replicated table of request ids: a command that names a request applied before is answered
with what it was answered then, and not applied again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Sequence

from component import tracing
from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store.alarms import Alarms, Corrupt, NoSpace, adds_data
from store.auth.permissions import WRITE
from store.auth.state import Auth, AuthRefused
from store.backend import Backend
from store.consensus.consensus import LogIndex, Term
from store.encoding import request_id, txn_of_one_put
from store.lease import Expiry, LeaseExists, Leases, LeaseTooLong
from store.mvcc.kv import DeleteRange, KeyNotFound, LeaseNotFound, Mvcc, Txn
from store.mvcc.revision import Change, Compacted, FutureRevision
from store.mvcc.watch import Watchers
from store.reading import Reading
from store.recovery import Incoming
from store.wire import txn_from, txn_result_to

REQUESTS_MAX = 8192
"""Requests remembered, the newest ones; about two megabytes."""
CLIENTS_MAX = 256
"""Clients of which it is remembered which of their requests are forgotten."""
_FORGOTTEN = 1 << 63
"""Orders from here on are not requests: they say, by client, which is the newest one forgotten."""
RESPONSE_BYTES_MAX = 4096
"""Longer answers are not remembered: a repeat is told only that it was done."""

_EXPECTED = (
    Compacted,
    FutureRevision,
    KeyNotFound,
    LeaseNotFound,
    LeaseExists,
    LeaseTooLong,
    NoSpace,
    Corrupt,
    AuthRefused,
)
"""Errors that are answers."""
_REFUSED_WHEN_CORRUPT = frozenset({"compact", "lease_grant", "lease_revoke"})
"""Transactions as well, unless they were done before."""


class AlreadyApplied(Exception):
    """The request was applied before, and its answer was too long to be remembered."""


class Forgotten(Exception):
    """The request may have been applied before: so much came after it that this is not known any more."""


class Remembered:
    """The newest requests by id, with their answers; and of older ones, up to where they are forgotten."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._answers: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._oldest_first: deque[tuple[int, int]] = deque()
        """Its keys: a dict that loses its first key again and again takes ever longer to find the next."""
        self._forgotten: dict[int, int] = {}
        self._next_order = 0
        forgotten: list[tuple[bytes, store_pb2.RequestId]] = []
        for order, encoded in backend.requests():
            message = store_pb2.RequestId.FromString(encoded[1 : 1 + encoded[0]])
            if order >= _FORGOTTEN:
                forgotten.append((encoded[1 + encoded[0] :], message))
                continue
            self._keep(message.client, message.sequence, order, encoded[1 + encoded[0] :])
            self._next_order = order + 1
        # In the order in which they were last added to: the same on every member, restarted or not.
        for _, message in sorted(forgotten, key=lambda each: each[0]):
            self._forgotten[message.client] = message.sequence

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, client: int, sequence: int) -> bytes | None:
        """Return what the request was answered, empty where that was too long, None where it is not remembered."""
        found = self._answers.get((client, sequence))
        return None if found is None else found[1]

    def may_be_forgotten(self, client: int, sequence: int) -> bool:
        """Whether a request that is not remembered may have been applied all the same."""
        return sequence <= self._forgotten.get(client, 0)

    def add(self, id: store_pb2.RequestId, answer: bytes) -> None:
        """Remember a request, and forget the oldest beyond REQUESTS_MAX."""
        if len(answer) > RESPONSE_BYTES_MAX:
            answer = b""
        order, self._next_order = self._next_order, self._next_order + 1
        client, sequence = id.client, id.sequence
        self._keep(client, sequence, order, answer)
        self._backend.put_request(order, _encode_id(client, sequence) + answer)
        while len(self._answers) > REQUESTS_MAX:
            oldest = self._oldest_first.popleft()
            self._backend.put_request(self._answers.pop(oldest)[0], None)
            self._forget(*oldest)

    def _keep(self, client: int, sequence: int, order: int, answer: bytes) -> None:
        key = (client, sequence)
        self._answers[key] = (order, answer)
        self._oldest_first.append(key)

    def _forget(self, client: int, sequence: int) -> None:
        newest = max(sequence, self._forgotten.pop(client, 0))
        self._forgotten[client] = newest  # and so the last in order
        last = self._next_order.to_bytes(8, "big")
        self._backend.put_request(_FORGOTTEN | client, _encode_id(client, newest) + last)
        if len(self._forgotten) > CLIENTS_MAX:
            gone = next(iter(self._forgotten))
            del self._forgotten[gone]
            self._backend.put_request(_FORGOTTEN | gone, None)


def _encode_id(client: int, sequence: int) -> bytes:
    raw = request_id(client, sequence)
    return bytes([len(raw)]) + raw


class HashReports:
    """What members answered to the newest hash check. Nothing applied depends on it, so it is not kept on disk."""

    def __init__(self) -> None:
        self.check = 0
        """The newest check's id; 0 before the first."""
        self.revision = 0
        self.compact_revision = 0
        self.begun = asyncio.Event()
        """Set when a check is applied; whoever answers it clears it."""
        self.by_member: dict[int, store_pb2.HashReport] = {}

    def begin(self, check: int, revision: int, compact_revision: int) -> None:
        """Note a new check, and what there was to hash at its entry: reports to earlier ones no longer matter."""
        self.check = check
        self.revision = revision
        self.compact_revision = compact_revision
        self.by_member = {}
        self.begun.set()

    def add(self, report: store_pb2.HashReport) -> None:
        """Note a report, if it is to the newest check."""
        if report.id == self.check:
            self.by_member[report.member] = report


class State:
    """The replicated state of one member: a `StateMachine` (see `store.consensus.consensus`)."""

    def __init__(self, backend: Backend) -> None:
        """Read the state at which `backend` is."""
        meta = backend.meta
        self._backend = backend
        self._members = backend.members()
        self.leases = Leases(backend.leases())
        self.mvcc = Mvcc(
            backend,
            has_lease=self.leases.__contains__,
            revision=meta.revision,
            compact_revision=meta.compact_revision,
        )
        for lease, key in self.mvcc.leased():
            self.leases.attach(lease, key)
        self.alarms = Alarms(backend.alarms())
        self.auth = Auth(backend.auth())
        self.reports = HashReports()
        self.watchers = Watchers(self.mvcc)
        self.remembered = Remembered(backend)
        self.granted: list[int] = []
        """Leases granted lately, for the leader to begin to count their time; whoever does clears it."""
        self.expiry = Expiry()
        """The leader's deadlines. Not replicated state: applying only tells it which leases are gone."""

    # -- StateMachine

    @property
    def applied(self) -> tuple[LogIndex, Term]:
        """Index and term of the last entry applied."""
        return LogIndex(self._backend.meta.applied), Term(self._backend.meta.term)

    @property
    def persisted(self) -> LogIndex:
        """Index up to which the state is on disk."""
        return self._backend.persisted

    @property
    def members(self) -> bytes:
        """The membership as of `applied`."""
        return self._members

    def apply_members(self, index: LogIndex, term: Term, members: bytes) -> None:
        """Apply an entry that changes the membership."""
        self._members = members
        self._backend.put_members(members)
        self._backend.meta = dataclasses.replace(self._backend.meta, applied=index, term=term)

    def snapshot(self) -> Reading:
        """Return the state on disk, for another member."""
        return self._backend.read()

    def installer(self) -> Incoming:
        """Begin to take in another member's state."""
        return Incoming(self._backend.directory)

    def schedule_flush(self, durable: LogIndex) -> None:
        """Let the backend flush, now or soon."""
        self._backend.schedule_flush(durable)

    def apply(self, index: LogIndex, term: Term, commands: Sequence[bytes]) -> Sequence[object]:
        """Apply an entry; watchers hear of all of its changes at once, after the last."""
        self._changes: list[Change] = []
        first = self.mvcc.revision + 1
        results = [self._apply(store_pb2.Command.FromString(command)) for command in commands]
        self._backend.meta = dataclasses.replace(
            self._backend.meta,
            applied=index,
            term=term,
            revision=self.mvcc.revision,
            compact_revision=self.mvcc.compact_revision,
        )
        if self._changes:
            self.watchers.publish(first, self.mvcc.revision, self._changes)
        return results

    # -- commands

    def _apply(self, command: store_pb2.Command) -> object:
        change = command.WhichOneof("change")
        try:
            if self.alarms and change in _REFUSED_WHEN_CORRUPT:
                self._refuse_under_alarm(command)
            if self.auth.is_enabled:
                self._require_permission(command)
            match change:
                case "txn":
                    return self._txn(command)
                case "compact":
                    self._compact(command.compact.revision)
                    return None
                case "lease_grant":
                    return self._grant(command.lease_grant)
                case "lease_revoke":
                    if command.lease_revoke.ID not in self.leases:
                        raise LeaseNotFound
                    return self._revoke(command.lease_revoke.ID)
                case "lease_expiry":
                    for lease in command.lease_expiry.leases:
                        if lease in self.leases:
                            self._revoke(lease)
                    return None
                case "alarm":
                    return self._alarm(command.alarm)
                case "auth":
                    if self.auth.apply(command.auth):
                        self._backend.put_auth(self.auth.encode())
                    return None
                case "hash_check":
                    self.reports.begin(command.hash_check.id, self.mvcc.revision, self.mvcc.compact_revision)
                    return None
                case "hash_report":
                    self.reports.add(command.hash_report)
                    return None
                case unknown:
                    raise AssertionError(f"command of a kind this program does not know: {unknown}")
        except _EXPECTED as error:
            return error

    def _txn(self, command: store_pb2.Command) -> bytes | Exception:
        """Return the TxnResponse's bytes; its header has the revision alone, so that all members agree on them."""
        id = command.id
        if id.client:
            remembered = self.remembered.get(id.client, id.sequence)
            if remembered is not None:
                return remembered or AlreadyApplied()
            if id.again and self.remembered.may_be_forgotten(id.client, id.sequence):
                return Forgotten()
        if self.alarms:
            self._refuse_under_alarm(command)
        result, changes = self.mvcc.txn(txn_from(command.txn))
        self._follow(changes)
        if command.traceparent and changes:
            tracing.causes.note(result.revision, command.traceparent)  # for watchers; no state follows from it
        response = txn_of_one_put(result) or txn_result_to(result).SerializeToString()
        if id.client and changes:
            self.remembered.add(id, response)
        return response

    def _require_permission(self, command: store_pb2.Command) -> None:
        """Raise AuthRefused where whoever asked for the command may not have it done; what follows a clock may be."""
        if command.id.client and not command.HasField("caller"):
            return  # from a Pipeline, which only those may use that may do everything
        match command.WhichOneof("change"):
            case "txn":
                self.auth.require_txn(command.caller, command.txn, self.leases.keys)
            case "lease_revoke":
                self.auth.require_keys(command.caller, WRITE, self.leases.keys(command.lease_revoke.ID))
            case "auth" if not command.auth.HasField("authentication"):
                self.auth.require_admin(command.caller)

    def _refuse_under_alarm(self, command: store_pb2.Command) -> None:
        """Raise Corrupt or NoSpace where an alarm stands against the command.

        The log decides, not this member's disk: so every member refuses the same.
        """
        if self.alarms.is_corrupt:
            raise Corrupt
        grows = command.HasField("lease_grant") or (command.HasField("txn") and adds_data(command.txn))
        if grows and self.alarms.is_out_of_space:
            raise NoSpace

    def _alarm(self, request: rpc_pb2.AlarmRequest) -> list[tuple[int, int]]:
        """Raise or lower alarms; return those meant, as (type, member)."""
        if request.action == rpc_pb2.AlarmRequest.ACTIVATE:
            meant, is_raised = self.alarms.activate(request.alarm, request.memberID), True
        else:
            meant, is_raised = self.alarms.deactivate(request.alarm, request.memberID), False
        for kind, member in meant:
            self._backend.put_alarm(kind, member, is_raised)
        return meant

    def _compact(self, revision: int) -> None:
        if self._changes:
            # Watchers must hear of what came before in this entry while it still has its previous pairs.
            self.watchers.publish(self._changes[0].kv.mod_revision, self.mvcc.revision, self._changes)
            self._changes = []
        self.mvcc.compact(revision)

    def _grant(self, request: rpc_pb2.LeaseGrantRequest) -> int:
        ttl_s = self.leases.grant(request.ID, request.TTL)
        self.granted.append(request.ID)
        self._backend.put_lease(request.ID, ttl_s)
        return ttl_s

    def _revoke(self, lease: int) -> int:
        """Delete a lease's keys at one revision, and the lease; return the revision."""
        deletes = tuple(DeleteRange(key) for key in self.leases.keys(lease))
        result, changes = self.mvcc.txn(Txn(success=deletes))
        self._follow(changes)
        self.leases.forget(lease)
        self.expiry.forget(lease)
        self._backend.put_lease(lease, None)
        return result.revision

    def _follow(self, changes: list[Change]) -> None:
        if changes:
            self.leases.follow(changes)
            self._changes += changes
