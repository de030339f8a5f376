"""Request bodies to typed objects and back, as the API does it: lenient about null, exact about everything else.

A body is JSON or YAML (`api.bodies`), or protobuf (`api.protobuf`). Null means absent; quantities may be JSON numbers
and come out canonical; times come out in UTC. What a type does not declare is dropped (`Ignore`), reported (`Warn`) or
refused (`Strict`), and so are fields given twice. A value of the wrong type is refused with a message that names the
field (API conventions, "Field validation"). `decode` reads what clients send, `decode_value` what a patch has made;
stored objects were checked once and are read with a plain msgspec decoder: `decoder_of`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from api import bodies, custom, protobuf, type_meta
from api.errors import BadRequest
from api.reader import NORMAL_FORMS, Path, WrongType, json_type, reader_of, render
from api.resource import Resource
from api.schema import Struct, TypeSchema, fields_of
from api.type_meta import Unreadable

T = TypeVar("T", bound=Struct)

FieldValidation = Literal["Ignore", "Warn", "Strict"]


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """An object, and what a client that asked for `Warn` should be told about its body."""

    object: T
    warnings: tuple[str, ...] = ()


def decode(
    body: bytes,
    resource: Resource[T],
    *,
    content_type: str = "application/json",
    field_validation: FieldValidation = "Ignore",
) -> Decoded[T]:
    """Decode what a client sent as an object of `resource`; raises BadRequest.

    A body of a built-in kind without apiVersion and kind is taken to be what the path says (`api.type_meta`). Defaults
    are not applied. In protobuf no field is unknown, as new ones are passed over, so there `field_validation` finds
    nothing.
    """
    if protobuf.is_protobuf(content_type):
        if not body.startswith(protobuf.MAGIC):
            raise type_meta.unreadable(resource, body, protobuf.NO_MAGIC)
        return _convert(protobuf.to_value(body, resource.type), [], resource, "Ignore", body)
    if not bodies.is_yaml(content_type):
        if not bodies.is_json(content_type):
            raise BadRequest(f'a body of type "{content_type}" cannot be read as a {resource.kind}')
        if field_validation == "Ignore":
            fast = _decode_fast(body, resource)
            if fast is not None:
                return Decoded(fast)
    try:
        value, duplicates = bodies.parse(body, content_type)
    except bodies.Malformed as error:
        before = "" if bodies.is_yaml(content_type) else type_meta.NO_KIND
        raise type_meta.unreadable(resource, body, f"{before}{error.message}") from None
    return _convert(value, duplicates, resource, field_validation, body)


def decode_value(value: Any, resource: Resource[T], *, field_validation: FieldValidation = "Ignore") -> Decoded[T]:
    """Decode plain JSON values, such as a patched object, as `decode` does a body; `value` is not changed."""
    return _convert(value, [], resource, field_validation, None)


def normalise(value: dict[str, Any], resource: Resource[Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a client sent in its normal form, still as plain values, and the paths that are not declared.

    Server-side apply looks at what was said, before defaults.

    Raises:
        BadRequest: it is no such object, or a value has the wrong type.
    """
    type_meta.check(value, resource, is_strict=False, body=None)
    unknown: list[str] = []
    try:
        normal: dict[str, Any] = reader_of(resource.type)(value, None, unknown)
    except WrongType as error:
        raise _cannot_handle(resource, str(error), error) from None
    except ValueError as error:
        raise _cannot_handle(resource, str(error)) from None
    except RecursionError:
        raise bodies.too_deep() from None
    return normal, unknown


def encode(obj: Struct) -> bytes:
    """Return the JSON of an object, without its empty fields."""
    return msgspec.json.encode(obj, enc_hook=custom.to_plain)


def to_value(obj: Struct) -> Any:
    """Return an object as plain JSON values, as a patch needs it."""
    return msgspec.json.decode(encode(obj))


@functools.cache
def decoder_of(type: type[T]) -> msgspec.json.Decoder[T]:
    """Return the decoder for JSON that this server wrote: no nulls, no doubts."""
    return msgspec.json.Decoder(type, dec_hook=custom.from_plain)


# --- plain values to objects; how is in `api.reader` ------------------------------------------------------------------


def _convert(
    value: Any,
    duplicates: list[bodies.Duplicate],
    resource: Resource[T],
    validation: FieldValidation,
    body: bytes | None,
) -> Decoded[T]:
    if value is None and not custom.is_custom(resource.type):
        value = {}  # A null changes nothing of what it is read into.
    if body is not None:
        type_meta.check_readable(value, resource, body)
    elif not isinstance(value, dict):
        raise BadRequest(f"the body must be an object, and is {json_type(value)}")
    type_meta.check(value, resource, is_strict=validation != "Ignore", body=body)
    unknown: list[str] = []
    try:
        normal = reader_of(resource.type)(value, None, unknown)
        decoded = msgspec.convert(normal, resource.type, dec_hook=custom.from_plain)
    except WrongType as error:
        raise _cannot_handle(resource, str(error), error) from None
    except RecursionError:
        raise bodies.too_deep() from None
    except (msgspec.ValidationError, ValueError) as error:
        # The reader above checks all that a declaration can say, so this is for what it does not know of.
        raise _cannot_handle(resource, str(error)) from None
    if validation == "Ignore" or not (duplicates or unknown):
        return Decoded(decoded)
    problems = (_custom_problems if custom.is_custom(resource.type) else _problems)(value, duplicates, unknown)
    if validation == "Strict":
        raise _cannot_handle(resource, f"strict decoding error: {', '.join(problems)}")
    return Decoded(decoded, tuple(problems))


