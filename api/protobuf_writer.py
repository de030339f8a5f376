"""Objects to messages of protobuf, compiled from the declarations once for each type; `api.protobuf` reads them.

Written is what says something: no empty texts and lists, no zeros but those of pointers, no messages that would be
empty but those that are there or not (`emptyDir: {}`) and the items of lists. Go's writer writes such zeros too; to
its reader, which begins with an object full of zeros, that is the same. Entries of maps come by their keys, so equal
objects give equal bytes.

The cost grows with what an object says, and is some fifteen times that of decoding its JSON (decision 115): whoever
hands out the same object often keeps its bytes.
The wire: protobuf's documentation, "Encoding".
"""

from __future__ import annotations

import functools
import itertools
import operator
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from api import timestamps
from api.schema import FieldSchema, Struct, TypeSchema, fields_of

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_Out = list[bytes]
_Put = Callable[[Any, _Out], None]
"""Appends a value with its tag and, where it has one, its size."""
_ONE_BYTE: Final = [bytes((value,)) for value in range(0x80)]
_NORMAL_TEXTS: Final = ("date-time", "micro-time", "duration", "quantity")
"""Texts that are messages on the wire; an empty one is none, even where it is a pointer."""


def message(obj: Struct) -> bytes:
    """Return an object as a message; it holds its quantities and times in normal form."""
    out: _Out = []
    _writer_of(type(obj))(obj, out)
    return b"".join(out)


def tagged(number: int, data: bytes) -> bytes:
    """Return bytes, a text or a message as the field of that number."""
    return b"%b%b%b" % (_tag(number, _BYTES), varint(len(data)), data)


