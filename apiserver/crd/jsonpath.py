r"""JSONPath as definitions use it: for printer columns, the scale subresource and selectable fields. Pure.

`.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.ports[*].port`, `.metadata.labels.a\.b`,
`['key']`, `[-1]`, `[1:3]`, `..name`. A path is compiled once; applied to a value it yields what it finds, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

Step = Callable[[Any], Iterator[Any]]

_NAME: Final = re.compile(r"((?:\\.|[^.\[\]\\\s'\"()=<>!@?*,:])+)")
_SLICE: Final = re.compile(r"(-?\d*)?:(-?\d*)?(?::(-?\d+))?")
_FILTER: Final = re.compile(r"\?\(\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?)\s*)?\)")


class BadPath(Exception):
    """A path that cannot be understood."""


def compile_(text: str) -> Callable[[Any], list[Any]]:
    """Return what finds the values at a path.

    Raises:
        BadPath: it is none.
    """
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    steps = _steps(text.removeprefix("$"))

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [item for each in found for item in step(each)]
        return found

    return find


def simple_path(text: str) -> tuple[str, ...] | None:
    """Return the names of a path that only goes down through fields, None for any other."""
    if not text.startswith("."):
        return None
    names: list[str] = []
    rest = text
    while rest:
        found = _NAME.match(rest, 1) if rest.startswith(".") else None
        if found is None:
            return None
        names.append(_unescape(found[1]))
        rest = rest[found.end() :]
    return tuple(names)


def _unescape(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)


def _steps(text: str) -> list[Step]:
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text.startswith("..", at):
            at += 2
            found = _NAME.match(text, at)
            if found is None:
                raise BadPath(f"a name must follow '..' in {text!r}")
            steps.append(_anywhere(_unescape(found[1])))
            at = found.end()
        elif text.startswith(".*", at):
            steps.append(_all)
            at += 2
        elif text[at] == ".":
            at += 1
            found = _NAME.match(text, at)
            if found is not None:
                steps.append(_field(_unescape(found[1])))
                at = found.end()
            elif at < len(text) and text[at] != "[":
                raise BadPath(f"unexpected {text[at]!r} in {text!r}")
        elif text[at] == "[":
            end = _closing(text, at)
            steps.append(_bracket(text[at + 1 : end].strip(), text))
            at = end + 1
        else:
            found = _NAME.match(text, at) if not steps else None
            if found is None:
                raise BadPath(f"unexpected {text[at]!r} in {text!r}")
            steps.append(_field(_unescape(found[1])))
            at = found.end()
    return steps


def _closing(text: str, at: int) -> int:
    depth, quote = 0, ""
    for i in range(at, len(text)):
        letter = text[i]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "[":
            depth += 1
        elif letter == "]":
            depth -= 1
            if not depth:
                return i
    raise BadPath(f"unterminated array in {text!r}")


def _bracket(inner: str, text: str) -> Step:
    if inner == "*":
        return _all
    if inner[:1] in ("'", '"') and inner[-1:] == inner[:1] and len(inner) > 1:
        return _field(inner[1:-1])
    if re.fullmatch(r"-?\d+", inner):
        return _index(int(inner))
    sliced = _SLICE.fullmatch(inner)
    if sliced:
        start, stop, step = (int(part) if part else None for part in sliced.groups())
        return _slice(slice(start, stop, step))
    filtered = _FILTER.fullmatch(inner)
    if filtered:
        return _filter(filtered["path"], filtered["op"] or "", filtered["value"] or "")
    raise BadPath(f"invalid array index {inner!r} in {text!r}")


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _index(at: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= at < len(value):
            yield value[at]

    return step


def _slice(cut: slice) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[cut]

    return step


def _anywhere(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            if name in value:
                yield value[name]
            for item in value.values():
                yield from step(item)
        elif isinstance(value, list):
            for item in value:
                yield from step(item)

    return step


def _filter(path: str, operator: str, literal: str) -> Step:
    steps = _steps(path)
    wanted = _literal(literal) if operator else None

    def holds(item: Any) -> bool:
        found = [item]
        for step in steps:
            found = [each for value in found for each in step(value)]
        if not operator:
            return bool(found)
        return bool(found) and _compare(found[0], operator, wanted)

    def filter_step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from (item for item in value if holds(item))

    return filter_step


def _literal(text: str) -> Any:
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise BadPath(f"{text!r} is neither a number nor a quoted string") from None


def _compare(left: Any, operator: str, right: Any) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool) or isinstance(left, str) is not isinstance(right, str):
        return operator == "!="
    match operator:
        case "==":
            return bool(left == right)
        case "!=":
            return bool(left != right)
    try:
        return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[operator])
    except TypeError:
        return False
