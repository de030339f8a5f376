"""Bodies to plain JSON values: JSON or YAML as clients send it, in bounded time and memory.

What nests too deeply, unfolds to too much (YAML's aliases make a small text a huge value), or holds numbers longer than
any is refused with a sentence. Keys given twice are noted, for whoever asked to be told. Protobuf: `api.protobuf`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import yaml

from api import go_syntax, protobuf
from api.errors import BadRequest, UnsupportedMediaType

DEPTH_MAX: Final = 250
"""Deepest nesting taken: far more than any object has, and little enough for all that works on it step by step."""
_VALUES_MAX: Final = 1_000_000
_YAML_VALUES_MAX: Final = 250_000
_NUMBER_CHARACTERS_MAX: Final = 400
_DUPLICATES_MAX: Final = 100
"""No more keys given twice are listed."""

OBJECT_TYPES: Final = ("application/json", "application/yaml", protobuf.MEDIA)
"""What an object of a built-in kind may be sent as."""
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_APPLY: Final = "application/apply-patch+yaml"
"""YAML too, but of what is applied: no object is sent so."""


class Malformed(BadRequest):
    """A body is no text of the media type that it is sent as; the message is what Go's reader says of it."""


def is_json(content_type: str) -> bool:
    """Return whether a body of that media type is read as JSON; no type at all counts as JSON."""
    return media(content_type) == _JSON or not content_type.strip()


def is_yaml(content_type: str) -> bool:
    """Return whether a body of that media type is read as YAML."""
    return media(content_type) in (_YAML, _APPLY)


def is_known(content_type: str) -> bool:
    """Return whether an object can be read from a body of that media type; no type at all counts as JSON."""
    return is_json(content_type) or media(content_type) == _YAML or protobuf.is_protobuf(content_type)


def unsupported(accepted: Iterable[str]) -> UnsupportedMediaType:
    """Return the error for a body in a form that is not taken, which names those that are."""
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    )


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that a body gives twice."""

    path: str
    key: str
    line: int = 0
    """Where YAML gives it again, counted from 1; 0 in JSON, whose lines nobody tells."""

    def __str__(self) -> str:
        return f"line {self.line}: key {json.dumps(self.key)} already set in map" if self.line else self.path


def parse(body: bytes, content_type: str = "application/json") -> tuple[Any, list[Duplicate]]:
    """Return a body as plain JSON values, and the fields that it gives twice; raises BadRequest."""
    try:
        value, has_duplicates = _parse_yaml(body) if is_yaml(content_type) else _parse_json(body)
    except RecursionError:
        raise too_deep() from None
    duplicates: list[Duplicate] = []
    if not is_yaml(content_type):
        _check_depth(body, value)
    if has_duplicates:
        value = _plain(value, "", duplicates, [_VALUES_MAX])
    return value, duplicates


def media(content_type: str) -> str:
    """Return a media type without its parameters."""
    return content_type.split(";", 1)[0].strip().lower()


class _Doubled(dict[str, Any]):
    """A mapping whose text gave some key more than once."""

    doubled: dict[str, int]
    """Those keys, and the lines on which YAML gives them again."""


def _parse_json(body: bytes) -> tuple[Any, bool]:
    has_duplicates = False

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal has_duplicates
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        has_duplicates = True
        doubled = _Doubled()
        doubled.doubled = {}
        for key, item in pairs:
            if key in doubled and key not in doubled.doubled:
                doubled.doubled[key] = 0
                del doubled[key]  # It is told of in the order of the text, which is where it comes again.
            doubled[key] = item
        return doubled

    def refuse_constant(text: str) -> Any:
        raise Malformed(go_syntax.bad_constant(text))

    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPE.sub(_whole, text)
    try:
        return json.loads(text, object_pairs_hook=collect, parse_constant=refuse_constant), has_duplicates
    except json.JSONDecodeError as error:
        raise Malformed(go_syntax.of_json(error)) from None
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from None


_ESCAPE: Final = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
"""One escape of a JSON string: a pair of surrogates, any other number, or a letter."""


def _whole(escape: re.Match[str]) -> str:
    """Return an escape as it is, but for half a pair, which no text can hold, so it is replaced (RFC 8259, 8.2)."""
    text = escape[0]
    return "\\ufffd" if len(text) == 6 and text[2] in "dD" and text[3] in "89abcdefABCDEF" else text


class _YAMLLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as JSON sees it: keys are strings, dates stay text, and a key given twice is noticed."""

    has_duplicates = False

    def construct_json_map(self, node: yaml.MappingNode) -> dict[str, Any]:
        self.flatten_mapping(node)
        doubled: dict[str, int] = {}
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
                doubled[str(key)] = value_node.start_mark.line + 1
                type(self).has_duplicates = True
            made[str(key)] = self.construct_object(value_node, deep=True)
        made.doubled = doubled
        return made

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Read a number as JSON has them: `1:30` is text, and what is longer than any number is refused."""
        if ":" in node.value:
            return node.value
        if len(node.value) > _NUMBER_CHARACTERS_MAX:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        is_integer = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_integer else self.construct_yaml_float(node)


for _kind in ("map", "set"):
    _YAMLLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _YAMLLoader.construct_json_map)
for _kind in ("omap", "pairs"):
    _YAMLLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _YAMLLoader.construct_yaml_seq)
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
            value, has_duplicates = _parse_json(body)
            if not has_duplicates:
                return value, False
    try:
        _measure_yaml(body)
        return _first_document(body), True
    except yaml.YAMLError as error:
        raise Malformed(go_syntax.of_yaml(error)) from None
    except ValueError as error:
        raise Malformed(f"the body is not YAML: {error}") from None
    except (LookupError, AttributeError, TypeError):
        # The library does not expect `!!int ''` or `!!bool x`.
        raise Malformed("the body is not YAML: a value is not what its tag says") from None


def _first_document(body: bytes) -> Any:
    """Return the first document of a text; like Go's reader, this looks at nothing behind it."""
    loader: Any = _YAMLLoader(body)
    try:
        return loader.get_data() if loader.check_data() else None
    finally:
        loader.dispose()


