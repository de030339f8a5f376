"""Rules every kind shares: how errors are worded, and what metadata may hold.

Each kind's own rules stand in its file and yield `FieldError`s built here. `check` runs everything for one write and
raises one Invalid with a cause per broken rule, as the API words it:
`Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from api import go_types, names
from api.custom import is_custom
from api.errors import Cause, Invalid, as_one
from api.meta import LabelSelector, ObjectMeta
from api.resource import FieldError, Resource
from api.schema import Struct

ANNOTATIONS_BYTES_MAX: Final = 256 * 1024
_FINALIZERS: Final = ("orphan", "foregroundDeletion", "kubernetes")
_TAKES_ANY_FINALIZER: Final = (
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "coordination.k8s.io",
)
"""Groups whose kinds, like those that users define, may have finalizers of one word that nobody knows."""
_IMMUTABLE: Final = "field is immutable"

Errors = Iterator[FieldError]
NameCheck = Callable[[str], list[str]]


# --- one function per reason ----------------------------------------------------------------------------------------


def show(value: Any) -> str:
    """Return a value as messages show it, as Go does (`api.go_types`), cut short when long; nothing as "null"."""
    match value:
        case None:
            return '"null"'
        case go_types.Verbatim():
            return value
        case str():
            return go_types.quoted(value)
        case dict() | list() | Struct():
            text = go_types.of_declared(value)
        case _:
            text = msgspec.json.encode(value).decode()
    return text if len(text) <= 10_000 else text[:10_000] + "..."


def required(path: str, why: str = "") -> FieldError:
    """A field that must be set is not."""
    return FieldError(path, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def invalid(path: str, value: Any, why: str) -> FieldError:
    """A field holds what it may not."""
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {show(value)}" + (f": {why}" if why else ""))


def not_supported(path: str, value: Any, supported: Iterable[str], *, in_order: bool = False) -> FieldError:
    """A field holds none of the words it may, which are told by the alphabet if not in an order of their own."""
    words = ", ".join(f'"{word}"' for word in (supported if in_order else sorted(supported)))
    return FieldError(path, "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {words}")


def forbidden(path: str, why: str) -> FieldError:
    """A field may not be set, or not now."""
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {why}")


def duplicate(path: str, value: Any) -> FieldError:
    """A value that must be unique is there twice."""
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {show(value)}")


def too_long(path: str, limit: int) -> FieldError:
    """A value has more bytes than it may."""
    why = f"may not be more than {limit} bytes" if limit >= 0 else "value is too long"
    return FieldError(path, "FieldValueTooLong", f"Too long: {why}")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """A list has more items than it may."""
    why = f"must have at most {limit} items" if limit >= 0 else "has too many items"
    return FieldError(path, "FieldValueTooMany", f"Too many: {count}: {why}")


def not_found(path: str, value: Any) -> FieldError:
    """A value refers to what does not exist in this object."""
    return FieldError(path, "FieldValueNotFound", f"Not found: {show(value)}")


# --- small checks that many kinds need ------------------------------------------------------------------------------


def check_name(path: str, value: str, check: NameCheck, *, why: str = "") -> Errors:
    """Require a name of the given form."""
    if not value:
        yield required(path, why)
        return
    for message in check(value):
        yield invalid(path, value, message)


def check_supported(path: str, value: str, supported: Iterable[str], *, in_order: bool = False) -> Errors:
    """Require one of a few words."""
    if value not in supported:
        yield not_supported(path, value, supported, in_order=in_order) if value else required(path)


def check_given(path: str, value: str | None, supported: Iterable[str], *, in_order: bool = False) -> Errors:
    """Require one of a few words of a field that can be left out: one that is there but empty holds none of them."""
    if value is None:
        yield required(path)
    elif value not in supported:
        yield not_supported(path, value, supported, in_order=in_order)


def check_not_negative(path: str, value: int | None) -> Errors:
    """Require a number that is not negative; None is fine."""
    if value is not None and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def check_counts(path: str, counts: Mapping[str, int | None]) -> Errors:
    """Require that no count below `path` is negative; None is fine."""
    for name, count in counts.items():
        yield from check_not_negative(f"{path}.{name}", count)


def check_port(path: str, value: int) -> Errors:
    """Require a port number."""
    if not 1 <= value <= 65535:
        yield invalid(path, value, "must be between 1 and 65535, inclusive")


def check_port_or_name(path: str, value: int | str) -> Errors:
    """Require a port's number or its name."""
    if isinstance(value, int):
        yield from check_port(path, value)
        return
    for message in names.check_port_name(value):
        yield invalid(path, value, message)


def percent(text: str) -> int:
    """Return the number in `25%`, or -1 for what is no percentage."""
    digits = text.removesuffix("%")
    return int(digits) if text.endswith("%") and digits.isdecimal() and len(digits) < 10 else -1