def _problems(value: Any, duplicates: list[bodies.Duplicate], unknown: list[str]) -> list[str]:
    """Say which fields are given twice or not declared: of YAML by line, of JSON in the order of the text.

    Of a field that is not declared that is all there is to say, however often it is given.
    """
    doubled = [each.path for each in duplicates if not each.line and each.path not in unknown]
    found = [(path, f'duplicate field "{path}"') for path in doubled]
    found += [(path, f'unknown field "{path}"') for path in unknown]
    if doubled and unknown:
        places = {path: at for at, path in enumerate(_paths(value))}
        found.sort(key=lambda each: places.get(each[0], 0))
    return _by_line(duplicates) + [problem for _, problem in found]


def _custom_problems(value: Any, duplicates: list[bodies.Duplicate], unknown: list[str]) -> list[str]:
    """Say the same of a custom object: its text is read as any JSON first, then metadata, and last by its schema."""
    known_late = sorted(unknown, key=lambda path: (not path.startswith("metadata."), path))
    doubled = [f'duplicate field "{each.path}"' for each in duplicates if not each.line]
    return _by_line(duplicates) + doubled + [f'unknown field "{path}"' for path in known_late]


def _by_line(duplicates: list[bodies.Duplicate]) -> list[str]:
    told = [str(each) for each in duplicates if each.line]
    return ["yaml: unmarshal errors:\n  " + "\n  ".join(told)] if told else []


def _paths(value: Any, path: Path = None) -> Iterator[str]:
    """Yield the path of every field in a value, in the order of its text."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield render((path, key))
        yield from _paths(item, (path, key))


def _cannot_handle(resource: Resource[Any], why: str, mismatch: WrongType | None = None) -> Unreadable:
    return type_meta.cannot_handle(resource.kind, resource.version, resource, why, mismatch)


def _decode_fast(body: bytes, resource: Resource[T]) -> T | None:
    """Decode straight to the type, or return None where the careful way has something to do or to say."""
    if custom.is_custom(resource.type):
        return None
    try:
        obj = decoder_of(resource.type).decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return None
    fix = _fixer_of(resource.type)
    if fix is not None:
        try:
            fix(obj)
        except ValueError:
            return None
    given: Any = obj
    return obj if given.api_version == resource.api_version and given.kind == resource.kind else None


# The fast way leaves quantities, times and sets of fields as they were written. A fixer visits just what holds one.

_Fixer = Callable[[Any], None]


@functools.cache
def _holds_normal_forms(struct: type[Struct]) -> bool:
    """Return whether there is a quantity or a time anywhere in a struct, which may contain itself."""
    seen: set[type[Struct]] = set()
    waiting = [struct]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        for declared in fields_of(one).values():
            schema = declared.type
            while schema.item is not None:
                schema = schema.item
            if schema.kind == "string" and schema.form in NORMAL_FORMS:
                return True
            if schema.kind == "struct" and schema.struct is not None:
                waiting.append(schema.struct)
    return False


@functools.cache
def _fixer_of(struct: type[Struct]) -> _Fixer | None:
    """Return what brings the quantities and times in a struct to their normal form, or None if it holds none."""
    if not _holds_normal_forms(struct):
        return None
    steps: list[tuple[str, bool, Callable[[Any], Any]]] = []

    def fix(obj: Any) -> None:
        if not steps:  # Compiled on first use, because types may contain themselves.
            found = ((declared, _fix_step(declared.type)) for declared in fields_of(struct).values())
            steps.extend((declared.name, declared.nullable, step) for declared, step in found if step is not None)
        for name, is_nullable, step in steps:
            value = getattr(obj, name)
            if value or (is_nullable and value is not None):  # Where absent is None, an empty text was written.
                changed = step(value)
                if changed is not value:
                    setattr(obj, name, changed)

    return fix


def _fields_in_normal_form(text: msgspec.Raw) -> msgspec.Raw:
    """Return a set of fields as it is kept: without the spaces, and the spellings, that only its sender needed."""
    if not _OTHERWISE_WRITTEN(bytes(text)):
        return text
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text)))


_OTHERWISE_WRITTEN: Final = re.compile(rb"[ \t\r\n]|\\[^\"\\]").search


def _fix_step(schema: TypeSchema) -> Callable[[Any], Any] | None:
    if schema.kind == "any" and schema.form == "fields":
        return _fields_in_normal_form
    if schema.kind == "string" and schema.form in NORMAL_FORMS:
        return NORMAL_FORMS[schema.form]
    if schema.kind == "struct":
        assert schema.struct is not None
        fix = _fixer_of(schema.struct)
        if fix is None:
            return None

        def fix_struct(value: Any) -> Any:
            fix(value)
            return value

        return fix_struct
    if schema.kind in ("list", "map"):
        assert schema.item is not None
        step = _fix_step(schema.item)
        if step is None:
            return None
        inner = step
        if schema.kind == "list":
            return lambda items: [inner(item) for item in items]
        return lambda items: {key: inner(item) for key, item in items.items()}
    return None
