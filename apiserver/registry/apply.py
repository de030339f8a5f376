"""Who owns which field: `metadata.managedFields`, kept at every write, and what server-side apply makes of it. Pure.

Every write is by a `Writer`: a manager, writing one version of a kind, through the object itself or a subresource.
What it changes becomes its own and ceases to be anyone else's. One that *applies* says which fields it wants to own
and nothing more: where that would change what another owns there is a conflict, unless it forces, and what it no
longer says is taken out of the object when nobody else owns it (KEP-555).

Writes are frequent and owners rarely change, so as little as possible is looked at: only the top-level fields that
differ are compared, and an entry whose JSON does not mention one of them is not even decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api import timestamps
from api.custom import is_custom
from api.errors import Cause, Conflict, UnclassedError
from api.meta import ManagedFieldsEntry
from api.patch import apply as arithmetic
from api.patch.apply import Comparison
from api.patch.failure import PatchFailure
from api.patch.fieldset import (
    HERE,
    MEMBER,
    FieldSet,
    difference,
    intersection,
    paths,
    problem_of,
    render,
    union,
    without_trees,
)
from api.patch.shape import Shape, shape_of
from api.schema import Struct

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY: Final = "before-first-apply"
"""Who owns what was there when an object without managed fields was first applied to."""
ANCIENT_CHANGES: Final = "ancient-changes"
"""Who owns what the oldest of too many updaters did."""
UPDATERS_MAX: Final = 10
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL: Final = "kubectl"

_TYPE: Final = "FieldsV1"
_NOBODYS: Final[FieldSet] = {
    "f:apiVersion": MEMBER,
    "f:kind": MEMBER,
    "f:metadata": {
        HERE: MEMBER,
        **{
            f"f:{name}": MEMBER
            for name in (
                "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
                "managedFields", "resourceVersion",
            )
        },
    },
}  # fmt: skip
"""What the server keeps, or what names the object: never owned."""

_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and through what."""

    manager: str
    api_version: str
    subresource: str = ""


class _Owner:
    """One entry of managedFields, decoded no further than needed."""

    __slots__ = ("_fields", "entry")

    def __init__(self, entry: ManagedFieldsEntry, fields: FieldSet | None = None) -> None:
        self.entry = entry
        self._fields = fields

    @property
    def fields(self) -> FieldSet:
        """What it owns."""
        if self._fields is None:
            self._fields = _DECODER.decode(self.entry.fields_v1)
        return self._fields

    def mentions(self, elements: Iterable[bytes]) -> bool:
        """Whether its JSON has one of these elements somewhere: if not, it owns nothing below them."""
        raw = bytes(self.entry.fields_v1)
        return any(element in raw for element in elements)

    def with_fields(self, fields: FieldSet, time: str | None = None) -> _Owner:
        """Return the entry owning `fields`, and if that is given, since `time`."""
        entry = self.entry
        made = ManagedFieldsEntry(
            manager=entry.manager,
            operation=entry.operation,
            api_version=entry.api_version,
            time=entry.time if time is None else time,
            fields_type=_TYPE,
            fields_v1=entry.fields_v1 if fields is self._fields else _encode(fields),
            subresource=entry.subresource,
        )
        return _Owner(made, fields)


def _owners_of(entries: Sequence[ManagedFieldsEntry], struct: type[Struct]) -> list[_Owner]:
    """Return the owners; of a custom kind, whose schema may have changed since, with their fields as it has them."""
    owners = [_Owner(entry) for entry in entries]
    shape = shape_of(struct)
    if not is_custom(struct):
        return owners
    found = []
    for owner in owners:
        fields = arithmetic.reconciled(owner.fields, shape)
        found.append(owner if fields == owner.fields else owner.with_fields(fields))
    return found


def _encode(fields: FieldSet) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(fields))


def _identity(entry: ManagedFieldsEntry) -> tuple[str, str, str, str]:
    # One who applies is the same whatever version it applies in.
    version = entry.api_version if entry.operation == UPDATE else ""
    return (entry.manager, entry.operation, version, entry.subresource)


def _new_entry(writer: Writer, operation: str, time: str, fields: FieldSet) -> _Owner:
    entry = ManagedFieldsEntry(
        manager=writer.manager,
        operation=operation,
        api_version=writer.api_version,
        time=time,
        fields_type=_TYPE,
        fields_v1=_encode(fields),
        subresource=writer.subresource,
    )
    return _Owner(entry, fields)


