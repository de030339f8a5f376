"""Plain JSON values to the normal form of a type, as the API reads them: lenient about null, exact about all else.

One reader per type, compiled once from its declaration. A reader takes a plain value, where it stands, and the list of
undeclared fields found so far; it returns the value in normal form, or raises `WrongType`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from api import custom, go_types, quantity, timestamps
from api.meta import ObjectMeta
from api.schema import Struct, TypeSchema, fields_of

Path = tuple[Any, str | int] | None
"""Where a value stands: its parent's path and its key or index. Rendered only where there is something to say."""


class _MapKey(str):
    """A key of a map, which is no field: it is left out where only fields are named."""

    __slots__ = ()


class WrongType(Exception):
    """A value does not fit its field."""

    def __init__(self, path: Path, found: str = "", type_name: str = "", *, value: Any = None, why: str = "") -> None:
        super().__init__(path, found, type_name, why)
        self.path = path
        self.found = found
        self.type_name = type_name
        self.value = value
        self.why = why
        """Replaces the usual text, for strings that are not what their field wants."""
        self.struct = ""
        """The name of the innermost type around the field."""

    def __str__(self) -> str:
        if self.why:
            return f"{render(self.path)}: {self.why}"
        field = render(self.path, indexes=False)
        where = f" Go struct field {self.struct}.{field}" if field else " Go value"
        return f"json: cannot unmarshal {self.found} into{where} of type {self.type_name}"


def render(path: Path, *, indexes: bool = True) -> str:
    """Return a path as messages write it: `spec.containers[0].name`."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        if isinstance(key, int):
            parts.append(f"[{key}]" if indexes else "")
        elif indexes or not isinstance(key, _MapKey):
            parts.append(f".{key}")
    return "".join(reversed(parts)).removeprefix(".")


NORMAL_FORMS: Final[dict[str, Callable[[str], str]]] = {
    "quantity": quantity.canonical,
    "date-time": lambda text: timestamps.render(timestamps.parse(text)),
    "micro-time": lambda text: timestamps.render_micro(timestamps.parse(text)),
}
"""Forms of text that mean the same in several spellings, and what makes each the one that is kept."""


Reader = Callable[[Any, Path, list[str]], Any]
_WRITTEN_OUT_MAX: Final = 1e21
"""Go writes numbers from here on with an exponent."""
_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def json_type(value: Any) -> str:
    """Return what JSON calls a value's type, in Go's words."""
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


def _mismatch(value: Any, path: Path, type_name: str) -> WrongType:
    found = json_type(value)
    if found == "number" and type_name.startswith("int"):
        found = f"number {value}"
    return WrongType(path, found, type_name, value=value)


def _type_name(schema: TypeSchema) -> str:
    """Return what the API calls a type in messages; the words are Go's, which users of kubectl know."""
    return go_types.type_name(schema, lambda struct: f"v1.{struct.__name__}", _text_name)


def _text_name(schema: TypeSchema) -> str:
    return "resource.Quantity" if schema.kind == "string" and schema.form == "quantity" else "string"


def reader_of(struct: type[Struct]) -> Reader:
    """Return the reader of an object of that type."""
    return _custom_reader(struct) if custom.is_custom(struct) else _struct_reader(struct)


def _custom_reader(type_: type[custom.CustomObject]) -> Reader:
    """Return the reader of a custom kind: metadata as everywhere, the rest as its schema knows it."""
    read_metadata = _struct_reader(ObjectMeta)

    def read(value: Any, path: Path, unknown: list[str]) -> Any:
        made = _copied(value)
        for key in ("apiVersion", "kind"):
            if not isinstance(made.get(key, ""), str):
                raise _mismatch(made[key], (path, key), "string")
        if made.get("metadata") is not None:
            made["metadata"] = read_metadata(made["metadata"], (path, "metadata"), unknown)
        type_.shape.read(made, unknown)
        return made

    return read


def _copied(value: Any) -> Any:
    """Return a copy of plain values in which numbers are written as Go writes them: without a fraction of nothing."""
    match value:
        case dict():
            return {key: _copied(item) for key, item in value.items()}
        case list():
            return [_copied(item) for item in value]
        case float() if value.is_integer() and abs(value) < _WRITTEN_OUT_MAX:
            return int(value)
    return value


@functools.cache
def _struct_reader(struct: type[Struct]) -> Reader:
    readers: dict[str, Reader] = {}
    fields = fields_of(struct)
    name = struct.__name__

    def read(value: Any, path: Path, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, path, f"v1.{name}")
        if not readers:  # Compiled on first use, because types may contain themselves.
            readers.update({json_name: _value_reader(declared.type) for json_name, declared in fields.items()})
        made: dict[str, Any] = {}
        try:
            for key, item in value.items():
                found = readers.get(key)
                if found is None:
                    unknown.append(render((path, key)))
                elif item is not None:
                    made[key] = found(item, (path, key), unknown)
        except WrongType as error:
            error.struct = error.struct or name
            raise
        return made

    return read


