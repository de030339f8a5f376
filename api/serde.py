"""Request bodies to typed objects and back, as the API does it: lenient about null, exact about everything else.

A body is JSON or YAML (`api.bodies`), or protobuf (`api.protobuf`). Null means absent; quantities may be JSON numbers
and come out canonical; times come out in UTC. What a type does not declare is dropped (`Ignore`), reported (`Warn`) or
refused (`Strict`), and so are fields given twice. A value of the wrong type is refused with a message that names the
field (API conventions, "Field validation"). `decode` reads what clients send, `decode_value` what a patch has made;
stored objects were checked once and are read with a plain msgspec decoder: `decoder_of`.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from api import bodies, custom, protobuf, quantity, timestamps
from api.errors import BadRequest
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, TypeSchema, fields_of

T = TypeVar("T", bound=Struct)

FieldValidation = Literal["Ignore", "Warn", "Strict"]


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """An object, and what a client that asked for `Warn` should be told about its body."""

    object: T
    warnings: tuple[str, ...] = ()


_Path = tuple[Any, str | int] | None
"""Where a value stands: its parent's path and its key or index. Rendered only where there is something to say."""


class _MapKey(str):
    """A key of a map, which is no field: it is left out where only fields are named."""

    __slots__ = ()


class _WrongType(Exception):
    """A value does not fit its field."""

    def __init__(self, path: _Path, found: str = "", type_name: str = "", why: str = "") -> None:
        super().__init__(path, found, type_name, why)
        self.path = path
        self.found = found
        self.type_name = type_name
        self.why = why
        """Replaces the usual text, for strings that are not what their field wants."""
        self.struct = ""
        """The name of the innermost type around the field."""

    def __str__(self) -> str:
        if self.why:
            return f"{_render(self.path)}: {self.why}"
        field = _render(self.path, indexes=False)
        where = f" Go struct field {self.struct}.{field}" if field else " Go value"
        return f"json: cannot unmarshal {self.found} into{where} of type {self.type_name}"


def _render(path: _Path, *, indexes: bool = True) -> str:
    parts: list[str] = []
    while path is not None:
        path, key = path
        if isinstance(key, int):
            parts.append(f"[{key}]" if indexes else "")
        elif indexes or not isinstance(key, _MapKey):
            parts.append(f".{key}")
    return "".join(reversed(parts)).removeprefix(".")


def decode(
    body: bytes,
    resource: Resource[T],
    *,
    content_type: str = "application/json",
    field_validation: FieldValidation = "Ignore",
) -> Decoded[T]:
    """Decode what a client sent as an object of `resource`; raises BadRequest.

    A body without apiVersion and kind is taken to be what the path says. Defaults are not applied. In protobuf no
    field is unknown, as new ones are passed over, so there `field_validation` finds nothing.
    """
    if protobuf.is_protobuf(content_type):
        return _convert(protobuf.to_value(body, resource.type), [], resource, "Ignore")
    if not bodies.is_yaml(content_type):
        if not bodies.is_json(content_type):
            raise BadRequest(f'a body of type "{content_type}" cannot be read as a {resource.kind}')
        if field_validation == "Ignore":
            fast = _decode_fast(body, resource)
            if fast is not None:
                return Decoded(fast)
    value, duplicates = bodies.parse(body, content_type)
    return _convert(value, duplicates, resource, field_validation)


def decode_value(value: Any, resource: Resource[T], *, field_validation: FieldValidation = "Ignore") -> Decoded[T]:
    """Decode plain JSON values, such as a patched object, as `decode` does a body; `value` is not changed."""
    return _convert(value, [], resource, field_validation)


