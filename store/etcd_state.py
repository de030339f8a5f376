"""The state as etcd has it on disk, in the buckets of a bbolt file, and back.

A record's key is its revision, `_` between main and sub, and a `t` behind that of a tombstone; its value is the pair as
protobuf. So revision order is key order there as here, and a file is written and read record by record.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sized
from dataclasses import replace
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from proto.etcd import auth_pb2, kv_pb2, lease_pb2, rpc_pb2
from proto.steersman.v1 import store_pb2
from store.auth.state import Auth
from store.bbolt import read, write
from store.consensus.membership import MemberRecord, Members
from store.mvcc.revision import KeyValue
from store.reading import Reading
from store.records import Meta, encode_lease, encode_meta, encode_record, record_key
from store.wire import kv_from, kv_to

OWN = b"steersman"
"""A bucket of ours beside etcd's: what a snapshot says of itself. etcd leaves buckets alone that it does not know."""
_REVISION = struct.Struct(">QcQ")
_INDEX = struct.Struct(">Q")
_KEY, _TOMBSTONE_KEY = range(_REVISION.size), range(_REVISION.size + 1)
"""As long as the keys of records."""
_CLUSTER_VERSION = b"3.4.0"
_META_KEYS_MAX = 64
_NUMBER_MAX = (1 << 62) - 1


class StateDamaged(Exception):
    """The file is not of a whole state; the message says what is wrong with it."""


def file_of(reading: Reading, note: bytes) -> write.File:
    """Return the bbolt file of a state, with `note` about it.

    Raises:
        BackendDamaged: the state on disk is altered; so may the file's `pieces`.
    """
    meta = reading.meta
    consistent = {
        b"consistent_index": _INDEX.pack(meta.applied),
        b"finishedCompactRev": _REVISION.pack(meta.compact_revision, b"_", 0),
        b"scheduledCompactRev": _REVISION.pack(meta.compact_revision, b"_", 0),
        b"term": _INDEX.pack(meta.term),
    }
    if not meta.compact_revision:
        del consistent[b"finishedCompactRev"], consistent[b"scheduledCompactRev"]
    leases = {
        struct.pack(">q", lease): lease_pb2.Lease(ID=lease, TTL=ttl_s).SerializeToString()
        for lease, ttl_s in reading.leases()
    }
    alarms = {}
    for kind, member in reading.alarms():
        alarm = rpc_pb2.AlarmMember(memberID=member)
        alarm.alarm = kind  # type: ignore[assignment]
        alarms[alarm.SerializeToString()] = b""
    members = {b"%x" % record.id: _member(record) for record in Members.decode(reading.members()).records}
    small: dict[bytes, dict[bytes, bytes]] = {
        b"meta": consistent,
        b"lease": leases,
        b"alarm": alarms,
        b"cluster": {b"clusterVersion": _CLUSTER_VERSION},
        b"members": members,
        OWN: {b"description": note},
        b"members_removed": {},
        **_auth(reading.auth()),
    }
    buckets = [_bucket(name, content) for name, content in small.items()]
    pairs = write.Bucket(b"key", lambda: map(_encode, reading.records()), lambda: map(_outline, reading.outlines()))
    return write.File([pairs, *buckets])


class Incoming:
    """The state in a file that anybody may have written."""

    def __init__(self, path: Path) -> None:
        """Open it, and read all of it but pairs and leases.

        Raises:
            StateDamaged, OSError: it can't be read.
        """
        try:
            with read.File(path) as file:
                self.note = next((value for key, value in file.bucket(OWN) if key == b"description"), None)
                """What the file says of itself, or None: it is another program's, such as of an etcd made of ours."""
                if file.transaction != write.TRANSACTION:
                    self.note = None
                self.meta = _meta(file)
                """What it is the state of; its revision is known only once all pairs are read."""
        except read.Damaged as error:
            raise StateDamaged(str(error)) from None
        self._path = path

    def contents(self) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield (table, key, value) of pairs, leases, users and roles, and at the end of its description.

        Raises:
            StateDamaged, OSError: what came so far may not be used either.
        """
        newest = max(self.meta.compact_revision, 1)
        try:
            with read.File(self._path) as file:
                for key, value in file.bucket(b"key"):
                    main, sub, kv = _decode(key, value)
                    newest = max(newest, main)
                    yield b"kv", record_key(main, sub), encode_record(kv)
                for key, value in file.bucket(b"lease"):
                    lease = lease_pb2.Lease.FromString(value)
                    if key != struct.pack(">q", lease.ID):
                        raise StateDamaged(f"lease {lease.ID:x} is not where it should be")
                    yield (b"lease", *encode_lease(lease.ID, lease.TTL))
                auth = _auth_in(file)
                if auth:
                    yield b"meta", b"auth", auth
        except (read.Damaged, DecodeError) as error:
            raise StateDamaged(str(error)) from None
        yield b"meta", b"state", encode_meta(replace(self.meta, revision=newest))


def _meta(file: read.File) -> Meta:
    found = dict(itertools.islice(file.bucket(b"meta"), _META_KEYS_MAX))
    if b"consistent_index" not in found:
        raise StateDamaged("it is a bbolt file, and has no state of etcd's in it")
    compact = [
        _number(found, name, _REVISION) for name in (b"finishedCompactRev", b"scheduledCompactRev") if name in found
    ]
    return Meta(
        applied=max(1, _number(found, b"consistent_index", _INDEX)),
        term=max(1, _number(found, b"term", _INDEX)) if b"term" in found else 1,
        # One that was under way counts as done: what it was to free is freed at the next start.
        compact_revision=max(compact, default=0),
    )


def _number(found: dict[bytes, bytes], name: bytes, shape: struct.Struct) -> int:
    if len(found[name]) != shape.size:
        raise StateDamaged(f"its {name.decode()} is {len(found[name])} bytes long, and not {shape.size}")
    return min(int(shape.unpack(found[name])[0]), _NUMBER_MAX)


def _encode(record: tuple[int, KeyValue]) -> tuple[bytes, bytes]:
    """Return a record's key and value in the bucket `key`."""
    sub, kv = record
    if not kv.version:
        return _REVISION.pack(kv.mod_revision, b"_", sub) + b"t", kv_pb2.KeyValue(key=kv.key).SerializeToString()
    return _REVISION.pack(kv.mod_revision, b"_", sub), kv_to(kv).SerializeToString()


