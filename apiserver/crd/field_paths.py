"""Paths to fields of a schema, `.spec.ports['http']`: what rules blame, and what objects are selected by. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from apiserver.crd.structural import Node

_TOKEN: Final = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {
    **{letter: chr(code) for letter, code in zip("abtnvfr", range(7, 14), strict=True)},
    "'": "'",
    "\\": "\\",
}


class BadFieldPath(Exception):
    """A path that is none, or leads to no field; the message says why."""


@dataclass(frozen=True)
class FieldPath:
    """A path that leads somewhere."""

    text: str
    """As errors name the place: `.ports[http]`, where `ports` is a map."""
    root: str
    """The first field's name."""
    node: Node
    """What the schema says of the place."""


def find(text: str, node: Node, *, takes_brackets: bool = True) -> FieldPath:
    """Return where a path leads from a place of the schema: by fields and by keys of maps, not into lists.

    Args:
        text: the path.
        node: the place at which it begins.
        takes_brackets: whether steps may be written as `['name']`.

    Raises:
        BadFieldPath: it leads nowhere.
    """
    made, root = "", ""
    tokens = iter(_TOKEN.findall(text))
    for token in tokens:
        match token:
            case "[" if takes_brackets:
                name = _unquoted(_next(tokens))
            case "[":
                raise BadFieldPath("array notation is not allowed")
            case ".":
                name = _next(tokens)
            case _:
                raise BadFieldPath(f"expected [ or . but got: {token}")
        child = node.child(name)
        if child is None:
            raise BadFieldPath("does not refer to a valid field")
        made += f".{name}" if node.properties else f"[{name}]"
        root = root or name
        node = child
        if token == "[" and (closing := _next(tokens)) != "]":
            raise BadFieldPath(f"expected ] but got {closing}")
    return FieldPath(made, root, node)


def _next(tokens: object) -> str:
    token: str | None = next(tokens, None)  # type: ignore[call-overload]
    if token is None:
        raise BadFieldPath("unexpected end of JSON path")
    return token


def _unquoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise BadFieldPath(f"expected single quoted string but got {token}")

    def unescape(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise BadFieldPath(f"invalid string literal: invalid escape char {found[0]}")
        return _ESCAPES[found[1]]

    return _ESCAPED.sub(unescape, token[1:-1])
