"""The one table from our exceptions to etcd's status codes and messages, by which its clients know them."""

from __future__ import annotations

import logging

from store.alarms import Corrupt, NoSpace
from store.apply import AlreadyApplied, Forgotten
from store.auth.state import AuthRefused
from store.backend import DefragmentFailed
from store.consensus.consensus import NotLeader, OutcomeUnknown
from store.consensus.membership import MembershipRefused
from store.http2.call import Code
from store.lease import LeaseExists, LeaseTooLong
from store.mvcc.check import InvalidRequest
from store.mvcc.kv import KeyNotFound, LeaseNotFound
from store.mvcc.revision import Compacted, FutureRevision
from store.records import BackendDamaged
from store.replica import RequestTooLarge
from store.serve.turns import NoLeaderElected, NotElected, TurnLost

log = logging.getLogger(__name__)


class NotLeading(Exception):
    """Only the leader can be asked this, and it is another member."""


_TABLE: dict[type[Exception], tuple[Code, str]] = {
    Compacted: (Code.OUT_OF_RANGE, "mvcc: required revision has been compacted"),
    FutureRevision: (Code.OUT_OF_RANGE, "mvcc: required revision is a future revision"),
    KeyNotFound: (Code.INVALID_ARGUMENT, "key not found"),
    LeaseNotFound: (Code.NOT_FOUND, "requested lease not found"),
    LeaseExists: (Code.FAILED_PRECONDITION, "lease already exists"),
    LeaseTooLong: (Code.OUT_OF_RANGE, "too large lease TTL"),
    NoSpace: (Code.RESOURCE_EXHAUSTED, "mvcc: database space exceeded"),
    Corrupt: (Code.DATA_LOSS, "corrupt cluster"),
    DefragmentFailed: (Code.RESOURCE_EXHAUSTED, "the state file can't be written anew: no room for a second one?"),
    RequestTooLarge: (Code.INVALID_ARGUMENT, "request is too large"),
    NotLeading: (Code.FAILED_PRECONDITION, "not leader"),
    NotLeader: (Code.UNAVAILABLE, "no leader"),
    OutcomeUnknown: (Code.UNAVAILABLE, "request timed out, possibly due to previous leader failure"),
    BackendDamaged: (Code.DATA_LOSS, "corrupt state: see this member's log"),
    Forgotten: (Code.ABORTED, "it is not known any more whether the request was applied before"),
    AlreadyApplied: (Code.ABORTED, "request was applied before, and its answer is not kept"),
}


_TURNS: dict[type[Exception], str] = {
    TurnLost: "mutex: session is expired",
    NoLeaderElected: "election: no leader",
    NotElected: "election: not leader",
}
"""Of locks and elections, which etcd answers without a code of their own."""


class PasswordNotTaken(Exception):
    """The user has none; etcd answers this without a code of its own."""

    def __init__(self) -> None:
        super().__init__("auth: authentication failed, password was given for no password user")


class NotServed(Exception):
    """A method of etcd's that this store does not have."""


def status_of(error: Exception) -> tuple[Code, str] | None:
    """Return the code and message clients get for `error`; None for one that is our own mistake."""
    if isinstance(error, InvalidRequest):
        return Code.INVALID_ARGUMENT, f"etcdserver: {error}"
    if isinstance(error, MembershipRefused | AuthRefused):
        return Code[error.code], f"etcdserver: {error}"
    if isinstance(error, PasswordNotTaken):
        return Code.UNKNOWN, str(error)
    if isinstance(error, NotServed):
        return Code.UNIMPLEMENTED, str(error)
    if type(error) in _TURNS:
        return Code.UNKNOWN, _TURNS[type(error)]
    found = _TABLE.get(type(error))
    return None if found is None else (found[0], f"etcdserver: {found[1]}")


def status_or_internal(error: Exception) -> tuple[Code, str]:
    """Return what clients get for any error; one that is our own mistake is logged."""
    known = status_of(error)
    if known is None:
        log.error("request failed", exc_info=error)
        known = (Code.INTERNAL, f"store: {type(error).__name__}: {error}")
    return known