def _outline(record: tuple[int, int, int, int, int, int]) -> tuple[Sized, Sized]:
    """Return something as long as what `_encode` returns."""
    key_length, value_length, created, modified, version, lease = record
    encoded_length = _length_of_bytes(key_length)
    if not version:
        return _TOMBSTONE_KEY, range(encoded_length)
    # A tag of one byte before each number; all but the lease are above 0.
    encoded_length += 3 + _length(created) + _length(modified) + _length(version) + _length_of_bytes(value_length)
    if lease:
        encoded_length += 1 + _length(lease)
    return _KEY, range(encoded_length)


def _length(number: int) -> int:
    """Return how many bytes a number takes as protobuf."""
    return (number.bit_length() + 6) // 7 if number >= 0 else 10


def _length_of_bytes(length: int) -> int:
    return 1 + _length(length) + length if length else 0


def _decode(key: bytes, value: bytes) -> tuple[int, int, KeyValue]:
    is_tombstone = len(key) == _REVISION.size + 1 and key.endswith(b"t")
    if not is_tombstone and len(key) != _REVISION.size:
        raise StateDamaged(f"{key.hex()} is not a revision")
    main, _, sub = _REVISION.unpack_from(key)
    if not 0 < main < 1 << 63 or sub >= 1 << 32:
        raise StateDamaged(f"{key.hex()} is not a revision")
    pair = kv_pb2.KeyValue.FromString(value)
    if is_tombstone:
        return main, sub, KeyValue(pair.key, b"", 0, main, 0)
    if pair.mod_revision != main or not 0 < pair.create_revision <= main or pair.version <= 0:
        raise StateDamaged(f"the pair of revision {main}.{sub} says that it is of another")
    return main, sub, kv_from(pair)


def _member(record: MemberRecord) -> bytes:
    described: dict[str, object] = {"id": record.id, "peerURLs": record.peer_urls}
    if record.is_learner:
        described["isLearner"] = True
    if record.name:
        described["name"] = record.name
    if record.client_urls:
        described["clientURLs"] = record.client_urls
    return msgspec.json.encode(described)


def _auth(raw: bytes) -> dict[bytes, dict[bytes, bytes]]:
    """Return the buckets of users and roles."""
    state = store_pb2.AuthState.FromString(raw)
    flags = {b"authEnabled": bytes([state.is_enabled]), b"authRevision": _INDEX.pack(state.revision)}
    return {
        b"auth": flags if raw else {},
        b"authRoles": {role.name: role.SerializeToString() for role in state.roles},
        b"authUsers": {user.name: user.SerializeToString() for user in state.users},
    }


def _auth_in(file: read.File) -> bytes:
    """Return users and roles as they are kept here, empty where there never were any."""
    flags = dict(itertools.islice(file.bucket(b"auth"), _META_KEYS_MAX))
    if b"authRevision" not in flags:
        return b""
    is_enabled = flags.get(b"authEnabled") == b"\x01"
    state = store_pb2.AuthState(is_enabled=is_enabled, revision=_number(flags, b"authRevision", _INDEX))
    state.users.extend(auth_pb2.User.FromString(value) for _, value in file.bucket(b"authUsers"))
    state.roles.extend(auth_pb2.Role.FromString(value) for _, value in file.bucket(b"authRoles"))
    raw = state.SerializeToString()
    try:
        Auth(raw)
    except UnicodeDecodeError:
        raise StateDamaged("the name of a user or role is not text") from None
    return raw


def _bucket(name: bytes, content: dict[bytes, bytes]) -> write.Bucket:
    items = sorted(content.items())
    return write.Bucket(name, lambda: items)
