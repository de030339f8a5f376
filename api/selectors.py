"""Label selectors and field selectors: parsed once, then fast predicates.

Labels: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, `a>1`, `a<1`, joined by commas, all of which
must hold. Fields: `a=b`, `a==b`, `a!=b`; a backslash escapes a comma, an equals sign or itself.
`!=` and `notin` match objects without the label, too (API concepts, "Labels and Selectors").
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from api import names
from api.errors import BadRequest
from api.meta import LabelSelector
from api.resource import Resource

Labels = Mapping[str, str]
Operator = Literal["in", "notin", "exists", "!", "gt", "lt"]

_TOKEN: Final = re.compile(r"\s*(==|!=|[=!<>(),]|[^=!<>(),\s]+)")


class BadSelector(BadRequest):
    """The text is not a selector, or names what cannot be selected by."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing a set of labels must satisfy; `values` is sorted and without duplicates."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def predicate(self) -> Callable[[Labels], bool]:
        """Return the function that says whether labels satisfy this."""
        key = self.key
        match self.operator:
            case "in" if len(self.values) == 1:
                value = self.values[0]
                return lambda labels: labels.get(key) == value
            case "in":
                values = frozenset(self.values)
                return lambda labels: labels.get(key) in values
            case "notin":
                excluded = frozenset(self.values)
                return lambda labels: labels.get(key) not in excluded
            case "exists":
                return lambda labels: key in labels
            case "!":
                return lambda labels: key not in labels
            case "gt":
                floor = int(self.values[0])
                return lambda labels: _is_integer(labels.get(key)) and int(labels[key]) > floor
            case "lt":
                ceiling = int(self.values[0])
                return lambda labels: _is_integer(labels.get(key)) and int(labels[key]) < ceiling

    def __str__(self) -> str:
        match self.operator:
            case "in" if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case "notin" if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "gt":
                return f"{self.key}>{self.values[0]}"
            case "lt":
                return f"{self.key}<{self.values[0]}"


def _is_integer(text: str | None) -> bool:
    return text is not None and text.lstrip("-").isdigit()


class Selector:
    """A set of requirements on labels; without any, it matches everything."""

    __slots__ = ("_predicates", "matches_nothing", "requirements")

    def __init__(self, requirements: tuple[Requirement, ...] = (), *, matches_nothing: bool = False) -> None:
        self.requirements = requirements
        self.matches_nothing = matches_nothing
        """What an absent LabelSelector means, in contrast to an empty one."""
        self._predicates = tuple(requirement.predicate() for requirement in requirements)

    def matches(self, labels: Labels) -> bool:
        """Return whether all requirements hold for `labels`."""
        if self.matches_nothing:
            return False
        # A loop costs half of what all() does.
        for predicate in self._predicates:  # noqa: SIM110
            if not predicate(labels):
                return False
        return True

    @property
    def matches_everything(self) -> bool:
        """Whether there is nothing to check."""
        return not self.requirements and not self.matches_nothing

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selector):
            return NotImplemented
        return (self.requirements, self.matches_nothing) == (other.requirements, other.matches_nothing)

    def __hash__(self) -> int:
        return hash((self.requirements, self.matches_nothing))


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(matches_nothing=True)


def of_labels(labels: Labels) -> Selector:
    """Return the selector of objects that have all of `labels`, as a Service's `spec.selector` means it."""
    return Selector(tuple(Requirement(key, "in", (value,)) for key, value in sorted(labels.items())))