def check_share(path: str, value: int | str | None) -> Errors:
    """Require a count or a percentage, neither of them negative; None is fine."""
    if isinstance(value, str):
        if percent(value) < 0:
            yield invalid(
                path,
                go_types.int_or_string(value),
                "a valid percent string must be a numeric string followed by an ending '%'"
                " (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            )
    else:
        yield from check_not_negative(path, value)


def check_immutable(path: str, new: Any, old: Any) -> Errors:
    """Require that a field kept its value."""
    if new != old:
        yield invalid(path, new, _IMMUTABLE)


def check_labels(path: str, labels: Mapping[str, str]) -> Errors:
    """Check keys and values of labels."""
    for key, value in labels.items():
        for message in names.check_qualified_name(key):
            yield invalid(path, key, message)
        for message in names.check_label_value(value):
            yield invalid(path, value, message)


def check_annotations(path: str, annotations: Mapping[str, str]) -> Errors:
    """Check keys of annotations, whatever their case, and their total size."""
    size = 0
    for key, value in annotations.items():
        for message in names.check_qualified_name(key.lower()):
            yield invalid(path, key, message)
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        yield too_long(path, ANNOTATIONS_BYTES_MAX)


def check_label_selector(path: str, selector: LabelSelector | None) -> Errors:
    """Check a LabelSelector; None is fine."""
    if selector is None:
        return
    yield from check_labels(f"{path}.matchLabels", selector.match_labels)
    for i, expression in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{i}]"
        match expression.operator:
            case "In" | "NotIn":
                if not expression.values:
                    yield required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            case "Exists" | "DoesNotExist":
                if expression.values:
                    yield forbidden(
                        f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
            case other:
                yield invalid(f"{where}.operator", other, "not a valid selector operator")
        for message in names.check_qualified_name(expression.key):
            yield invalid(f"{where}.key", expression.key, message)
        for j, value in enumerate(expression.values):
            for message in names.check_label_value(value):
                yield invalid(f"{where}.values[{j}]", value, message)


# --- metadata -------------------------------------------------------------------------------------------------------


def check_metadata(metadata: ObjectMeta, resource: Resource[Any], *, path: str = "metadata") -> Errors:
    """Check the metadata of a new object, or of an update's."""
    yield from check_object_meta(
        metadata,
        check_name=resource.check_name,
        is_namespaced=resource.namespaced,
        knows_finalizers=not is_custom(resource.type) and resource.group not in _TAKES_ANY_FINALIZER,
        path=path,
    )


def check_object_meta(
    metadata: ObjectMeta, *, check_name: NameCheck, is_namespaced: bool, knows_finalizers: bool = False, path: str
) -> Errors:
    """Check metadata of any object; `knows_finalizers` refuses finalizers of one word that nobody knows."""
    if metadata.generate_name:
        # Checked with a letter in place of a trailing dash, which is fine there.
        for message in check_name(_masked(metadata.generate_name)):
            yield invalid(f"{path}.generateName", metadata.generate_name, message)
    if not metadata.name:
        yield required(f"{path}.name", "name or generateName is required")
    else:
        for message in check_name(metadata.name):
            yield invalid(f"{path}.name", metadata.name, message)
    if is_namespaced:
        if not metadata.namespace:
            yield required(f"{path}.namespace")
        else:
            for message in names.check_label(metadata.namespace):
                yield invalid(f"{path}.namespace", metadata.namespace, message)
    elif metadata.namespace:
        yield forbidden(f"{path}.namespace", "not allowed on this type")
    yield from check_not_negative(f"{path}.generation", metadata.generation)
    yield from check_labels(f"{path}.labels", metadata.labels)
    yield from check_annotations(f"{path}.annotations", metadata.annotations)
    yield from _check_owners(f"{path}.ownerReferences", metadata)
    yield from _check_finalizers(f"{path}.finalizers", metadata.finalizers, is_strict=knows_finalizers)


def _masked(generate_name: str) -> str:
    """Return a name as it might be made; upstream takes the letter before the dash away with it."""
    return f"{generate_name[:-2]}a" if len(generate_name) > 1 and generate_name[-1] == "-" else generate_name


def _check_owners(path: str, metadata: ObjectMeta) -> Errors:
    controller = ""
    for owner in metadata.owner_references:
        group, _, version = owner.api_version.rpartition("/")
        if not version or "/" in group:
            yield invalid(f"{path}.apiVersion", owner.api_version, "version must not be empty")
        for field, value in (("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)):
            if not value:
                yield invalid(f"{path}.{field}", value, f"{field} must not be empty")
        if owner.api_version == "v1" and owner.kind == "Event":
            yield invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner")
        if not owner.controller:
            continue
        name = f"{owner.kind}/{owner.name}"
        if controller:
            why = 'Only one reference can have Controller set to true. Found "true" in references for'
            yield invalid(path, metadata.owner_references, f"{why} {controller} and {name}")
        controller = controller or name


def _check_finalizers(path: str, finalizers: Sequence[str], *, is_strict: bool) -> Errors:
    for i, finalizer in enumerate(finalizers):
        for message in names.check_qualified_name(finalizer):
            yield invalid(path, finalizer, message)
        if is_strict:
            yield from check_known_finalizer(f"{path}[{i}]", finalizer)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        yield invalid(
            path,
            list(finalizers),
            "finalizer orphan and foregroundDeletion cannot be both set",
        )


def check_known_finalizer(path: str, finalizer: str) -> Errors:
    """Refuse a finalizer of one word that nobody knows."""
    if "/" not in finalizer and finalizer not in _FINALIZERS:
        yield invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")


def check_metadata_update(new: ObjectMeta, old: ObjectMeta, *, path: str = "metadata") -> Errors:
    """Check what an update may not change; the server has already put back what it owns and may be left out."""
    yield from check_immutable(f"{path}.name", new.name, old.name)
    yield from check_immutable(f"{path}.namespace", new.namespace, old.namespace)
    yield from check_immutable(f"{path}.uid", new.uid, old.uid)
    if new.deletion_timestamp != old.deletion_timestamp:
        shown = new.deletion_timestamp.replace("T", " ").replace("Z", " +0000 UTC")
        yield FieldError(f"{path}.deletionTimestamp", "FieldValueInvalid", f"Invalid value: {shown}: {_IMMUTABLE}")
    yield from check_immutable(
        f"{path}.deletionGracePeriodSeconds", new.deletion_grace_period_seconds, old.deletion_grace_period_seconds
    )
    if new.generation < old.generation:
        yield invalid(f"{path}.generation", new.generation, "must not be decremented")
    if old.deletion_timestamp:
        added = [finalizer for finalizer in new.finalizers if finalizer not in old.finalizers]
        if added:
            listed = ", ".join(show(finalizer) for finalizer in sorted(added))
            yield forbidden(
                f"{path}.finalizers",
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}",
            )


def keep_metadata(new: ObjectMeta, old: ObjectMeta) -> None:
    """Put back into `new` the metadata that only the server sets, where the client left it out or made it up.

    Another uid than the stored one, another time to end in, or an end that nobody asked for by deleting, is left for
    `check_metadata_update` to refuse.
    """
    new.uid = new.uid or old.uid
    new.creation_timestamp = old.creation_timestamp or new.creation_timestamp
    new.namespace = new.namespace or old.namespace
    new.deletion_timestamp = old.deletion_timestamp or new.deletion_timestamp
    if new.deletion_grace_period_seconds is None:
        new.deletion_grace_period_seconds = old.deletion_grace_period_seconds
    new.generation = old.generation
    new.self_link = ""


# --- everything for one write ---------------------------------------------------------------------------------------


def check(
    resource: Resource[Any], new: Struct, old: Struct | None, *, status: bool = False, subresource: str = "status"
) -> None:
    """Raise Invalid unless `new` may be stored; `old` is what is there now, None on create.

    With `status`, `new` came in on the status subresource, or another of its like that is named.
    """
    errors = list(find_errors(resource, new, old, status=status, subresource=subresource))
    if errors:
        raise refuse(resource, new, errors)


def find_errors(
    resource: Resource[Any], new: Struct, old: Struct | None, *, status: bool = False, subresource: str = "status"
) -> Iterable[FieldError]:
    """Yield every broken rule, metadata's first."""
    metadata: Any = new.metadata  # type: ignore[attr-defined]
    yield from check_metadata(metadata, resource)
    if old is not None:
        yield from check_metadata_update(metadata, old.metadata)  # type: ignore[attr-defined]
    if status:
        assert old is not None, "a status is only ever updated"
        yield from resource.validate_subresource.get(subresource, resource.validate_status)(new, old)
    else:
        yield from resource.validate(new, old)


def refuse(resource: Resource[Any], obj: Struct, errors: Sequence[FieldError]) -> Invalid:
    """Return the Invalid that tells of `errors`."""
    metadata: Any = obj.metadata  # type: ignore[attr-defined]
    return refuse_named(resource.group, resource.kind, metadata.name or metadata.generate_name, errors)


def refuse_named(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """Return the Invalid that tells of `errors`, for an object called so."""
    told = list(dict.fromkeys(f"{error.path}: {error.message}" for error in errors))
    text = as_one(told)
    return Invalid(
        f'{kind}.{group} "{name}" is invalid: {text}' if group else f'{kind} "{name}" is invalid: {text}',
        group=group,
        kind=kind,
        name=name,
        causes=[Cause(error.reason, error.message, error.path) for error in errors],
    )