def _bytes_reader(schema: TypeSchema) -> Reader:
    """Return the reader of base64: lines may be broken anywhere, as `base64` breaks them (RFC 2045, section 6.8)."""
    read_text = _plain_reader(schema, (str,))

    def read(value: Any, path: Path, unknown: list[str]) -> Any:
        text = read_text(value, path, unknown)
        if not text:
            return text
        at = misplaced_base64(text)
        if at is not None:
            raise ValueError(f"illegal base64 data at input byte {at}")
        if "\n" in text or "\r" in text:
            return text.replace("\n", "").replace("\r", "")
        return text

    return read


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_DIGITS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def misplaced_base64(text: str) -> int | None:
    """Return which byte upstream calls the first that does not belong into base64, or None if all do."""
    if _BASE64.fullmatch(text):
        return None
    # Where each byte that is no line's end stands.
    found = [(at, byte) for at, byte in enumerate(text.encode()) if byte not in b"\r\n"]
    digits = next((number for number, (_, byte) in enumerate(found) if byte not in _DIGITS), len(found))
    length, rest, inside = len(text.encode()), found[digits:], digits % 4
    if not rest:
        # What is too short to make a byte of is told of from its beginning, lines' ends not counted.
        return length - inside if inside else None
    at, byte = rest[0]
    if byte != ord("=") or inside < 2:
        return at
    if inside == 2:
        if len(rest) == 1:
            return length
        if rest[1][1] != ord("="):
            return rest[1][0] - 1
    after = rest[4 - inside :]
    return after[0][0] if after else None


def _value_reader(schema: TypeSchema) -> Reader:
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
    if schema.form in NORMAL_FORMS:
        return _time_reader(schema)
    return _plain_reader(schema, (str,))


def _struct_or_other_reader(schema: TypeSchema) -> Reader:
    """Return the reader of a value that is an object of that type, a list that may hold some, or something plain."""
    read = _value_reader(schema)

    def read_either(value: Any, path: Path, unknown: list[str]) -> Any:
        if isinstance(value, dict):
            return read(value, path, unknown)
        if isinstance(value, list):
            return [read_either(item, (path, i), unknown) for i, item in enumerate(value)]
        return value

    return read_either


def _list_reader(schema: TypeSchema) -> Reader:
    assert schema.item is not None
    read, zero = _value_reader(schema.item), _zero(schema.item)
    type_name = _type_name(schema)

    def read_list(value: Any, path: Path, unknown: list[str]) -> Any:
        if not isinstance(value, list):
            raise _mismatch(value, path, type_name)
        return [zero() if item is None else read(item, (path, i), unknown) for i, item in enumerate(value)]

    return read_list


def _map_reader(schema: TypeSchema) -> Reader:
    assert schema.item is not None
    read, zero = _value_reader(schema.item), _zero(schema.item)
    type_name = _type_name(schema)

    def read_map(value: Any, path: Path, unknown: list[str]) -> Any:
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


def _integer_reader(schema: TypeSchema) -> Reader:
    low, high = _INT_RANGES[schema.form or "int64"]
    type_name = schema.form or "int64"

    def read_integer(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise _mismatch(value, path, type_name)
        return value

    return read_integer


def _plain_reader(schema: TypeSchema, types: tuple[type, ...]) -> Reader:
    type_name = _type_name(schema)

    def read_plain(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) not in types:
            raise _mismatch(value, path, type_name)
        return value

    return read_plain


def _time_reader(schema: TypeSchema) -> Reader:
    normalise = NORMAL_FORMS[schema.form]

    def read_time(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is not str:
            raise _mismatch(value, path, "string")
        if not value:
            return ""
        try:
            return normalise(value)
        except (ValueError, OverflowError) as error:
            raise WrongType(path, why=str(error)) from None

    return read_time


def _quantity(value: Any, path: Path, unknown: list[str]) -> Any:
    if type(value) in (int, float):
        value = repr(value)
    if type(value) is not str:
        raise _mismatch(value, path, "resource.Quantity")
    try:
        return quantity.canonical(value.strip())
    except quantity.BadQuantity as error:
        raise WrongType(path, why=f'"{value}" is not a quantity: {error}') from None


def _int_or_string(value: Any, path: Path, unknown: list[str]) -> Any:
    if type(value) is int and not -(2**31) <= value <= 2**31 - 1:
        raise _mismatch(value, path, "int32")
    if type(value) not in (int, str):
        raise _mismatch(value, path, "intstr.IntOrString")
    return value
