"""What members ask the leader that is not for the log: leases' time, and changes of members.

A call is a tagged struct as msgpack; the answer's type is fixed by the call's. Errors that are answers travel by a kind
of their own (`store.consensus.consensus.CallFailed`).
"""

from __future__ import annotations

import msgspec

from store.consensus.membership import MembershipChange


class KeepAlive(msgspec.Struct, frozen=True, tag="keep-alive"):
    """Start a lease's time afresh; answered with its TTL (int), 0 where it is gone."""

    lease: int


class TimeToLive(msgspec.Struct, frozen=True, tag="time-to-live"):
    """Say how long a lease has left; answered with seconds (int), -1 where it is gone."""

    lease: int


class Change(msgspec.Struct, frozen=True, tag="change"):
    """Change the membership; answered with the one after it (`Members`)."""

    change: MembershipChange


Call = KeepAlive | TimeToLive | Change

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Call).decode