def normalise(value: dict[str, Any], resource: Resource[Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a client sent in its normal form, still as plain values, and the paths that are not declared.

    Server-side apply looks at what was said, before defaults; `1000m` and `1` are the same thing said.

    Raises:
        BadRequest: it is no such object, or a value has the wrong type.
    """
    _check_kind(value, resource)
    unknown: list[str] = []
    try:
        normal: dict[str, Any] = _reader_of(resource.type)(value, None, unknown)
    except _WrongType as error:
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


# --- plain values to objects ----------------------------------------------------------------------------------------


def _convert(
    value: Any, duplicates: list[bodies.Duplicate], resource: Resource[T], validation: FieldValidation
) -> Decoded[T]:
    if not isinstance(value, dict):
        raise BadRequest(f"couldn't get version/kind: the body must be an object, and is {_json_type(value)}")
    _check_kind(value, resource)
    unknown: list[str] = []
    try:
        normal = _reader_of(resource.type)(value, None, unknown)
        decoded = msgspec.convert(normal, resource.type, dec_hook=custom.from_plain)
    except _WrongType as error:
        raise _cannot_handle(resource, str(error)) from None
    except RecursionError:
        raise bodies.too_deep() from None
    except (msgspec.ValidationError, ValueError) as error:
        # The reader above checks all that a declaration can say, so this is for what it does not know of.
        raise _cannot_handle(resource, str(error)) from None
    if validation == "Ignore" or not (duplicates or unknown):
        return Decoded(decoded)
    problems = _problems(value, duplicates, unknown)
    if validation == "Strict":
        raise _cannot_handle(resource, f"strict decoding error: {', '.join(problems)}")
    return Decoded(decoded, tuple(problems))


def _problems(value: Any, duplicates: list[bodies.Duplicate], unknown: list[str]) -> list[str]:
    """Say which fields are given twice or not declared: of YAML by line, of JSON in the order of the text."""
    by_line = [str(duplicate) for duplicate in duplicates if duplicate.line]
    if by_line:
        by_line = ["yaml: unmarshal errors:\n  " + "\n  ".join(by_line)]
    doubled = [duplicate.path for duplicate in duplicates if not duplicate.line]
    found = [(path, f'duplicate field "{path}"') for path in doubled]
    found += [(path, f'unknown field "{path}"') for path in unknown]
    if doubled and unknown:
        places = {path: at for at, path in enumerate(_paths(value))}
        found.sort(key=lambda each: places.get(each[0], 0))
    return by_line + [problem for _, problem in found]


def _paths(value: Any, path: _Path = None) -> Iterator[str]:
    """Yield the path of every field in a value, in the order of its text."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield _render((path, key))
        yield from _paths(item, (path, key))


def _cannot_handle(resource: Resource[Any], why: str) -> BadRequest:
    return BadRequest(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def _check_kind(value: dict[str, Any], resource: Resource[Any]) -> None:
    api_version = value.get("apiVersion") or resource.api_version
    kind = value.get("kind") or resource.kind
    if kind != resource.kind:
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {resource.kind}):"
            f" its kind is {json.dumps(kind)} in version {json.dumps(api_version)}"
        )
    if api_version != resource.api_version:
        raise BadRequest(
            f"the API version in the data ({api_version}) does not match"
            f" the expected API version ({resource.api_version})"
        )


def _decode_fast(body: bytes, resource: Resource[T]) -> T | None:
    """Decode straight to the type, or return None where the careful way has something to do or to say."""
    if custom.is_custom(resource.type):
        return None
    try:
        obj = decoder_of(resource.type).decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return None
    fix = _fixer_of(resource.type)
    if fix is not None:
        try:
            fix(obj)
        except ValueError:
            return None
    given: Any = obj
    return obj if given.api_version == resource.api_version and given.kind == resource.kind else None


# The fast way leaves quantities and times as they were written. A fixer visits just the fields that hold one.

_Fixer = Callable[[Any], None]
_NORMAL_FORMS: dict[str, Callable[[str], str]] = {
    "quantity": quantity.canonical,
    "date-time": lambda text: timestamps.render(timestamps.parse(text)),
    "micro-time": lambda text: timestamps.render_micro(timestamps.parse(text)),
}


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
            if schema.kind == "string" and schema.form in _NORMAL_FORMS:
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


def _fix_step(schema: TypeSchema) -> Callable[[Any], Any] | None:
    if schema.kind == "string" and schema.form in _NORMAL_FORMS:
        return _NORMAL_FORMS[schema.form]
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


# The careful way: one reader per type, compiled once from its declaration. A reader takes a plain value, where it
# stands, and the list of undeclared fields found so far; it returns the value in normal form.

_Reader = Callable[[Any, _Path, list[str]], Any]
_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _json_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
    return "null"


def _mismatch(value: Any, path: _Path, type_name: str) -> _WrongType:
    found = _json_type(value)
    if found == "number" and type_name.startswith("int"):
        found = f"number {value}"
    return _WrongType(path, found, type_name)


def _type_name(schema: TypeSchema) -> str:
    """Return what the API calls a type in messages; the words are Go's, which users of kubectl know."""
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            return f"v1.{schema.struct.__name__}"
        case "list":
            assert schema.item is not None
            return f"[]{_type_name(schema.item)}"
        case "map":
            assert schema.item is not None
            return f"map[string]{_type_name(schema.item)}"
        case "integer":
            return schema.form or "int64"
        case "number":
            return "float64"
        case "boolean":
            return "bool"
        case "bytes":
            return "[]uint8"
        case "string" if schema.form == "quantity":
            return "resource.Quantity"
    return "string"


def _reader_of(struct: type[Struct]) -> _Reader:
    return _custom_reader(struct) if custom.is_custom(struct) else _struct_reader(struct)


def _custom_reader(type_: type[custom.CustomObject]) -> _Reader:
    """Return the reader of a custom kind: metadata as everywhere, the rest as its schema knows it."""
    read_metadata = _struct_reader(ObjectMeta)

    def read(value: Any, path: _Path, unknown: list[str]) -> Any:
        made = copy.deepcopy(value)
        for key in ("apiVersion", "kind"):
            if not isinstance(made.get(key, ""), str):
                raise _mismatch(made[key], (path, key), "string")
        if made.get("metadata") is not None:
            made["metadata"] = read_metadata(made["metadata"], (path, "metadata"), unknown)
        type_.shape.read(made, unknown)
        return made

    return read


@functools.cache
def _struct_reader(struct: type[Struct]) -> _Reader:
    readers: dict[str, _Reader] = {}
    fields = fields_of(struct)
    name = struct.__name__

    def read(value: Any, path: _Path, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, path, f"v1.{name}")
        if not readers:  # Compiled on first use, because types may contain themselves.
            readers.update({json_name: _value_reader(declared.type) for json_name, declared in fields.items()})
        made: dict[str, Any] = {}
        try:
            for key, item in value.items():
                found = readers.get(key)
                if found is None:
                    unknown.append(_render((path, key)))
                elif item is not None:
                    made[key] = found(item, (path, key), unknown)
        except _WrongType as error:
            error.struct = error.struct or name
            raise
        return made

    return read


def _bytes_reader(schema: TypeSchema) -> _Reader:
    """Return the reader of base64: lines may be broken anywhere, as `base64` breaks them (RFC 2045, section 6.8)."""
    read_text = _plain_reader(schema, (str,))

    def read(value: Any, path: _Path, unknown: list[str]) -> Any:
        text = read_text(value, path, unknown)
        if text and ("\n" in text or "\r" in text):
            return text.replace("\n", "").replace("\r", "")
        return text

    return read


def _value_reader(schema: TypeSchema) -> _Reader:
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            return _struct_reader(schema.struct)
        case "list":
            return _list_reader(schema)
        case "map":
            return _map_reader(schema)
        case "integer":
            return _integer_reader(schema)
        case "boolean":
            return _plain_reader(schema, (bool,))
        case "number":
            return _plain_reader(schema, (int, float))
        case "bytes":
            return _bytes_reader(schema)
        case "any" if schema.form == "int-or-string":
            return _int_or_string
        case "any" if schema.item is not None:
            return _struct_or_other_reader(schema.item)
        case "any" if schema.form == "fields":
            return lambda value, path, unknown: msgspec.Raw(msgspec.json.encode(value))
        case "any":
            return lambda value, path, unknown: value
    if schema.form == "quantity":
        return _quantity
    if schema.form in _NORMAL_FORMS:
        return _time_reader(schema)
    return _plain_reader(schema, (str,))


def _struct_or_other_reader(schema: TypeSchema) -> _Reader:
    """Return the reader of a value that is an object of that type, a list that may hold some, or something plain."""
    read = _value_reader(schema)

    def read_either(value: Any, path: _Path, unknown: list[str]) -> Any:
        if isinstance(value, dict):
            return read(value, path, unknown)
        if isinstance(value, list):
            return [read_either(item, (path, i), unknown) for i, item in enumerate(value)]
        return value

    return read_either


def _list_reader(schema: TypeSchema) -> _Reader:
    assert schema.item is not None
    read, zero = _value_reader(schema.item), _zero(schema.item)
    type_name = _type_name(schema)

    def read_list(value: Any, path: _Path, unknown: list[str]) -> Any:
        if not isinstance(value, list):
            raise _mismatch(value, path, type_name)
        return [zero() if item is None else read(item, (path, i), unknown) for i, item in enumerate(value)]

    return read_list


def _map_reader(schema: TypeSchema) -> _Reader:
    assert schema.item is not None
    read, zero = _value_reader(schema.item), _zero(schema.item)
    type_name = _type_name(schema)

    def read_map(value: Any, path: _Path, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, path, type_name)
        return {
            key: zero() if item is None else read(item, (path, _MapKey(key)), unknown) for key, item in value.items()
        }

    return read_map


def _zero(schema: TypeSchema) -> Callable[[], Any]:
    """Return what null becomes inside a list or a map, where it cannot mean absent."""
    if schema.form == "quantity":
        return lambda: "0"
    zeros: dict[str, Callable[[], Any]] = {"struct": dict, "list": list, "map": dict, "integer": int, "boolean": bool}
    return zeros.get(schema.kind, str)


def _integer_reader(schema: TypeSchema) -> _Reader:
    low, high = _INT_RANGES[schema.form or "int64"]
    type_name = schema.form or "int64"

    def read_integer(value: Any, path: _Path, unknown: list[str]) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise _mismatch(value, path, type_name)
        return value

    return read_integer


def _plain_reader(schema: TypeSchema, types: tuple[type, ...]) -> _Reader:
    type_name = _type_name(schema)

    def read_plain(value: Any, path: _Path, unknown: list[str]) -> Any:
        if type(value) not in types:
            raise _mismatch(value, path, type_name)
        return value

    return read_plain


def _time_reader(schema: TypeSchema) -> _Reader:
    normalise = _NORMAL_FORMS[schema.form]

    def read_time(value: Any, path: _Path, unknown: list[str]) -> Any:
        if type(value) is not str:
            raise _mismatch(value, path, "string")
        if not value:
            return ""
        try:
            return normalise(value)
        except (ValueError, OverflowError) as error:
            raise _WrongType(path, why=str(error)) from None

    return read_time


def _quantity(value: Any, path: _Path, unknown: list[str]) -> Any:
    if type(value) in (int, float):
        value = repr(value)
    if type(value) is not str:
        raise _mismatch(value, path, "resource.Quantity")
    try:
        return quantity.canonical(value.strip())
    except quantity.BadQuantity as error:
        raise _WrongType(path, why=f'"{value}" is not a quantity: {error}') from None


def _int_or_string(value: Any, path: _Path, unknown: list[str]) -> Any:
    if type(value) is int and not -(2**31) <= value <= 2**31 - 1:
        raise _mismatch(value, path, "int32")
    if type(value) not in (int, str):
        raise _mismatch(value, path, "intstr.IntOrString")
    return value
