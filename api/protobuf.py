r"""Kubernetes' protobuf bodies to plain JSON values and back, read off the declarations; there are no stubs.

A body is the four bytes `k8s\0` and a message, `runtime.Unknown`, that names a kind and carries its object. kubectl
from 1.32 on, and every Go client that asks for it, sends objects so. `to_value` gives what the same object would be in
JSON, for `api.serde` to check and convert like any other body; `encode` writes an object (`api.protobuf_writer`). What
a field is comes from `fields_of`: its number, whether an explicit zero of it means something, and the special forms of
quantities, times, int-or-string, maps and values of any type.

Three habits of Go's writer matter to a reader. Plain scalars are always written, so a zero says nothing and is
dropped; a pointer is written only when it is set, so its zero is kept. An inlined struct is a message of its own on
the wire and no level in JSON. Unset structs that are no pointers are written as empty messages.

Everything is bounded: depth, and the number of values that a body may unfold to. Unknown fields are passed over, as
protobuf has it. The wire: protobuf's documentation, "Encoding"; the envelope: Kubernetes API concepts, "Protobuf
encoding".
"""

from __future__ import annotations

import base64
import functools
import json
import struct
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import msgspec

from api import protobuf_writer, timestamps
from api.errors import BadRequest
from api.schema import FieldSchema, Struct, TypeSchema, fields_of, wire

MEDIA: Final = "application/vnd.kubernetes.protobuf"
MAGIC: Final = b"k8s\x00"
NO_MAGIC: Final = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"

DEPTH_MAX: Final = 100
VALUES_MAX: Final = 250_000
"""How many values a body may unfold to; no object that fits into the store has as many."""
STRUCT_VALUES: Final = 10
"""How many of those an object within an object counts for: two bytes on the wire, and a kilobyte as a Container."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Wire = int | memoryview


def is_protobuf(content_type: str) -> bool:
    """Return whether a body of that media type is read as protobuf."""
    return content_type.split(";", 1)[0].strip().lower() == MEDIA


def to_value(body: bytes, type: type[Struct]) -> dict[str, Any]:
    """Return the object in a body as plain JSON values, with the apiVersion and kind that the envelope names, if any.

    Raises:
        BadRequest: it is cut short, malformed, encoded once more, too deep or too large.
    """
    if not body.startswith(MAGIC):
        raise BadRequest(NO_MAGIC)
    reading = _Reading()
    try:
        envelope: dict[str, Any] = {}
        _slots_of(_Unknown).read(memoryview(body)[len(MAGIC) :], envelope, reading)
        content_type = envelope.get("contentType", "")
        if envelope.get("contentEncoding") or (content_type and not is_protobuf(content_type)):
            raise BadRequest(
                f'the protobuf body holds "{content_type}" encoded as "{envelope.get("contentEncoding", "")}": send '
                f'"{MEDIA}", not encoded'
            )
        value = {key: text for key, text in envelope.get("typeMeta", {}).items() if text}
        raw = base64.b64decode(envelope.get("raw", ""))
        _slots_of(type).read(memoryview(raw), value, reading)
    except _Malformed as error:
        raise BadRequest(f"the body is not a {type.__name__} in protobuf: {error}") from None
    return value


def encode(obj: Struct, api_version: str, kind: str) -> bytes:
    """Return an object as a body; `obj` holds its quantities and times in normal form."""
    return envelope(protobuf_writer.message(obj), api_version, kind)


def envelope(raw: bytes, api_version: str, kind: str) -> bytes:
    """Return a message as a body that says what it is."""
    return b"%b%b%b\x1a\x00\x22\x00" % (_head(api_version, kind), protobuf_writer.varint(len(raw)), raw)


@functools.lru_cache(maxsize=512)
def _head(api_version: str, kind: str) -> bytes:
    """Return what a body of a kind begins with: all before the size of what it holds."""
    return (
        MAGIC
        + protobuf_writer.tagged(1, protobuf_writer.message(_TypeMeta(api_version=api_version, kind=kind)))
        + b"\x12"
    )


class _TypeMeta(Struct):
    """Of which kind the object in an envelope is.

    Attributes:
        api_version: The group and version that it is written in, such as apps/v1.
        kind: Its kind, such as Deployment.
    """

    api_version: Annotated[str, wire(1)] = ""
    kind: Annotated[str, wire(2)] = ""


class _Unknown(Struct):
    """The envelope: runtime.Unknown.

    Attributes:
        type_meta: Of which kind the object is.
        raw: The object itself, encoded.
        content_encoding: How raw is encoded further; nothing today.
        content_type: What raw is; unset, protobuf.
    """

    type_meta: Annotated[_TypeMeta, wire(1)] = msgspec.field(default_factory=_TypeMeta)
    raw: Annotated[bytes, wire(2)] = b""
    content_encoding: Annotated[str, wire(3)] = ""
    content_type: Annotated[str, wire(4)] = ""


def _path(declared: FieldSchema) -> tuple[int, ...]:
    """Return a field's numbers; empty for apiVersion and kind of an object, which the envelope has."""
    return declared.wire.number if declared.wire is not None else ()


