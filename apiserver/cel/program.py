"""From a tree to closures that evaluate it, counting what that costs. Pure.

Each step costs 1, and what looks at a whole string, list or map costs in proportion to it, so that the cost bounds the
time whatever the values are. An error is absorbed where `&&`, `||`, `all` or `exists` are decided without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from apiserver.cel.evaluation import COST_MAX, CostExceeded, Scope, Step, boolean
from apiserver.cel.functions import STANDARD
from apiserver.cel.library import Function, Library
from apiserver.cel.macros import MACROS
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
from apiserver.cel.values import Duration, Failure, Optional, Type, UInt, is_number, no_overload, type_name


class BadProgram(Exception):
    """A text that is no valid expression; the message says where."""


_TYPES: Final = {
    name: Type(name)
    for name in (
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
        "type",
        "optional_type",
    )
} | {
    "google.protobuf.Timestamp": Type("google.protobuf.Timestamp"),
    "google.protobuf.Duration": Type("google.protobuf.Duration"),
    "net.IP": Type("net.IP"),
    "net.CIDR": Type("net.CIDR"),
}


class Program:
    """A compiled expression."""

    def __init__(self, text: str, step: Step, names: frozenset[str]) -> None:
        self.text = text
        self.names = names
        """The variables it uses."""
        self._step = step

    def evaluate(self, variables: Mapping[str, Any], limit: int = COST_MAX) -> tuple[Any, int]:
        """Return the value and what it cost.

        Raises:
            Failure: it has none.
            CostExceeded: it would cost more than `limit`.
        """
        scope = Scope(dict(variables), limit)
        try:
            return self._step(scope), scope.cost
        except RecursionError:
            raise CostExceeded from None
        finally:
            scope.settle()


def compile_(
    text: str,
    variables: frozenset[str],
    library: Library = STANDARD,
    *,
    types: Mapping[int, Any] = MappingProxyType({}),
) -> Program:
    """Return the program of an expression over `variables`.

    Args:
        text: the expression.
        variables: what it may name.
        library: the functions that it may call.
        types: what `check` has found of the same text: the sum of nothing is of the type that its elements would have.

    Raises:
        BadProgram: it is none, or names something that is not there.
    """
    try:
        tree = parse(text)
    except SyntaxFailure as failure:
        raise BadProgram(str(failure)) from None
    compiler = _Compiler(text, variables, library, types)
    return Program(text, compiler.compile(tree, frozenset()), frozenset(compiler.used))


class _Compiler:
    def __init__(self, text: str, variables: frozenset[str], library: Library, types: Mapping[int, Any]) -> None:
        self._text = text
        self._types = types
        self._variables = variables
        self._library = library
        self.used: set[str] = set()

    def compile(self, tree: Tree, local: frozenset[str]) -> Step:
        match tree:
            case Literal(value):
                return lambda scope: value
            case Name(name, at):
                return self._name(name, at, local)
            case Select():
                return self._select(tree, local)
            case Index():
                return self._index(tree, local)
            case Call():
                return self._call(tree, local)
            case ListOf(items):
                return _list([(self.compile(item, local), optional) for item, optional in items])
            case MapOf(entries):
                return _map(
                    [(self.compile(key, local), self.compile(value, local), opt) for key, value, opt in entries]
                )
            case Comprehension():
                return self._comprehension(tree, local)

    def _undeclared(self, name: str, at: int) -> BadProgram:
        return BadProgram(located(self._text, at, f"undeclared reference to '{name}' (in container '')"))

    def _name(self, name: str, at: int, local: frozenset[str]) -> Step:
        if name not in local:
            if name in _TYPES and name not in self._variables:
                value = _TYPES[name]
                return lambda scope: value
            if name not in self._variables:
                raise self._undeclared(name, at)
            self.used.add(name)

        def step(scope: Scope) -> Any:
            scope.spend(1)
            try:
                return scope.variables[name]
            except KeyError:
                # Declared, and not there this time: such as what an object was before it was made.
                raise Failure(f"no such attribute(s): {name}") from None

        return step

    def _select(self, tree: Select, local: frozenset[str]) -> Step:
        qualified = _qualified(tree)
        if qualified in _TYPES:
            value = _TYPES[qualified]
            return lambda scope: value
        operand, field = self.compile(tree.operand, local), tree.field
        if tree.is_test:

            def test(scope: Scope) -> bool:
                scope.spend(1)
                value = operand(scope)
                if isinstance(value, Optional):
                    return value.is_present and isinstance(value.value, dict) and _key(value.value, field) is not None
                if not isinstance(value, dict):
                    asked = getattr(value, "cel_has", None)
                    if asked is None:
                        raise no_overload("has", value)
                    return bool(asked(field))
                return _key(value, field) is not None

            return test
        is_optional = tree.is_optional

        def step(scope: Scope) -> Any:
            scope.spend(1)
            return _selected(operand(scope), field, is_optional=is_optional)

        return step

    def _index(self, tree: Index, local: frozenset[str]) -> Step:
        operand, index = self.compile(tree.operand, local), self.compile(tree.index, local)
        is_optional = tree.is_optional

        def step(scope: Scope) -> Any:
            scope.spend(1)
            return _indexed(operand(scope), index(scope), is_optional=is_optional)

        return step

    def _call(self, tree: Call, local: frozenset[str]) -> Step:
        arguments = [self.compile(argument, local) for argument in tree.arguments]
        match tree.function:
            case "_&&_":
                return _and(*arguments)
            case "_||_":
                return _or(*arguments)
            case "_?_:_":
                return _conditional(*arguments)
        name = tree.function
        if tree.target is not None:
            qualified = _qualified(tree.target)
            if qualified and f"{qualified}.{name}" in self._library.functions and qualified not in local:
                name = f"{qualified}.{name}"  # sets.contains, optional.of, math.greatest
            else:
                if name not in self._library.methods:
                    raise self._undeclared(name, tree.at)
                arguments = [self.compile(tree.target, local), *arguments]
                method = self._library.methods[name]
                if name == "sum" and getattr(self._types.get(id(tree)), "name", "") == "duration":
                    method = _sum_of_durations(method)
                return _applied(name, method, arguments)
        if name not in self._library.functions:
            raise self._undeclared(name, tree.at)
        return _applied(name, self._library.functions[name], arguments)

    def _comprehension(self, tree: Comprehension, local: frozenset[str]) -> Step:
        operand = self.compile(tree.operand, local)
        inner = local | {tree.variable} | ({tree.second} if tree.second else set())
        body = self.compile(tree.body, inner)
        transform = self.compile(tree.transform, inner) if tree.transform is not None else None
        return MACROS[tree.macro](operand, tree.variable, tree.second, body, transform)


def _sum_of_durations(sum_: Function) -> Function:
    def call(items: Any) -> Any:
        return sum_(items) if items else Duration(0)

    return call


def _qualified(tree: Tree) -> str:
    match tree:
        case Name(name):
            return name
        case Select(operand, field, False, False):
            above = _qualified(operand)
            return f"{above}.{field}" if above else ""
    return ""


# --- reading fields -------------------------------------------------------------------------------------------------

_ESCAPES: Final = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}
_KEYWORDS: Final = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip


def escape(name: str) -> str:
    """Return the form that a field's name takes in rules."""
    if name in _KEYWORDS:
        return f"__{name}__"
    for escaped, plain in _ESCAPES.items():
        name = name.replace(plain, escaped)
    return name


