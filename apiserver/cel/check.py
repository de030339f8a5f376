"""Tells of an expression, before it is evaluated, which type it has and where types don't fit. Pure.

The types of fields come from whoever declares the variables; what is declared `dyn` may be anything, and so may what
is made of it. Refusals are worded as upstream's checker words them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apiserver.cel import times, types
from apiserver.cel.program import BadProgram, unescape
from apiserver.cel.syntax import (
    Call,
    Comprehension,
    Index,
    ListOf,
    Literal,
    MapOf,
    Name,
    Select,
    SyntaxFailure,
    Tree,
    located,
    parse,
)
from apiserver.cel.types import BOOL, DYN, INT, Overload, Type
from apiserver.cel.values import Failure, type_name
from apiserver.crd import patterns
from apiserver.crd.patterns import BadPattern

_COMPARISONS: Final = ("_<_", "_<=_", "_>_", "_>=_")
_LITERALS: Final[Mapping[str, Callable[[str], Any]]] = {
    "duration": times.duration,
    "timestamp": times.timestamp,
    "matches": patterns.compile_,
    "find": patterns.compile_,
}
"""Functions that read a text, and how: a text that is written out is read before anything is evaluated."""
_NAMES: Final = {"null_type": "null", "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
_QUALIFIED_TYPE_NAMES: Final = ("google.protobuf.Timestamp", "google.protobuf.Duration", "net.IP", "net.CIDR")
_TYPE_NAMES: Final = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "optional_type"}
)


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression whose types fit."""

    type: Type
    tree: Tree
    types: Mapping[int, Type]
    """The type of each part of the tree, by the part's `id`."""
    qualified: Mapping[int, str]
    """The whole names of calls that look like methods and are functions in a namespace, by their `id`."""


def check(text: str, variables: Mapping[str, Type]) -> Type:
    """Return the type of an expression over typed variables; raises as `checked` does."""
    return checked(text, variables).type


def checked(text: str, variables: Mapping[str, Type]) -> Checked:
    """Return an expression over typed variables with the types of all its parts.

    Raises:
        BadProgram: it is none, or its types don't fit; the message says everything that is wrong.
    """
    try:
        tree = parse(text)
    except SyntaxFailure as failure:
        raise BadProgram(str(failure)) from None
    checker = _Checker(text)
    found = checker.of(tree, dict(variables))
    if checker.errors:
        raise BadProgram("\n".join(checker.errors))
    return Checked(found, tree, checker.types, checker.qualified)