# --- reading --------------------------------------------------------------------------------------------------------


class _Malformed(ValueError):
    """The bytes are not what the declaration says; the message says which."""


class _Reading:
    """What one body may still cost."""

    __slots__ = ("depth_left", "values_left")

    def __init__(self) -> None:
        self.depth_left = DEPTH_MAX
        self.values_left = VALUES_MAX


_Convert = Callable[[_Wire, int, _Reading], Any]
"""From a field's wire value and wire type to a JSON value; raises `_Malformed`."""
_Slot = Callable[[dict[str, Any], _Wire, int, _Reading], None]
"""Puts a field of a message where it belongs in the JSON object of that message."""


class _Slots:
    """What each field number of one message means, compiled from a declaration once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.by_number: dict[int, _Slot] = {}

    def read(self, data: memoryview, into: dict[str, Any], reading: _Reading) -> None:
        """Read a message into a JSON object, which may hold an earlier part of it (they merge)."""
        if reading.depth_left == 0:
            raise _Malformed(f"it nests deeper than {DEPTH_MAX} levels")
        reading.depth_left -= 1
        reading.values_left -= STRUCT_VALUES
        by_number = self.by_number
        for number, wire_type, value in _fields(data, self.name):
            reading.values_left -= 1
            if reading.values_left < 0:
                raise _Malformed(f"it unfolds to more than {VALUES_MAX} values")
            slot = by_number.get(number)
            if slot is not None:
                slot(into, value, wire_type, reading)
        reading.depth_left += 1


def _fields(data: memoryview, name: str) -> Iterator[tuple[int, int, _Wire]]:
    """Yield the fields of a message: number, wire type, value."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at, name)
        number, wire_type = key >> 3, key & 7
        value: _Wire
        if wire_type == _VARINT:
            value, at = _varint(data, at, name)
        else:
            if wire_type == _BYTES:
                size, at = _varint(data, at, name)
            elif wire_type == _FIXED64:
                size = 8
            elif wire_type == _FIXED32:
                size = 4
            else:
                raise _Malformed(f"field {number} of {name} has wire type {wire_type}, which is none in use")
            if size > end - at:
                raise _Malformed(f"field {number} of {name} says it has {size} bytes, and {end - at} are left")
            value = data[at : at + size]
            at += size
        if number == 0:
            raise _Malformed(f"{name} has a field of number 0")
        yield number, wire_type, value


def _varint(data: memoryview, at: int, name: str) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
            if shift > 63:
                raise _Malformed(f"{name} has a number of more than 64 bits")
    except IndexError:
        raise _Malformed(f"{name} ends in the middle of a number") from None


@functools.cache
def _slots_of(type: type[Struct]) -> _Slots:
    slots = _Slots(type.__name__)
    inlined: dict[tuple[int, ...], _Slots] = {(): slots}
    for declared in fields_of(type).values():
        path = _path(declared)
        if not path:
            continue
        for depth in range(1, len(path)):
            if path[:depth] not in inlined:
                inlined[path[:depth]] = inner = _Slots(type.__name__)
                inlined[path[: depth - 1]].by_number[path[depth - 1]] = _inline_slot(inner)
        inlined[path[:-1]].by_number[path[-1]] = _slot(declared)
    return slots


def _inline_slot(inner: _Slots) -> _Slot:
    def put(into: dict[str, Any], value: _Wire, wire_type: int, reading: _Reading) -> None:
        inner.read(_message(value, inner.name), into, reading)

    return put