def varint(value: int) -> bytes:
    """Return a number as a varint: a negative one takes ten bytes, being written as what 64 bits hold of it."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


# --- structs --------------------------------------------------------------------------------------------------------


class _Fields:
    """The fields of one message, and the messages inlined in it, by number: attributes of one object, all of them."""

    def __init__(self) -> None:
        self.own: dict[int, FieldSchema] = {}
        self.inlined: dict[int, _Fields] = {}

    def compile(self) -> _Put:
        """Return what writes them, from the object."""
        own = sorted(self.own.items())
        # Most fields of most objects say nothing, so those are passed over without a line of Python for each.
        plain = [(number, declared) for number, declared in own if not _is_kept(declared)]
        kept = [(number, declared) for number, declared in own if _is_kept(declared)]
        read_plain, read_kept = (_reader_of([declared.name for _, declared in each]) for each in (plain, kept))
        plain_puts, kept_puts = (tuple(itertools.starmap(_put_field, each)) for each in (plain, kept))
        inner = [(_tag(number, _BYTES), fields.compile()) for number, fields in sorted(self.inlined.items())]

        def write(obj: Any, out: _Out) -> None:
            values = read_plain(obj)
            for put, value in itertools.compress(zip(plain_puts, values, strict=False), values):
                put(value, out)
            for put, value in zip(kept_puts, read_kept(obj), strict=False):
                if value is not None:
                    put(value, out)
            for tag, write_inner in inner:
                _put_sized(tag, write_inner, obj, out, is_kept=False)

        return write


def _reader_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda obj: ()
    read: Callable[[Any], Any] = operator.attrgetter(*names)
    return read if len(names) > 1 else lambda obj: (read(obj),)


def _is_kept(declared: FieldSchema) -> bool:
    """Whether a value that is empty says something all the same."""
    schema = declared.type
    if schema.form in _NORMAL_TEXTS or schema.kind in ("list", "map", "bytes"):
        return False
    return declared.nullable or schema.kind == "any"


@functools.cache
def _writer_of(type: type[Struct]) -> _Put:
    compiled: list[_Put] = []

    def write(obj: Any, out: _Out) -> None:
        if not compiled:  # On first use, because types may contain themselves.
            compiled.append(_fields_of(type).compile())
        compiled[0](obj, out)

    return write


def _fields_of(type: type[Struct]) -> _Fields:
    top = _Fields()
    for declared in fields_of(type).values():
        if declared.wire is None or not declared.wire.number:
            continue  # apiVersion and kind of an object, which the envelope has.
        *outer, number = declared.wire.number
        fields = top
        for each in outer:
            fields = fields.inlined.setdefault(each, _Fields())
        fields.own[number] = declared
    return top


def _put_sized(tag: bytes, write: _Put, value: Any, out: _Out, *, is_kept: bool) -> None:
    inner: _Out = []
    write(value, inner)
    if inner:
        data = b"".join(inner)
        size = len(data)
        out += (tag, _ONE_BYTE[size] if size < 0x80 else varint(size), data)
    elif is_kept:
        out += (tag, b"\x00")


# --- fields ---------------------------------------------------------------------------------------------------------


def _put_field(number: int, declared: FieldSchema) -> _Put:
    schema = declared.type
    match schema.kind:
        case "list":
            assert schema.item is not None
            return _put_items(_put_value(number, schema.item))
        case "map":
            assert schema.item is not None
            return _put_entries(number, schema.item)
    return _put_value(number, schema, is_kept=_is_kept(declared))


def _put_items(put_item: _Put) -> _Put:
    def put(value: Any, out: _Out) -> None:
        for item in value:
            put_item(item, out)

    return put


def _put_entries(number: int, of_value: TypeSchema) -> _Put:
    tag, put_key, put_value = _tag(number, _BYTES), _put_value(1, TypeSchema("string")), _put_value(2, of_value)

    def put(value: Any, out: _Out) -> None:
        for key in sorted(value):
            entry: _Out = []
            put_key(key, entry)
            put_value(value[key], entry)
            data = b"".join(entry)
            out += (tag, varint(len(data)), data)

    return put


def _put_value(number: int, schema: TypeSchema, *, is_kept: bool = True) -> _Put:
    """Return what writes one value; a struct that would be empty is left out unless `is_kept`."""
    tag = _tag(number, _BYTES)
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            write = _writer_of(schema.struct)
            return lambda value, out: _put_sized(tag, write, value, out, is_kept=is_kept)
        case "list":
            # Where protobuf has no room for a list, as a map's value, it is a message whose field 1 repeats.
            assert schema.item is not None
            put_items = _put_items(_put_value(1, schema.item))
            return lambda value, out: _put_sized(tag, put_items, value, out, is_kept=True)
        case "integer" | "boolean":
            tag = _tag(number, _VARINT)
            return lambda value, out: out.extend((tag, varint(int(value))))
        case "number":
            tag = _tag(number, _FIXED64)
            return lambda value, out: out.extend((tag, struct.pack("<d", value)))
        case "bytes":
            return lambda value, out: out.extend((tag, varint(len(value)), value))
    render = _render_of(schema)

    def put(value: Any, out: _Out) -> None:
        data = render(value)
        size = len(data)
        out += (tag, _ONE_BYTE[size] if size < 0x80 else varint(size), data)

    return put


def _render_of(schema: TypeSchema) -> Callable[[Any], bytes]:
    match schema.form:
        case "int-or-string":
            return _int_or_string
        case "quantity":
            return _quantity
        case "date-time" | "micro-time":
            return _time
        case "duration":
            return _duration
    if schema.kind != "any":
        return str.encode
    if schema.item is not None:
        return functools.partial(_struct_or_other, schema.form == "schema-or-bool")
    return lambda value: tagged(1, msgspec.json.encode(value))


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01" + tagged(3, value.encode())
    return b"\x10" + varint(value)


@functools.lru_cache(maxsize=4096)
def _quantity(value: str) -> bytes:
    return tagged(1, value.encode())


@functools.lru_cache(maxsize=4096)  # Many objects are of one moment.
def _time(text: str) -> bytes:
    micros = round(timestamps.parse(text) * 10**6)
    return b"\x08" + varint(micros // 10**6) + b"\x10" + varint(micros % 10**6 * 1000)


def _duration(text: str) -> bytes:
    return b"\x08" + varint(round(float(text.removesuffix("s")) * 10**9))


def _struct_or_other(is_boolean: bool, value: Any) -> bytes:
    if isinstance(value, Struct):
        return (b"\x08\x01" if is_boolean else b"") + tagged(2 if is_boolean else 1, message(value))
    if is_boolean:
        return b"\x08" + varint(int(value))
    return b"".join(tagged(2, message(each) if isinstance(each, Struct) else each.encode()) for each in value)