def _sorted(owners: Iterable[_Owner]) -> list[ManagedFieldsEntry]:
    entries = [owner.entry for owner in owners]
    if len(entries) > 1:
        entries.sort(key=lambda one: (one.operation, one.time, one.manager, one.api_version, one.subresource))
    return entries


# --- what a client sends --------------------------------------------------------------------------------------------


def is_reset(entries: Sequence[ManagedFieldsEntry]) -> bool:
    """Whether a client asks for managed fields to be forgotten: a list of one empty entry."""
    return len(entries) == 1 and entries[0] == ManagedFieldsEntry()


def readable(entries: Sequence[ManagedFieldsEntry]) -> list[ManagedFieldsEntry] | None:
    """Return the entries that a client sent, in our own form, or None when one of them can't be understood."""
    made = []
    for entry in entries:
        if entry.operation not in (APPLY, UPDATE) or entry.fields_type != _TYPE:
            return None
        try:
            fields = msgspec.json.decode(entry.fields_v1)
            timestamps.parse(entry.time) if entry.time else None
        except ValueError:
            return None
        if problem_of(fields or {}) is not None:
            return None
        made.append(msgspec.structs.replace(entry, fields_v1=_encode(fields or {})))
    return made


# --- updates --------------------------------------------------------------------------------------------------------


def ignored_by(subresource: str, has_status: bool) -> tuple[str, bool]:
    """Return the one top-level field that a write is, or is not, about: all but status, or nothing but status."""
    if subresource == "status":
        return "status", True
    return ("status" if has_status else ""), False


def track_create(obj: Struct, writer: Writer, now: str, *, has_status: bool) -> list[ManagedFieldsEntry]:
    """Return the managed fields of a new object: all that it has is its creator's."""
    document = _top_level(obj, None, has_status=has_status, subresource=writer.subresource)[1]
    try:
        fields = without_trees_of_nobody(arithmetic.everything_in(document, shape_of(type(obj))))
    except PatchFailure:
        return []  # An item without a key: nobody can be said to own it, or anything.
    return [_new_entry(writer, UPDATE, now, fields).entry] if fields else []


def track_update(
    new: Struct, old: Struct, entries: list[ManagedFieldsEntry], writer: Writer, now: str, *, has_status: bool
) -> list[ManagedFieldsEntry]:
    """Return the managed fields after an update from `old` to `new`, both typed; `entries` are those before it.

    Without entries there are none afterwards: that object's owners were forgotten on purpose, or never known.
    """
    if not entries:
        return []
    before, after = _top_level(new, old, has_status=has_status, subresource=writer.subresource)
    try:
        comparison = arithmetic.compare(before, after, shape_of(type(new)))
    except PatchFailure:
        return []  # An item without a key, as above.
    written = without_trees_of_nobody(comparison.written)
    removed = without_trees_of_nobody(comparison.removed)
    if not written and not removed:
        return _sorted(map(_Owner, entries))
    owners = _released(_owners_of(entries, type(new)), written, removed)
    if written:
        wanted = (writer.manager, UPDATE, writer.api_version, writer.subresource)
        mine = next((owner for owner in owners if _identity(owner.entry) == wanted), None)
        if mine is None:
            owners.append(_new_entry(writer, UPDATE, now, written))
        else:
            owners[owners.index(mine)] = mine.with_fields(union(mine.fields, written), now)
    return _sorted(_capped([owner for owner in owners if len(owner.entry.fields_v1) > 2]))


def without_trees_of_nobody(fields: FieldSet) -> FieldSet:
    """Return `fields` without those that are never owned."""
    return difference(fields, _NOBODYS)


def _released(owners: list[_Owner], written: FieldSet, removed: FieldSet) -> list[_Owner]:
    """Return the owners without what someone else has written, and without what is gone."""
    elements = [msgspec.json.encode(element) for element in {**written, **removed}]
    found = []
    for owner in owners:
        if owner.mentions(elements):
            rest = difference(difference(owner.fields, written), removed)
            if rest != owner.fields:
                owner = owner.with_fields(rest)
        found.append(owner)
    return found