def of_label_selector(selector: LabelSelector | None) -> Selector:
    """Compile a LabelSelector: absent matches nothing, empty matches everything. Raises BadSelector.

    What is wrong with a selector a user wrote is validation's to say, with a path; here it is a broken promise.
    """
    if selector is None:
        return NOTHING
    operators: dict[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    requirements = [Requirement(key, "in", (value,)) for key, value in sorted(selector.match_labels.items())]
    for expression in selector.match_expressions:
        operator = operators.get(expression.operator)
        if operator is None:
            raise BadSelector(f'"{expression.operator}" is not a valid label selector operator')
        requirements.append(Requirement(expression.key, operator, tuple(sorted(set(expression.values)))))
    return Selector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


@functools.lru_cache(maxsize=1024)
def parse_labels(text: str) -> Selector:
    """Parse what `labelSelector=` carries; raises BadSelector."""
    if not text.strip():
        return EVERYTHING
    parser = _LabelParser(text)
    return Selector(tuple(sorted(parser.requirements(), key=lambda requirement: requirement.key)))


_SYMBOLS: Final = ("", ",", "(", ")", "=", "==", "!=", "<", ">", "!")
_BINARY: Final[Mapping[str, Operator]] = {
    "=": "in", "==": "in", "!=": "notin", "in": "in", "notin": "notin", ">": "gt", "<": "lt"
}  # fmt: skip


class _LabelParser:
    """Parses, and says what it found and what it expected in upstream's words."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            found = _TOKEN.match(text, position)
            assert found is not None, "every character is part of some token"
            self._tokens.append(found[1])
            position = found.end()
        self._next = 0

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def requirements(self) -> Iterator[Requirement]:
        while True:
            token = self._peek()
            if token in _SYMBOLS and token != "!":
                raise BadSelector(f"found '{token}', expected: !, identifier, or 'end of string'")
            yield self._requirement()
            token = self._take()
            if not token:
                return
            if token != ",":
                raise BadSelector(f"found '{token}', expected: ',' or 'end of string'")
            following = self._peek()
            if following in _SYMBOLS and following != "!":
                raise BadSelector(f"found '{following}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token = self._take()
        is_negated = token == "!"
        key = self._take() if is_negated else token
        if key in _SYMBOLS:
            raise _unparsed(f"found '{key}', expected: identifier")
        problems = list(names.check_qualified_name(key))
        if problems:
            raise _unparsed(f"<nil>: Invalid value: {json.dumps(key, ensure_ascii=False)}: {'; '.join(problems)}")
        if is_negated:
            return Requirement(key, "!")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        token = self._take()
        operator = _BINARY.get(token)
        if operator is None:
            raise _unparsed(f"found '{token}', expected: in, notin, =, ==, !=, gt, lt")
        return _checked(key, operator, self._values() if token in ("in", "notin") else (self._value(),))

    def _value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        token = self._take()
        if token in _SYMBOLS:
            raise _unparsed(f"found '{token}', expected: identifier")
        return token

    def _values(self) -> tuple[str, ...]:
        token = self._take()
        if token != "(":
            raise _unparsed(f"found '{token}' expected: '('")
        token = self._peek()
        if token == ")":
            self._take()
            return ("",)
        if token in _SYMBOLS and token != ",":
            raise _unparsed(f"found '{token}', expected: ',', ')' or identifier")
        values = self._identifiers()
        self._take()
        return tuple(sorted(values))

    def _identifiers(self) -> set[str]:
        values: set[str] = set()
        while True:
            token = self._take()
            if token not in _SYMBOLS:
                values.add(token)
                following = self._peek()
                if following == ")":
                    return values
                if following != ",":
                    raise _unparsed(f"found '{following}', expected: ',' or ')'")
            elif token == ",":
                if not values:
                    values.add("")
                following = self._peek()
                if following in (")", ","):
                    values.add("")
                if following == ")":
                    return values
                if following == ",":
                    self._take()
            else:
                raise _unparsed(f"found '{token}', expected: ',', or identifier")


def _unparsed(what: str) -> BadSelector:
    return BadSelector(f"unable to parse requirement: {what}")


def _checked(key: str, operator: Operator, values: tuple[str, ...]) -> Requirement:
    problems = []
    for i, value in enumerate(values):
        shown = f"Invalid value: {json.dumps(value, ensure_ascii=False)}"
        if operator in ("gt", "lt") and not _is_integer(value):
            problems.append(f"values[{i}]: {shown}: for 'Gt', 'Lt' operators, the value must be an integer")
    for i, value in enumerate(values):
        shown = f"Invalid value: {json.dumps(value, ensure_ascii=False)}"
        found = list(names.check_label_value(value))
        if found:
            problems.append(f"values[{i}][{key}]: {shown}: {'; '.join(found)}")
    if problems:
        raise _unparsed(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
    return Requirement(key, operator, values)


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One field and the value that it must have, or must not."""

    field: str
    value: str
    equal: bool = True

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
        return f"{self.field}{'=' if self.equal else '!='}{escaped}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms that must all hold; without any, it matches everything."""

    terms: tuple[FieldTerm, ...] = ()

    def exact(self, field: str) -> str | None:
        """Return the value `field` must have for anything to match, or None: what an index can use."""
        return next((term.value for term in self.terms if term.field == field and term.equal), None)

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)

    def compile(self, resource: Resource[Any]) -> Callable[[Any], bool]:
        """Return the predicate over objects of `resource`; raises BadSelector for a field it cannot select by."""
        checks = []
        for term in self.terms:
            getter = _field_getter(resource, term.field)
            if getter is None and not resource.selectable_fields:
                known = 'only "metadata.name", "metadata.namespace"'
                raise BadSelector(f'"{term.field}" is not a known field selector: {known}')
            if getter is None:
                raise BadSelector(f"field label not supported: {term.field}")
            checks.append((getter, term.value, term.equal))
        if not checks:
            return lambda obj: True
        if len(checks) == 1:
            get, wanted, equal = checks[0]
            return lambda obj: (get(obj) == wanted) is equal
        return lambda obj: all((get(obj) == wanted) is equal for get, wanted, equal in checks)


def _field_getter(resource: Resource[Any], field: str) -> Callable[[Any], str] | None:
    if field == "metadata.name":
        return lambda obj: str(obj.metadata.name)
    if field == "metadata.namespace" and resource.namespaced:
        return lambda obj: str(obj.metadata.namespace)
    return resource.selectable_fields.get(field)


@functools.lru_cache(maxsize=4096)
def parse_fields(text: str) -> FieldSelector:
    """Parse what `fieldSelector=` carries; raises BadSelector."""
    terms = []
    for part in sorted(_split_escaped(text)):
        if not part:
            continue
        found = re.match(r"(.*?)(!=|==|=)(.*)", part, re.DOTALL)
        if found is None:
            raise BadSelector(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(FieldTerm(found[1], _unescape(found[3]), found[2] != "!="))
    return FieldSelector(tuple(terms))


def _split_escaped(text: str) -> list[str]:
    parts, current, escaped = [], "", False
    for letter in text:
        if letter == "," and not escaped:
            parts.append(current)
            current = ""
            continue
        escaped = letter == "\\" and not escaped
        current += letter
    return [*parts, current]


def _unescape(value: str) -> str:
    out, letters = "", iter(value)
    for letter in letters:
        if letter == "\\":
            letter = next(letters, "")
            if letter not in ("\\", ",", "=") or not letter:
                raise BadSelector(f"invalid field selector: invalid escape sequence: \\{letter}")
        elif letter == "=":
            raise BadSelector(f"invalid field selector: unescaped character in value: {ord(letter)}")
        out += letter
    return out