class _Checker:
    def __init__(self, text: str) -> None:
        self._text = text
        self.errors: list[str] = []
        self.types: dict[int, Type] = {}
        self.qualified: dict[int, str] = {}

    def _fail(self, at: int, why: str) -> Type:
        self.errors.append(located(self._text, at, why))
        return DYN

    def of(self, tree: Tree, names: dict[str, Type]) -> Type:
        """Return the type of a tree; notes it, and what is wrong."""
        found = self.types[id(tree)] = self._of(tree, names)
        return found

    def _of(self, tree: Tree, names: dict[str, Type]) -> Type:
        match tree:
            case Literal(value):
                return Type(_NAMES.get(type_name(value), type_name(value)))
            case Name(name, at):
                if name in names:
                    return names[name]
                if name in _TYPE_NAMES:
                    return types.TYPE
                return self._fail(at, f"undeclared reference to '{name}' (in container '')")
            case Select():
                return self._select(tree, names)
            case Index():
                return self._index(tree, names)
            case Call():
                return self._call(tree, names)
            case ListOf(items):
                return types.list_of(
                    self._same([(item.at, self._unwrapped(item, names, optional)) for item, optional in items])
                )
            case MapOf(entries):
                return types.map_of(
                    self._same([(key.at, self.of(key, names)) for key, _, _ in entries]),
                    self._same([(value.at, self._unwrapped(value, names, opt)) for _, value, opt in entries]),
                )
            case Comprehension():
                return self._comprehension(tree, names)

    def _unwrapped(self, tree: Tree, names: dict[str, Type], is_optional: bool) -> Type:
        found = self.of(tree, names)
        return found.args[0] if is_optional and found.name == "optional_type" else found

    def _common(self, given: Iterable[Type]) -> Type:
        found: Type | None = None
        for each in given:
            found = each if found is None else types.join(found, each) or DYN
        return found or DYN

    def _same(self, given: Iterable[tuple[int, Type]]) -> Type:
        """Return the type of all elements of a literal, which may not be of several."""
        found: Type | None = None
        for at, each in given:
            joined = each if found is None else types.join(found, each)
            if joined is None:
                return self._fail(at, f"expected type '{found}' but found '{each}'")
            found = joined
        return found or DYN

    def _select(self, tree: Select, names: dict[str, Type]) -> Type:
        if _qualified(tree) in _QUALIFIED_TYPE_NAMES:
            return types.TYPE
        operand = self.of(tree.operand, names)
        is_optional = tree.is_optional or operand.name == "optional_type"
        inner = operand.args[0] if operand.name == "optional_type" else operand
        found = self._field(inner, tree)
        if tree.is_test:
            return BOOL
        return types.optional_of(found) if is_optional else found

    def _field(self, operand: Type, tree: Select) -> Type:
        if operand.name == "dyn":
            return DYN
        if operand.name == "map":
            return operand.args[1]
        if operand.fields is None:
            return self._fail(tree.at, f"type '{operand}' does not support field selection")
        found = operand.fields(tree.field) or operand.fields(unescape(tree.field))
        return found if found is not None else self._fail(tree.at, f"undefined field '{tree.field}'")

    def _index(self, tree: Index, names: dict[str, Type]) -> Type:
        operand, index = self.of(tree.operand, names), self.of(tree.index, names)
        is_optional = tree.is_optional or operand.name == "optional_type"
        inner = operand.args[0] if operand.name == "optional_type" else operand
        if inner.name == "list" and index.name in ("int", "dyn"):
            found = inner.args[0]
        elif inner.name == "map" and types.fits(index, inner.args[0], {}):
            found = inner.args[1]
        elif inner.name == "dyn":
            found = DYN
        else:
            return self._fail(tree.at, f"found no matching overload for '_[_]' applied to '({operand}, {index})'")
        return types.optional_of(found) if is_optional else found

    def _call(self, tree: Call, names: dict[str, Type]) -> Type:
        name = tree.function
        self._check_literal(name, tree.arguments[-1:])
        if tree.target is not None:
            qualified = f"{_qualified(tree.target)}.{name}"
            if qualified in types.FUNCTIONS or qualified.startswith(("math.", "format.")):
                self.qualified[id(tree)] = qualified
                return self._resolve(qualified, [self.of(each, names) for each in tree.arguments], tree.at)
            target = self.of(tree.target, names)
            given = [target, *(self._argument(name, each, names) for each in tree.arguments)]
            overloads = types.METHODS.get(name)
            if overloads is None:
                return self._fail(tree.at, f"undeclared reference to '{name}' (in container '')")
            return self._choose(name, overloads, given, tree.at, is_method=True)
        return self._resolve(name, [self.of(each, names) for each in tree.arguments], tree.at)

    def _check_literal(self, function: str, last: tuple[Tree, ...]) -> None:
        """Note a text, written out, of which the function can make nothing."""
        read = _LITERALS.get(function)
        if read is None or not last or not isinstance(last[0], Literal) or not isinstance(last[0].value, str):
            return
        try:
            read(last[0].value)
        except (Failure, BadPattern):
            self._fail(last[0].at, f"invalid {function} argument")

    def _argument(self, function: str, tree: Tree, names: dict[str, Type]) -> Type:
        if function == "format" and isinstance(tree, ListOf):
            # What is formatted may be of many types.
            return types.list_of(self._common([self.of(item, names) for item, _ in tree.items]))
        return self.of(tree, names)

    def _resolve(self, name: str, given: list[Type], at: int) -> Type:
        if name.startswith("math."):
            return self._common(given if len(given) != 1 or given[0].name != "list" else given[0].args)
        if name.startswith("format.") and name != "format.named":
            return Type("kubernetes.NamedFormat")
        overloads = types.FUNCTIONS.get("_<_" if name in _COMPARISONS else name)
        if overloads is None:
            return self._fail(at, f"undeclared reference to '{name}' (in container '')")
        return self._choose(name, overloads, given, at, is_method=False)

    def _choose(self, name: str, overloads: list[Overload], given: list[Type], at: int, *, is_method: bool) -> Type:
        results: list[Type] = []
        for overload in overloads:
            bound: dict[str, Type] = {}
            if len(overload.takes) == len(given) and all(
                types.fits(one, other, bound) for one, other in zip(given, overload.takes, strict=True)
            ):
                results.append(types.filled(overload.gives, bound))
        if not results:
            shown = f"({', '.join(map(str, given[is_method:]))})"
            shown = f"{given[0]}.{shown}" if is_method else shown
            return self._fail(at, f"found no matching overload for '{name}' applied to '{shown}'")
        return results[0] if all(result == results[0] for result in results) else DYN

    def _comprehension(self, tree: Comprehension, names: dict[str, Type]) -> Type:
        operand = self.of(tree.operand, names)
        if tree.macro in ("optMap", "optFlatMap"):
            inner = operand.args[0] if operand.name == "optional_type" else DYN
            body = self.of(tree.body, {**names, tree.variable: inner})
            return types.optional_of(body) if tree.macro == "optMap" else body
        if operand.name not in ("list", "map", "dyn"):
            return self._fail(
                tree.at,
                f"expression of type '{operand}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        first, second = _elements(operand, bool(tree.second))
        below = {**names, tree.variable: first} | ({tree.second: second} if tree.second else {})
        body = self.of(tree.body, below)
        if (tree.macro != "map" or tree.transform is not None) and body.name not in ("bool", "dyn"):
            # What a macro stands for has it as an operand of a logical operator.
            self._fail(tree.at, f"found no matching overload for '_?_:_' applied to '({body}, {first}, {first})'")
        match tree.macro:
            case "map":
                return types.list_of(self.of(tree.transform, below) if tree.transform is not None else body)
            case "filter":
                return types.list_of(first)
        return BOOL


def _elements(operand: Type, wants_both: bool) -> tuple[Type, Type]:
    if operand.name == "map":
        return operand.args[0], operand.args[1]
    item = operand.args[0] if operand.name == "list" else DYN
    return (INT if operand.name == "list" else DYN, item) if wants_both else (item, DYN)


def _qualified(tree: Any) -> str:
    match tree:
        case Name(name):
            return name
        case Select(operand, field, False, False):
            above = _qualified(operand)
            return f"{above}.{field}" if above else ""
    return ""