def _capped(owners: list[_Owner]) -> list[_Owner]:
    """Merge the oldest of too many updaters into one per version, so that an object's owners stay bounded."""
    updaters = [owner for owner in owners if owner.entry.operation == UPDATE]
    count = len(updaters)
    if count <= UPDATERS_MAX:
        return owners
    updaters.sort(key=lambda one: (one.entry.time, one.entry.manager))
    first: dict[str, _Owner] = {}
    kept = {id(owner): owner for owner in owners}
    buckets: dict[str, _Owner] = {}
    for owner in updaters:
        if count <= UPDATERS_MAX:
            break
        version = owner.entry.api_version
        if version not in first:
            first[version] = owner
            continue
        bucket = buckets.get(version)
        if bucket is None:
            oldest = first[version]
            kept.pop(id(oldest))
            bucket = _new_entry(Writer(ANCIENT_CHANGES, version), UPDATE, oldest.entry.time, oldest.fields)
        merged = bucket.with_fields(union(bucket.fields, owner.fields), owner.entry.time)
        kept.pop(id(bucket), None)
        kept.pop(id(owner))
        kept[id(merged)] = buckets[version] = merged
        count -= 1
    return list(kept.values())


def _top_level(
    new: Struct, old: Struct | None, *, has_status: bool, subresource: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both objects as plain values, but only the top-level fields that differ and that this write is about."""
    field, is_only = ignored_by(subresource, has_status)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name, json_name, ours, theirs in _fields_of(new, old):
        if name in ("api_version", "kind") or (name == field) is not is_only:
            continue
        if old is not None and ours is not _ABSENT and theirs is not _ABSENT and ours == theirs:
            continue
        for value, document in ((theirs, before), (ours, after)):
            if value is not _ABSENT:
                document[json_name] = _metadata(value) if name == "metadata" else _plain(value)
    return before, after


_ABSENT: Final = object()


def _fields_of(new: Any, old: Any) -> Iterable[tuple[str, str, Any, Any]]:
    """Yield the top-level fields of two objects: attribute, name in JSON, value in each or _ABSENT."""
    if is_custom(type(new)):
        yield "metadata", "metadata", new.metadata, old.metadata if old is not None else _ABSENT
        theirs = old.content if old is not None else {}
        for name in {**new.content, **theirs}:
            yield name, name, new.content.get(name, _ABSENT), theirs.get(name, _ABSENT)
        return
    for name, json_name in zip(new.__struct_fields__, new.__struct_encode_fields__, strict=True):
        yield name, json_name, _shown(new, name), _shown(old, name)


def _shown(obj: Any, name: str) -> Any:
    value = getattr(obj, name) if obj is not None else None
    return value if value or isinstance(value, (bool, int)) else _ABSENT


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; a pod template's metadata may hold managed fields, which are JSON already."""
    return msgspec.to_builtins(value, enc_hook=msgspec.json.decode)


def _metadata(metadata: Any) -> Any:
    kept, metadata.managed_fields = metadata.managed_fields, []
    try:
        return msgspec.to_builtins(metadata)
    finally:
        metadata.managed_fields = kept


# --- apply ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply makes of an object."""

    document: dict[str, Any]
    """Before defaults, without managedFields."""
    entries: list[ManagedFieldsEntry]


def apply(
    live: Mapping[str, Any],
    config: Mapping[str, Any],
    entries: Sequence[ManagedFieldsEntry],
    struct: type[Struct],
    writer: Writer,
    now: str,
    *,
    force: bool,
    has_status: bool,
    last_applied: Mapping[str, Any] | None = None,
) -> Applied:
    """Lay `config` over `live` and say who owns what then.

    Args:
        live: the object as it is, without managedFields; empty when there is none yet.
        config: what the writer applies, as it said it.
        entries: the object's managed fields.
        struct: its type.
        writer: who applies.
        now: the time.
        force: whether to take what others own.
        has_status: whether status is written apart, through its subresource.
        last_applied: what `kubectl apply` without --server-side applied last, if kubectl applies now: fields that
            are still as it said are no conflict, since they were kubectl's own.

    Raises:
        Conflict: it would change what others own.
        UnclassedError: the configuration does not fit the type, or contradicts itself.
    """
    shape = shape_of(struct)
    field, is_only = ignored_by(writer.subresource, has_status)
    ignored: FieldSet = {
        f"f:{name}": MEMBER for name in {*live, *config} if (name == field) is not is_only and name != "metadata"
    }
    if is_only:
        ignored["f:metadata"] = MEMBER
    said = {name: value for name, value in config.items() if f"f:{name}" not in ignored or name in _HEAD}
    try:
        all_said = without_trees(arithmetic.fields_in(said, shape), ignored)
    except PatchFailure as failure:
        raise untyped(config.get("metadata"), writer.api_version, config.get("kind", ""), str(failure)) from None
    wanted = without_trees_of_nobody(all_said)
    owners = _owners_of(entries, struct)
    try:
        everything = arithmetic.everything_in(live, shape) if not owners and live else {}
    except PatchFailure as failure:
        raise unreadable_live(live, str(failure)) from None
    if not owners and live:
        fields = without_trees(without_trees_of_nobody(everything), ignored)
        first = Writer(BEFORE_FIRST_APPLY, writer.api_version, writer.subresource)
        owners = [_new_entry(first, UPDATE, now, fields)] if fields else []
    identity = (writer.manager, APPLY, "", writer.subresource)
    mine = next((owner for owner in owners if _identity(owner.entry) == identity), None)
    others = [owner for owner in owners if owner is not mine]

    merged = arithmetic.merge(dict(live), said, shape)
    if mine is not None:
        merged = _without_dropped(merged, mine.fields, all_said, others, shape)
    try:
        comparison = arithmetic.compare(live, merged, shape)
    except PatchFailure as failure:
        raise unreadable_live(live, str(failure)) from None
    written = without_trees(without_trees_of_nobody(comparison.written), ignored)
    removed = without_trees(without_trees_of_nobody(comparison.removed), ignored)
    if not force:
        conflicts = [(owner, both) for owner in others if (both := intersection(owner.fields, written))]
        if conflicts and last_applied is not None and writer.manager == _KUBECTL:
            allowed = _still_as_applied(live, last_applied, shape)
            conflicts = [(owner, rest) for owner, both in conflicts if (rest := difference(both, allowed))]
        if conflicts:
            raise conflict_of(conflicts)
    owners = _released(others, written, removed)
    if wanted:
        is_same = mine is not None and wanted == mine.fields and mine.entry.api_version == writer.api_version
        if mine is None or written or removed or not is_same:
            mine = _new_entry(writer, APPLY, now, wanted)
        owners.append(mine)
    left = [owner for owner in owners if len(owner.entry.fields_v1) > 2]
    return Applied(merged, _sorted(_capped(left)))


_HEAD: Final = ("apiVersion", "kind", "metadata")


def untyped(metadata: Any, api_version: str, kind: str, why: str) -> UnclassedError:
    """Return the error for a configuration that does not fit the schema of its kind."""
    named = metadata if isinstance(metadata, dict) else {}
    where = f"{named.get('namespace') or ''}/{named.get('name') or ''}"
    group, _, version = api_version.rpartition("/")
    return UnclassedError(f"failed to create typed patch object ({where}; {group}/{version}, Kind={kind}): {why}")


def unreadable_live(live: Mapping[str, Any], why: str) -> UnclassedError:
    """Return the error for an object in which items of a list can't be told apart, so that nothing can be applied."""
    named = live.get("metadata") or {}
    return UnclassedError(
        f"failed to create typed live object ({named.get('namespace') or ''}/{named.get('name')}): {why}"
    )


def _without_dropped(merged: Any, former: FieldSet, said: FieldSet, others: Sequence[_Owner], shape: Shape) -> Any:
    if not difference(former, said):
        return merged
    held = said
    for owner in others:
        held = union(held, owner.fields)
    return arithmetic.prune(merged, former, held, shape)


def _still_as_applied(live: Mapping[str, Any], last_applied: Mapping[str, Any], shape: Shape) -> FieldSet:
    try:
        fields = arithmetic.fields_in(last_applied, shape)
        comparison: Comparison = arithmetic.compare(live, last_applied, shape)
    except PatchFailure:
        return {}
    return difference(difference(fields, comparison.modified), comparison.added)


def conflict_of(conflicts: Sequence[tuple[_Owner, FieldSet]]) -> Conflict:
    """Return the error for fields that others own, naming each."""
    by_owner = sorted(
        ((_described(owner.entry), [render(path) for path in paths(fields)]) for owner, fields in conflicts)
    )
    causes = [
        Cause("FieldManagerConflict", f"conflict with {described}", path)
        for described, found in by_owner
        for path in found
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = []
        for described, found in by_owner:
            lines.append(f"conflicts with {described}:")
            lines.extend(f"- {path}" for path in found)
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return Conflict(message, causes=causes)


def _described(entry: ManagedFieldsEntry) -> str:
    text = msgspec.json.encode(entry.manager).decode()
    if entry.subresource:
        text += f' with subresource "{entry.subresource}"'
    return f"{text} using {entry.api_version}" if entry.operation == UPDATE else text


def rendered_last_applied(config: Mapping[str, Any]) -> str:
    """Return `config` as kubectl's annotation holds it."""
    metadata = dict(config.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    metadata.pop("annotations", None)
    metadata.pop("managedFields", None)
    if annotations:
        metadata["annotations"] = annotations
    return _ENCODER.encode({**config, "metadata": metadata}).decode() + "\n"