def _slot(declared: FieldSchema) -> _Slot:
    name, schema = declared.json_name, declared.type
    if schema.kind == "list":
        return _list_slot(name, schema)
    if schema.kind == "map":
        return _map_slot(name, schema)
    if schema.kind == "struct":
        return _struct_slot(name, schema)
    convert = _converter(schema, name)
    if declared.nullable or schema.kind == "any":

        def put(into: dict[str, Any], value: _Wire, wire_type: int, reading: _Reading) -> None:
            into[name] = convert(value, wire_type, reading)

    else:

        def put(into: dict[str, Any], value: _Wire, wire_type: int, reading: _Reading) -> None:
            converted = convert(value, wire_type, reading)
            if converted:
                into[name] = converted
            else:
                into.pop(name, None)

    return put


def _struct_slot(name: str, schema: TypeSchema) -> _Slot:
    assert schema.struct is not None
    type = schema.struct

    def put(into: dict[str, Any], value: _Wire, wire_type: int, reading: _Reading) -> None:
        # The slots are looked up on use, because types may contain themselves.
        _slots_of(type).read(_message(value, name), into.setdefault(name, {}), reading)

    return put


def _list_slot(name: str, schema: TypeSchema) -> _Slot:
    assert schema.item is not None
    convert, is_packable = _converter(schema.item, name), schema.item.kind in ("integer", "boolean")

    def put(into: dict[str, Any], value: _Wire, wire_type: int, reading: _Reading) -> None:
        items = into.setdefault(name, [])
        if is_packable and isinstance(value, memoryview) and wire_type == _BYTES:
            at = 0
            while at < len(value):
                item, at = _varint(value, at, name)
                reading.values_left -= 1
                items.append(convert(item, _VARINT, reading))
        else:
            items.append(convert(value, wire_type, reading))

    return put


def _map_slot(name: str, schema: TypeSchema) -> _Slot:
    assert schema.item is not None
    convert, zero = _converter(schema.item, name), _ZEROS.get(schema.item.kind, str)

    def put(into: dict[str, Any], value: _Wire, wire_type: int, reading: _Reading) -> None:
        key, item, has_item = "", None, False
        for number, inner_type, inner in _fields(_message(value, name), name):
            if number == 1:
                key = _string(inner, name)
            elif number == 2:
                item, has_item = convert(inner, inner_type, reading), True
        into.setdefault(name, {})[key] = item if has_item else zero()

    return put


_ZEROS: Final[dict[str, Callable[[], Any]]] = {
    "struct": dict,
    "list": list,
    "map": dict,
    "integer": int,
    "number": int,
    "boolean": bool,
}


def _converter(schema: TypeSchema, name: str) -> _Convert:
    match schema.kind:
        case "struct":
            return _struct_converter(schema, name)
        case "list":
            return _list_message_converter(schema, name)
        case "integer":
            return _integer_converter(32 if schema.form == "int32" else 64, name)
        case "boolean":
            return lambda value, wire_type, reading: _integer(value, name) != 0
        case "number":
            return lambda value, wire_type, reading: _double(value, name)
        case "bytes":
            return lambda value, wire_type, reading: base64.b64encode(_message(value, name)).decode()
        case "any" if schema.form == "int-or-string":
            return lambda value, wire_type, reading: _int_or_string(_message(value, name), name)
        case "any" if schema.item is not None:
            return _struct_or_other_converter(schema, name)
        case "any":
            return lambda value, wire_type, reading: _raw_json(_message(value, name), name)
    if schema.form == "quantity":
        return lambda value, wire_type, reading: _quantity(_message(value, name), name)
    if schema.form in ("date-time", "micro-time"):
        is_micro = schema.form == "micro-time"
        return lambda value, wire_type, reading: _time(_message(value, name), name, is_micro=is_micro)
    if schema.form == "duration":
        return lambda value, wire_type, reading: _duration(_message(value, name), name)
    return lambda value, wire_type, reading: _string(value, name)


def _struct_converter(schema: TypeSchema, name: str) -> _Convert:
    assert schema.struct is not None
    type = schema.struct

    def convert(value: _Wire, wire_type: int, reading: _Reading) -> Any:
        made: dict[str, Any] = {}
        _slots_of(type).read(_message(value, name), made, reading)
        return made

    return convert


def _struct_or_other_converter(schema: TypeSchema, name: str) -> _Convert:
    """What JSON tells apart by its looks has a field for each look: a schema, or a boolean, schemas, or strings."""
    assert schema.item is not None
    of_struct = _struct_converter(schema.item, name)

    def convert(value: _Wire, wire_type: int, reading: _Reading) -> Any:
        found: Any = None
        several: list[Any] = []
        allows = False
        for number, inner_type, inner in _fields(_message(value, name), name):
            reading.values_left -= 1
            if schema.form == "schema-or-bool" and number == 1:
                allows = _integer(inner, name) != 0
            elif number == (2 if schema.form == "schema-or-bool" else 1):
                found = of_struct(inner, inner_type, reading)
            elif number == 2:
                is_text = schema.form == "schema-or-strings"
                several.append(_string(inner, name) if is_text else of_struct(inner, inner_type, reading))
        if found is not None:
            return found
        return allows if schema.form == "schema-or-bool" else several

    return convert