def _measure_yaml(body: bytes) -> None:
    """Refuse a text whose first document would unfold to too much: an alias counts for all that it stands for.

    Raises:
        BadRequest: it unfolds too far, nests too deeply, or repeats what is not there.
    """
    sizes: dict[str, tuple[int, int]] = {}
    """Of each anchor, how many values it stands for, and how deep they nest."""
    open_: list[tuple[str, int, int]] = []
    """Of each collection around: its anchor, its values so far, and how deep they nest."""
    for event in yaml.parse(body, Loader=_YAMLLoader):
        size, depth = 1, 1
        match event:
            case yaml.AliasEvent():
                name = event.anchor or ""
                if any(name == around for around, _, _ in open_):
                    raise Malformed(f"yaml: anchor '{name}' value contains itself")
                if name not in sizes:
                    raise Malformed(f"yaml: unknown anchor '{name}' referenced")
                size, depth = sizes[name]
            case yaml.DocumentEndEvent():
                return
            case yaml.CollectionStartEvent():
                open_.append((event.anchor or "", 1, 1))
                if len(open_) > DEPTH_MAX:
                    raise too_deep()
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
            raise too_deep()


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
    raise too_deep()


def too_deep() -> BadRequest:
    """Return the error for what nests too deeply."""
    return BadRequest(f"the body nests deeper than {DEPTH_MAX} levels")


def _plain(value: Any, path: str, duplicates: list[Duplicate], budget: list[int]) -> Any:
    """Return ordinary dicts and lists, noting the keys given twice.

    YAML's anchors can make a small text unfold into a huge value, so that is counted.
    """
    budget[0] -= 1
    if budget[0] < 0:
        raise BadRequest(f"the body unfolds to more than {_VALUES_MAX} values")
    if isinstance(value, dict):
        if isinstance(value, _Doubled):
            room = max(_DUPLICATES_MAX - len(duplicates), 0)
            for key, line in itertools.islice(value.doubled.items(), room):
                duplicates.append(Duplicate(_join(path, key), key, line))
        return {key: _plain(item, _join(path, key), duplicates, budget) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{path}[{i}]", duplicates, budget) for i, item in enumerate(value)]
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