def is_keyword(name: str) -> bool:
    """Whether a word means something in expressions, or may one day; as a field's name it may be escaped."""
    return name in _KEYWORDS


def unescape(name: str) -> str:
    """Return a field's name from the form it takes in rules: `foo__dash__bar`, `__namespace__`."""
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _KEYWORDS:
        return name[2:-2]
    for escaped, plain in _ESCAPES.items():
        if escaped in name:
            parts = name.split(escaped)
            return plain.join(unescape(part) if part else "" for part in parts)
    return name


def _key(value: dict[Any, Any], name: str) -> str | None:
    if name in value:
        return name
    if "__" in name:
        plain = unescape(name)
        if plain in value:
            return plain
    return None


def _selected(value: Any, field: str, *, is_optional: bool) -> Any:
    if isinstance(value, Optional):
        if not value.is_present:
            return value
        return _selected(value.value, field, is_optional=True)
    if not isinstance(value, dict):
        reader = getattr(value, "cel_field", None)
        if reader is None:
            raise Failure(f"no such key: {field}")
        return reader(field)
    key = _key(value, field)
    if is_optional:
        return Optional(value[key], True) if key is not None else Optional()
    if key is None:
        raise Failure(f"no such key: {field}")
    return value[key]


def _indexed(value: Any, index: Any, *, is_optional: bool) -> Any:
    if isinstance(value, Optional):
        return _indexed(value.value, index, is_optional=True) if value.is_present else value
    found, result = False, None
    if isinstance(value, list):
        if isinstance(index, float) and index.is_integer():
            index = int(index)
        if isinstance(index, bool) or not isinstance(index, int):
            raise no_overload("_[_]", value, index)
        if 0 <= index < len(value):
            found, result = True, value[index]
        elif not is_optional:
            raise Failure(f"index out of bounds: {index}")
    elif isinstance(value, dict):
        if isinstance(index, (list, dict)):
            raise no_overload("_[_]", value, index)
        if index in value and not isinstance(index, bool):
            found, result = True, value[index]
        elif not is_optional:
            raise Failure(f"no such key: {index}")
    else:
        raise no_overload("_[_]", value, index)
    return (Optional(result, True) if found else Optional()) if is_optional else result


