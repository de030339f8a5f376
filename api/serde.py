"""Request bodies to typed objects and back, as the API does it: lenient about null, exact about everything else.

A body is JSON, YAML or protobuf (`api.protobuf`). Null means absent; quantities may be JSON numbers and come out
canonical; times come out in UTC. What a type does not declare is dropped (`Ignore`), reported (`Warn`) or refused
(`Strict`), and so are fields given twice. A value of the wrong type is refused with a message that names the field (API
conventions, "Field validation"). `decode` reads what clients send, `decode_value` what a patch has made; stored objects
were checked once and are read with a plain msgspec decoder: `decoder_of`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
import yaml

from api import custom, protobuf, quantity, timestamps
from api.errors import BadRequest
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, TypeSchema, fields_of

T = TypeVar("T", bound=Struct)

FieldValidation = Literal["Ignore", "Warn", "Strict"]
DEPTH_MAX: Final = 250
"""Deepest nesting taken: far more than any object has, and little enough for all that works on it step by step."""
_VALUES_MAX: Final = 1_000_000
_YAML_VALUES_MAX: Final = 250_000
_NUMBER_CHARACTERS_MAX: Final = 400
_DUPLICATES_MAX: Final = 100
"""No more keys given twice are listed."""

_JSON_TYPES = ("", "application/json", "*/*", "text/json")
_YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "application/apply-patch+yaml")


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


# --- the interface --------------------------------------------------------------------------------------------------


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
    if not is_yaml(content_type):
        if not is_json(content_type):
            raise BadRequest(f'a body of type "{content_type}" cannot be read as a {resource.kind}')
        if field_validation == "Ignore":
            fast = _decode_fast(body, resource)
            if fast is not None:
                return Decoded(fast)
    value, duplicates = parse(body, content_type)
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
        raise _too_deep() from None
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


def is_json(content_type: str) -> bool:
    """Return whether a body of that media type is read as JSON; no type at all counts as JSON."""
    return _media(content_type) in _JSON_TYPES


def is_yaml(content_type: str) -> bool:
    """Return whether a body of that media type is read as YAML."""
    return _media(content_type) in _YAML_TYPES


def is_known(content_type: str) -> bool:
    """Return whether a body of that media type can be read; no type at all counts as JSON."""
    return is_json(content_type) or is_yaml(content_type) or protobuf.is_protobuf(content_type)


def parse(body: bytes, content_type: str = "application/json") -> tuple[Any, list[str]]:
    """Return a body as plain JSON values, and the paths of the fields that it gives twice; raises BadRequest."""
    try:
        value, has_duplicates = _parse_yaml(body) if is_yaml(content_type) else _parse_json(body)
    except RecursionError:
        raise _too_deep() from None
    duplicates: list[str] = []
    if not is_yaml(content_type):
        _check_depth(body, value)
    if has_duplicates:
        value = _plain(value, "", duplicates, [_VALUES_MAX])
    return value, duplicates


# --- parsing --------------------------------------------------------------------------------------------------------


def _media(content_type: str) -> str:
    return content_type.split(";", 1)[0].strip().lower()


class _Doubled(dict[str, Any]):
    """A mapping whose text gave some key more than once."""

    doubled: tuple[str, ...]


def _parse_json(body: bytes) -> tuple[Any, bool]:
    has_duplicates = False

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_duplicates
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        has_duplicates = True
        seen: set[str] = set()
        doubled = _Doubled(made)
        doubled.doubled = tuple(
            dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        )
        return doubled

    def refuse_constant(text: str) -> Any:
        raise ValueError(f"invalid character '{text[0]}' looking for beginning of value")

    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        return json.loads(text, object_pairs_hook=collect, parse_constant=refuse_constant), has_duplicates
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


class _YAMLLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as JSON sees it: keys are strings, dates stay text, and a key given twice is noticed."""

    has_duplicates = False

    def construct_json_map(self, node: yaml.MappingNode) -> dict[str, Any]:
        self.flatten_mapping(node)
        doubled: dict[str, None] = {}
        made = _Doubled()
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, bool):
                key = "true" if key else "false"
            if not isinstance(key, (str, int, float)):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a string, a number or a boolean", key_node.start_mark
                )
            if str(key) in made:
                doubled[str(key)] = None
                type(self).has_duplicates = True
            made[str(key)] = self.construct_object(value_node, deep=True)
        made.doubled = tuple(doubled)
        return made

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Read a number as JSON has them: `1:30` is text, and what is longer than any number is refused."""
        if ":" in node.value:
            return node.value
        if len(node.value) > _NUMBER_CHARACTERS_MAX:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        is_integer = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)


_YAMLLoader.add_constructor("tag:yaml.org,2002:map", _YAMLLoader.construct_json_map)
for _kind in ("int", "float"):
    _YAMLLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _YAMLLoader.construct_number)
_YAMLLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_yaml_str(node))
_YAMLLoader.add_constructor(
    "tag:yaml.org,2002:binary", lambda loader, node: loader.construct_scalar(node).replace("\n", "").replace(" ", "")
)


def _parse_yaml(body: bytes) -> tuple[Any, bool]:
    if body.lstrip()[:1] == b"{":
        # kubectl calls the JSON of a server-side apply YAML, which it is, and JSON is read a hundred times faster.
        with contextlib.suppress(BadRequest):
            return _parse_json(body)
    try:
        _measure_yaml(body)
        return yaml.load(body, Loader=_YAMLLoader), True
    except yaml.YAMLError as error:
        raise BadRequest(f"the body is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not YAML: {error}") from None


def _measure_yaml(body: bytes) -> None:
    """Refuse a text that would unfold to too much: an alias counts for all that it stands for, however deep that is.

    Raises:
        BadRequest: it unfolds too far, or nests too deeply.
    """
    sizes: dict[str, tuple[int, int]] = {}
    """Of each anchor, how many values it stands for, and how deep they nest."""
    open_: list[tuple[str, int, int]] = []
    """Of each collection around: its anchor, its values so far, and how deep they nest."""
    for event in yaml.parse(body, Loader=_YAMLLoader):
        size, depth = 1, 1
        match event:
            case yaml.AliasEvent():
                size, depth = sizes.get(event.anchor or "", (1, 1))
            case yaml.CollectionStartEvent():
                open_.append((event.anchor or "", 1, 1))
                if len(open_) > DEPTH_MAX:
                    raise _too_deep()
                continue
            case yaml.CollectionEndEvent():
                anchor, size, depth = open_.pop()
                if anchor:
                    sizes[anchor] = (size, depth)
            case yaml.ScalarEvent():
                if event.anchor:
                    sizes[event.anchor] = (1, 1)
            case _:
                continue
        if open_:
            anchor, so_far, deepest = open_[-1]
            open_[-1] = (anchor, so_far + size, max(deepest, depth + 1))
        if size > _YAML_VALUES_MAX or (open_ and open_[-1][1] > _YAML_VALUES_MAX):
            raise BadRequest(f"the body unfolds to more than {_YAML_VALUES_MAX} values")
        if len(open_) + depth > DEPTH_MAX:
            raise _too_deep()


def _check_depth(body: bytes, value: Any) -> None:
    """Refuse values that nest deeper than what works on them can follow.

    Raises:
        BadRequest: they do.
    """
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return
    layer = [value]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for one in layer:
            if isinstance(one, dict):
                inner += [item for item in one.values() if isinstance(item, (dict, list))]
            elif isinstance(one, list):
                inner += [item for item in one if isinstance(item, (dict, list))]
        if not inner:
            return
        layer = inner
    raise _too_deep()


def _too_deep() -> BadRequest:
    return BadRequest(f"the body nests deeper than {DEPTH_MAX} levels")


def _plain(value: Any, path: str, duplicates: list[str], budget: list[int]) -> Any:
    """Return ordinary dicts and lists, noting the keys given twice.

    YAML's anchors can make a small text unfold into a huge value, so that is counted.
    """
    budget[0] -= 1
    if budget[0] < 0:
        raise BadRequest(f"the body unfolds to more than {_VALUES_MAX} values")
    if isinstance(value, dict):
        if isinstance(value, _Doubled):
            room = _DUPLICATES_MAX - len(duplicates)
            duplicates.extend(_join(path, key) for key in value.doubled[: max(room, 0)])
        return {key: _plain(item, _join(path, key), duplicates, budget) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{path}[{i}]", duplicates, budget) for i, item in enumerate(value)]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


# --- plain values to objects ----------------------------------------------------------------------------------------


def _convert(value: Any, duplicates: list[str], resource: Resource[T], validation: FieldValidation) -> Decoded[T]:
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
        raise _too_deep() from None
    except (msgspec.ValidationError, ValueError) as error:
        # The reader above checks all that a declaration can say, so this is for what it does not know of.
        raise _cannot_handle(resource, str(error)) from None
    problems = [f'duplicate field "{path}"' for path in duplicates] + [f'unknown field "{path}"' for path in unknown]
    if validation == "Ignore" or not problems:
        return Decoded(decoded)
    if validation == "Strict":
        raise _cannot_handle(resource, f"strict decoding error: {', '.join(problems)}")
    return Decoded(decoded, tuple(problems))


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
    steps: list[tuple[str, Callable[[Any], Any]]] = []

    def fix(obj: Any) -> None:
        if not steps:  # Compiled on first use, because types may contain themselves.
            found = ((declared.name, _fix_step(declared.type)) for declared in fields_of(struct).values())
            steps.extend((name, step) for name, step in found if step is not None)
        for name, step in steps:
            value = getattr(obj, name)
            if value:
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
            return _plain_reader(schema, (str,))
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
