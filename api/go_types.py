"""How Go names and writes values: messages that clients know show them so. Pure.

Facts: what `%T`, `%q` and `%#v` print, of a decoded document and of upstream's types. Where Go would print an address
in memory, `&` and what is there is shown instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from api.schema import FieldSchema, Struct, TypeSchema, fields_of

_ESCAPES: Final = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\", '"': r"\"",
}  # fmt: skip
_INITIALISMS: Final = re.compile(r"(Api|Uid|Uids|Ip|Ips|Cidr|Cidrs|Id|Pid|Ipc|Dns|Tls|Url|Gid|Os|Uri)(?![a-z])")
_GO_NAMES: Final = {
    "kind": "Kind",
    "uid": "UID",
    "seLinuxOptions": "SELinuxOptions",
    "seLinuxChangePolicy": "SELinuxChangePolicy",
}
_TEXT_FORMS: Final = {"date-time": "v1.Time", "micro-time": "v1.MicroTime", "quantity": "resource.Quantity"}


class Verbatim(str):
    """A value as a message shall show it, put into Go's form already."""

    __slots__ = ()


def type_of(value: Any) -> str:
    """Return what a value's type is called."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int64"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case dict():
            return "map[string]interface {}"
    return "<nil>"


def printed(value: Any) -> str:
    """Return what `%v` makes of a decoded document: no quotes, no commas, keys in order."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{' '.join(map(printed, value))}]"
        case dict():
            return f"map[{' '.join(f'{key}:{printed(value[key])}' for key in sorted(value))}]"
    return str(value)


def quoted(text: str) -> str:
    """Return a text in quotes."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    known = _ESCAPES.get(character)
    if known is not None:
        return known
    code = ord(character)
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def literal(value: Any) -> str:
    """Return a value of a document as Go source has it; plain values inside are as messages show them."""
    match value:
        case dict():
            inside = ", ".join(f"{quoted(key)}:{literal(item)}" for key, item in sorted(value.items()))
            return f"{type_of(value)}{{{inside}}}"
        case list():
            return f"{type_of(value)}{{{', '.join(map(literal, value))}}}"
        case None:
            return "interface {}(nil)"
        case str():
            return quoted(value)
    return msgspec.json.encode(value).decode()


def int_or_string(value: int | str) -> Verbatim:
    """Return a count, or a percentage or name, as Go source has it."""
    is_text = isinstance(value, str)
    number, text = (0, quoted(str(value))) if is_text else (value, '""')
    return Verbatim(f"intstr.IntOrString{{Type:{int(is_text)}, IntVal:{number}, StrVal:{text}}}")


def texts(name: str, values: list[str]) -> Verbatim:
    """Return a list of texts of a type of their own, called `name`, as Go source has it."""
    return Verbatim(_sequence(f"[]{name}", values, quoted))


def octets(value: bytes) -> Verbatim:
    """Return bytes as Go source has them; nil if there are none."""
    return Verbatim(_sequence("[]byte", list(value), hex))


def of_declared(value: Any) -> str:
    """Return a struct, or a list or map of what upstream declares, as Go source has it."""
    match value:
        case Struct():
            return _of_schema(TypeSchema("struct", struct=type(value)), value)
        case list():
            first = value[0] if value else ""
            of = TypeSchema("struct", struct=type(first)) if isinstance(first, Struct) else TypeSchema("string")
            return _of_schema(TypeSchema("list", item=of), value)
        case dict():
            return _of_schema(TypeSchema("map", item=TypeSchema("string")), value)
    return literal(value)


def _of_schema(schema: TypeSchema, value: Any) -> str:
    name = _type_name(schema)
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            told = ", ".join(
                f"{_field_name(declared.json_name)}:{_of_field(declared, getattr(value, declared.name))}"
                for declared in fields_of(schema.struct).values()
            )
            return f"{name}{{{told}}}"
        case "list" if schema.item is not None:
            item = schema.item
            return _sequence(name, value, lambda each: _of_schema(item, each))
        case "map" if schema.item is not None:
            of = schema.item
            told = ", ".join(f"{quoted(key)}:{_of_schema(of, each)}" for key, each in sorted(value.items()))
            return f"{name}{{{told}}}" if value else f"{name}(nil)"
    if schema.form == "int-or-string":
        return int_or_string(value)
    return literal(value)


def _of_field(declared: FieldSchema, value: Any) -> str:
    schema = declared.type
    is_pointer = declared.nullable or schema.form in ("date-time", "micro-time")
    if not is_pointer or schema.kind in ("list", "map"):
        return _of_schema(schema, value)
    if value is None or value == "":
        return f"(*{_type_name(schema)})(nil)"
    return f"&{_of_schema(schema, value)}"


def _sequence(name: str, value: list[Any], show: Callable[[Any], str]) -> str:
    return f"{name}{{{', '.join(map(show, value))}}}" if value else f"{name}(nil)"


def _type_name(schema: TypeSchema) -> str:
    return type_name(schema, lambda struct: f"{_package(struct)}.{struct.__name__}", _text_name)


def type_name(
    schema: TypeSchema, of_struct: Callable[[type[Struct]], str], of_text: Callable[[TypeSchema], str]
) -> str:
    """Return what Go calls a type; the caller names its structs, and what is a text or may be anything."""
    match schema.kind:
        case "struct":
            assert schema.struct is not None
            return of_struct(schema.struct)
        case "list":
            assert schema.item is not None
            return f"[]{type_name(schema.item, of_struct, of_text)}"
        case "map":
            assert schema.item is not None
            return f"map[string]{type_name(schema.item, of_struct, of_text)}"
        case "integer":
            return schema.form or "int64"
        case "boolean":
            return "bool"
        case "number":
            return "float64"
        case "bytes":
            return "[]uint8"
    return of_text(schema)


def _text_name(schema: TypeSchema) -> str:
    if schema.form == "int-or-string":
        return "intstr.IntOrString"
    return _TEXT_FORMS.get(schema.form, "string" if schema.kind == "string" else "interface {}")


def _package(struct: type[Struct]) -> str:
    """Return what Go's package of a type is called: types of no group are v1, the others upstream's internal ones."""
    _, _, rest = struct.__module__.partition("api.")
    group, is_in_group, _ = rest.partition(".")
    return group if is_in_group else "v1"


def _field_name(json_name: str) -> str:
    name = json_name[:1].upper() + json_name[1:]
    return _GO_NAMES.get(json_name) or _INITIALISMS.sub(lambda found: _upper(found[0]), name)


def _upper(word: str) -> str:
    return f"{word[:-1].upper()}s" if word.endswith("s") and word not in ("Dns", "Tls", "Os") else word.upper()