# --- building and calling -------------------------------------------------------------------------------------------


def _list(items: list[tuple[Step, bool]]) -> Step:
    def step(scope: Scope) -> list[Any]:
        scope.spend(10 + len(items))
        made: list[Any] = []
        for item, is_optional in items:
            value = item(scope)
            if not is_optional:
                made.append(value)
            elif isinstance(value, Optional) and value.is_present:
                made.append(value.value)
        return made

    return step


def _map(entries: list[tuple[Step, Step, bool]]) -> Step:
    def step(scope: Scope) -> dict[Any, Any]:
        scope.spend(30 + len(entries))
        made: dict[Any, Any] = {}
        for key_step, value_step, is_optional in entries:
            key, value = key_step(scope), value_step(scope)
            if isinstance(key, (list, dict, float)) or key is None:
                raise Failure(f"unsupported key type: {type_name(key)}")
            if key in made:
                raise Failure(f"insert failed: key {key} already exists")
            if not is_optional:
                made[key] = value
            elif isinstance(value, Optional) and value.is_present:
                made[key] = value.value
        return made

    return step


def _applied(name: str, function: Function, arguments: list[Step]) -> Step:
    own_cost = 1 + getattr(function, "cel_cost", 0)

    def step(scope: Scope) -> Any:
        values = [argument(scope) for argument in arguments]
        scope.spend(own_cost + sum(_size(value) for value in values) // 10)
        try:
            return function(*values)
        except TypeError:
            # The wrong number of arguments, or none that Python could work with.
            raise no_overload(name, *values) from None

    return step


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, dict)) else 0


def _and(left: Step, right: Step) -> Step:
    def step(scope: Scope) -> bool:
        try:
            if not boolean(left(scope)):
                return False
        except Failure:
            if not boolean(right(scope)):
                return False
            raise
        return boolean(right(scope))

    return step


def _or(left: Step, right: Step) -> Step:
    def step(scope: Scope) -> bool:
        try:
            if boolean(left(scope)):
                return True
        except Failure:
            if boolean(right(scope)):
                return True
            raise
        return boolean(right(scope))

    return step


def _conditional(condition: Step, yes: Step, no: Step) -> Step:
    def step(scope: Scope) -> Any:
        return yes(scope) if boolean(condition(scope)) else no(scope)

    return step


__all__ = ["COST_MAX", "BadProgram", "CostExceeded", "Program", "UInt", "compile_", "is_number"]
