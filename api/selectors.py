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
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from api import names
from api.custom import is_custom
from api.errors import BadRequest, as_one
from api.meta import LabelSelector
from api.resource import Resource

Labels = Mapping[str, str]
Operator = Literal["in", "notin", "exists", "!", "gt", "lt"]

_TOKEN: Final = re.compile(r"==|!=|[=!<>(),]|[^=!<>(), \t\r\n]+")


class BadSelector(BadRequest):
    """The text is not a selector, or names what cannot be selected by."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing a set of labels must satisfy; `values` is sorted and without duplicates."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()
    is_list: bool = field(default=False, compare=False)
    """Whether it is written with a list of values, even of one; it means the same."""

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
            case "in" if len(self.values) == 1 and not self.is_list:
                return f"{self.key}={self.values[0]}"
            case "notin" if len(self.values) == 1 and not self.is_list:
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
        requirements.append(Requirement(expression.key, operator, tuple(sorted(set(expression.values))), is_list=True))
    return Selector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def go_string(selector: LabelSelector | None) -> str:
    """Return a selector as upstream's messages show it: as its generated `String` in Go does."""
    if selector is None:
        return "nil"
    labels = "".join(f"{name}: {value}," for name, value in sorted(selector.match_labels.items()))
    wants = "".join(
        f"LabelSelectorRequirement{{Key:{each.key},Operator:{each.operator},Values:[{' '.join(each.values)}],}},"
        for each in selector.match_expressions
    )
    expressions = f"MatchExpressions:[]LabelSelectorRequirement{{{wants}}}"
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},{expressions},}}"


@functools.lru_cache(maxsize=1024)
def parse_labels(text: str) -> Selector:
    """Parse what `labelSelector=` carries; raises BadSelector."""
    if not text.strip():
        return EVERYTHING
    parser = _LabelParser(text)
    return Selector(tuple(sorted(parser.requirements(), key=lambda requirement: requirement.key)))


class _LabelParser:
    """Reads a selector word by word; an end is the empty word. What is wrong is told in upstream's words."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = [*_TOKEN.findall(text), ""]
        self._next = 0

    def _peek(self) -> str:
        return self._words[self._next]

    def _take(self) -> str:
        word = self._peek()
        self._next += word != ""
        return word

    def requirements(self) -> Iterator[Requirement]:
        while word := self._peek():
            if word in _SYMBOLS and word != "!":
                raise BadSelector(f"found '{word}', expected: !, identifier, or 'end of string'")
            yield self._requirement()
            word = self._take()
            if not word:
                return
            if word != ",":
                raise BadSelector(f"found '{word}', expected: ',' or 'end of string'")
            if not self._peek() or (self._peek() in _SYMBOLS and self._peek() != "!"):
                raise BadSelector(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        is_absent = self._peek() == "!"
        if is_absent:
            self._take()
        key = self._identifier()
        wrong = names.check_qualified_name(key)
        if wrong:
            # Upstream has no path to tell here, and says so.
            raise _bad(f"<nil>: Invalid value: {_quoted(key)}: {'; '.join(wrong)}")
        if is_absent:
            return Requirement(key, "!")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        match self._take():
            case "=" | "==":
                return _checked(key, "in", (self._value(),))
            case "!=":
                return _checked(key, "notin", (self._value(),))
            case "in":
                return _checked(key, "in", self._values(), is_list=True)
            case "notin":
                return _checked(key, "notin", self._values(), is_list=True)
            case ">":
                return _checked(key, "gt", (self._value(),))
            case "<":
                return _checked(key, "lt", (self._value(),))
            case other:
                raise _bad(f"found '{other}', expected: in, notin, =, ==, !=, gt, lt")

    def _identifier(self) -> str:
        word = self._take()
        if not word or word in _SYMBOLS:
            raise _bad(f"found '{word}', expected: identifier")
        return word

    def _value(self) -> str:
        return "" if self._peek() in ("", ",") else self._identifier()

    def _values(self) -> tuple[str, ...]:
        word = self._take()
        if word != "(":
            raise _bad(f"found '{word}' expected: '('")
        if self._peek() == ")":
            self._take()
            return ("",)
        if not self._peek() or (self._peek() in _SYMBOLS and self._peek() != ","):
            raise _bad(f"found '{self._peek()}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            word = self._take()
            following = self._peek()
            if word == ",":
                values |= {""} if not values or following in (",", ")") else set()
                if following == ",":
                    self._take()
            elif not word or word in _SYMBOLS:
                raise _bad(f"found '{word}', expected: ',', or identifier")
            else:
                values.add(word)
                if following not in (",", ")"):
                    raise _bad(f"found '{following}', expected: ',' or ')'")
            if following == ")":
                self._take()
                return tuple(sorted(values))


_SYMBOLS: Final = frozenset(("=", "==", "!=", "!", "<", ">", "(", ")", ","))


def _bad(why: str) -> BadSelector:
    return BadSelector(f"unable to parse requirement: {why}")


def _checked(key: str, operator: Operator, values: tuple[str, ...], *, is_list: bool = False) -> Requirement:
    found: list[str] = []
    if operator in ("gt", "lt") and not _is_integer(values[0]):
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        found.append(f"values[0]: Invalid value: {_quoted(values[0])}: {why}")
    for i, value in enumerate(values):
        wrong = names.check_label_value(value)
        if wrong:
            found.append(f"values[{i}][{key}]: Invalid value: {_quoted(value)}: {'; '.join(wrong)}")
    if found:
        raise _bad(as_one(found))
    return Requirement(key, operator, values, is_list)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


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
            if getter is None and not resource.selectable_fields and not is_custom(resource.type):
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
        term = FieldTerm(found[1], _unescape(found[3]), found[2] != "!=")
        if term.field or term.value:  # Of nothing, nothing is asked.
            terms.append(term)
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
            if letter not in ("\\", ",", "="):
                raise BadSelector(f"invalid field selector: invalid escape sequence: \\{letter}")
        elif letter in (",", "="):
            raise BadSelector(f"invalid field selector: unescaped character in value: {ord(letter)}")
        out += letter
    return out