def _list_message_converter(schema: TypeSchema, name: str) -> _Convert:
    """A list where protobuf has no room for one, as a map's value, is a message whose field 1 repeats."""
    put = _list_slot("items", schema)

    def convert(value: _Wire, wire_type: int, reading: _Reading) -> Any:
        made: dict[str, Any] = {"items": []}
        for number, inner_type, inner in _fields(_message(value, name), name):
            reading.values_left -= 1
            if number == 1:
                put(made, inner, inner_type, reading)
        return made["items"]

    return convert


def _integer_converter(bits: int, name: str) -> _Convert:
    mask, sign = (1 << bits) - 1, 1 << (bits - 1)

    def convert(value: _Wire, wire_type: int, reading: _Reading) -> int:
        return ((_integer(value, name) & mask) ^ sign) - sign

    return convert


def _message(value: _Wire, name: str) -> memoryview:
    if isinstance(value, int):
        raise _Malformed(f"{name} is a number on the wire, and should be a message, a string or bytes")
    return value


def _integer(value: _Wire, name: str) -> int:
    if not isinstance(value, int):
        raise _Malformed(f"{name} should be a number on the wire, and is not")
    return value


def _double(value: _Wire, name: str) -> float:
    data = _message(value, name)
    if len(data) != 8:
        raise _Malformed(f"{name} should be a double on the wire, and is not")
    made: float = struct.unpack("<d", data)[0]
    return made


def _string(value: _Wire, name: str) -> str:
    try:
        return str(_message(value, name), "utf-8")
    except UnicodeDecodeError as error:
        raise _Malformed(f"{name} is not UTF-8: {error.reason} at its byte {error.start}") from None


def _plain(data: memoryview, name: str) -> dict[int, _Wire]:
    """Return the fields of one of the small messages that are a scalar in JSON; the last of each number counts."""
    return {number: value for number, _, value in _fields(data, name)}


def _quantity(data: memoryview, name: str) -> str:
    return _string(_plain(data, name).get(1, memoryview(b"0")), name) or "0"


_to_int64: Final = _integer_converter(64, "a time or number")
_NO_READING: Final = _Reading()


def _signed(fields: dict[int, _Wire], number: int) -> int:
    made: int = _to_int64(fields.get(number, 0), _VARINT, _NO_READING)
    return made


def _time(data: memoryview, name: str, *, is_micro: bool) -> str:
    if not len(data):
        return ""
    fields = _plain(data, name)
    seconds, nanos = _signed(fields, 1), _signed(fields, 2)
    try:
        whole = timestamps.render(seconds)
    except (OverflowError, ValueError):
        raise _Malformed(f"{name} is {seconds} seconds after 1970, which is no year of four digits") from None
    if not is_micro:
        return whole  # times have no fraction in JSON, so the wire's is not kept either
    if not 0 <= nanos < 10**9:
        raise _Malformed(f"{name} has {nanos} nanoseconds: there are fewer in a second")
    return f"{whole[:-1]}.{nanos // 1000:06d}Z"


def _duration(data: memoryview, name: str) -> str:
    """Return a duration in seconds, as Go reads it; which unit it is written in is not on the wire."""
    nanos = _signed(_plain(data, name), 1)
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    whole, fraction = divmod(nanos, 10**9)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".") + "s"


def _int_or_string(data: memoryview, name: str) -> int | str:
    fields = _plain(data, name)
    if _signed(fields, 1) == 1:
        return _string(fields.get(3, memoryview(b"")), name)
    return _signed(fields, 2)


def _raw_json(data: memoryview, name: str) -> Any:
    """Return what a RawExtension, a JSON or a FieldsV1 carries: one field of bytes, which are JSON."""
    raw = bytes(_message(_plain(data, name).get(1, memoryview(b"")), name))
    if not raw:
        return None
    if raw.startswith(MAGIC):
        raise _Malformed(f"{name} holds an object in protobuf again: put it there as JSON")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise _Malformed(f"{name} holds something that is not JSON") from None
