"""What an expression may cost at worst, told before it is evaluated from its types and how large values can be. Pure.

Each step costs one, and what goes through a string or list costs in proportion to the size that it can have: as it is
written out, as it follows from the sizes that went into it, or as whoever declared the variables says. A macro costs
what it stands for as often as its list may have elements. The figures are upstream's to the unit (KEP-2876, cel-go's
`checker/cost.go` and the estimator in apiserver's CEL library), because they decide which rules are let in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from apiserver.cel.check import Checked
from apiserver.cel.syntax import Call, Comprehension, Index, ListOf, Literal, MapOf, Name, Select, Tree
from apiserver.cel.types import DYN, Type
from apiserver.cel.values import is_number

UNBOUNDED: Final = 2**64 - 1
ITEMS, VALUES, KEYS = "@items", "@values", "@keys"
"""Steps of a path that are no field: an element of a list, a value of a map, a key."""

_CHARACTER: Final = 0.1
"""What going through one character costs."""
_EXPRESSION_CHARACTER: Final = 0.25
"""What one character of a regular expression multiplies that by."""
_LIST, _MAP = 10, 30
"""What making one costs."""
_AUTHORIZATION: Final = 350_000
_FORMAT: Final = "kubernetes.NamedFormat"
_FORMAT_CHARACTERS: Final = 64
"""The longest name that a form of text can have."""

Path = tuple[str, ...]
"""From a variable's name to a place below it; empty where a value comes from nowhere that was declared."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many characters, bytes or elements something has."""

    least: int
    most: int

    def __add__(self, other: Size) -> Size:
        return Size(_bounded(self.least + other.least), _bounded(self.most + other.most))

    def __mul__(self, other: Size) -> Size:
        return Size(_bounded(self.least * other.least), _bounded(self.most * other.most))

    def union(self, other: Size) -> Size:
        """Return the size of what may be of either."""
        return Size(min(self.least, other.least), max(self.most, other.most))


_UNKNOWN: Final = Size(0, UNBOUNDED)
SizeOf = Callable[[Path], int | None]
"""Tells how large the value at a declared place can be: None where nothing is known of it, 0 of what has no size."""


@dataclass(frozen=True, slots=True)
class _Weighed:
    """What is known of an expression."""

    cost: int
    type: Type = DYN
    path: Path = ()
    size: Size | None = None
    """As it follows from the expression; None where only the path can tell."""


def cost_max(checked: Checked, size_of: SizeOf) -> int:
    """Return what an expression whose types fit may cost; what cannot be counted is `UNBOUNDED`."""
    return _bounded(_Scales(checked, size_of).weigh(checked.tree, {}).cost)


def _bounded(amount: int) -> int:
    return min(amount, UNBOUNDED)


def _times(amount: int, factor: float) -> int:
    """Multiply and round up."""
    return _bounded(math.ceil(amount * factor))


@dataclass(slots=True)
class _Scales:
    checked: Checked
    size_of: SizeOf
    _types: Mapping[int, Type] = field(init=False)

    def __post_init__(self) -> None:
        self._types = self.checked.types

    def weigh(self, tree: Tree, local: Mapping[str, Path]) -> _Weighed:
        """Weigh a tree, in which `local` variables stand for elements of what is at a path."""
        type_ = self._types.get(id(tree), DYN)
        match tree:
            case Literal(value):
                size = len(value) if isinstance(value, (str, bytes)) else 1
                return _Weighed(0, type_, size=Size(size, size))
            case Name(name):
                return _Weighed(1, type_, local.get(name, (name,)))
            case Select():
                return self._select(tree, type_, local)
            case Index():
                return self._index(tree, type_, local)
            case Call():
                return self._call(tree, type_, local)
            case ListOf(items):
                cost = _LIST + sum(self.weigh(item, local).cost for item, _ in items)
                return _Weighed(cost, type_, size=Size(len(items), len(items)))
            case MapOf(entries):
                parts = [part for key, value, _ in entries for part in (key, value)]
                cost = _MAP + sum(self.weigh(part, local).cost for part in parts)
                return _Weighed(cost, type_, size=Size(len(entries), len(entries)))
            case Comprehension():
                return self._comprehension(tree, type_, local)

    def _size(self, one: _Weighed) -> Size:
        if one.size is not None:
            return one.size
        if one.path:
            most = self.size_of(one.path)
            if most is not None:
                return Size(0, most)
        return Size(1, 1) if _is_scalar(one.type) else _UNKNOWN

    def _select(self, tree: Select, type_: Type, local: Mapping[str, Path]) -> _Weighed:
        operand = self.weigh(tree.operand, local)
        if tree.is_test:
            return _Weighed(operand.cost, type_)
        if tree.is_optional:
            return _Weighed(operand.cost + 1, type_)
        is_read = operand.type.name == "map" or operand.type.fields is not None
        return _Weighed(operand.cost + is_read, type_, (*operand.path, tree.field))

    def _index(self, tree: Index, type_: Type, local: Mapping[str, Path]) -> _Weighed:
        operand, index = self.weigh(tree.operand, local), self.weigh(tree.index, local)
        cost = operand.cost + index.cost + 1
        if tree.is_optional or operand.type.name not in ("list", "map", "dyn"):
            return _Weighed(cost, type_)
        return _Weighed(cost, type_, (*operand.path, ITEMS if operand.type.name == "list" else VALUES))

    # --- macros -----------------------------------------------------------------------------------------------------

    def _comprehension(self, tree: Comprehension, type_: Type, local: Mapping[str, Path]) -> _Weighed:
        operand = self.weigh(tree.operand, local)
        if tree.macro in ("optMap", "optFlatMap"):
            return self._of_optional(tree, type_, operand, local)
        is_list = operand.type.name == "list"
        first = (*operand.path, ITEMS if is_list else KEYS)
        inner = {**local, tree.variable: first}
        if tree.second:
            inner[tree.second] = (*operand.path, ITEMS if is_list else VALUES)
        body = self.weigh(tree.body, inner).cost
        match tree.macro:
            case "all":
                once, around = body + 3, 1
            case "exists":
                once, around = body + 4, 1
            case "exists_one":
                once, around = body + 2, 2
            case "filter":
                once, around = body + _LIST + 3, _LIST + 1
            case _:  # map
                transform = self.weigh(tree.transform, inner).cost if tree.transform is not None else 0
                once, around = body + transform + _LIST + 2, _LIST + 1
        size = self._size(operand)
        return _Weighed(operand.cost + around + size.most * once, type_, size=size)

    def _of_optional(self, tree: Comprehension, type_: Type, operand: _Weighed, local: Mapping[str, Path]) -> _Weighed:
        """Weigh a macro that asks whether a value is there, and if so binds it to a variable."""
        body = self.weigh(tree.body, {**local, tree.variable: (tree.variable,)}).cost
        bound = _LIST + operand.cost + 1 + body + (tree.macro == "optMap")
        return _Weighed(operand.cost + 1 + max(bound, 1), type_)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call(self, tree: Call, type_: Type, local: Mapping[str, Path]) -> _Weighed:
        given = [self.weigh(argument, local) for argument in tree.arguments]
        function, target = tree.function, None
        if tree.target is not None:
            qualified = self.checked.qualified.get(id(tree))
            if qualified:
                function = qualified
            else:
                target = self.weigh(tree.target, local)
        match function:
            case "_&&_" | "_||_":
                return _Weighed(sum(each.cost for each in given), type_)
            case "_?_:_":
                size = self._size(given[1]).union(self._size(given[2]))
                return _Weighed(given[0].cost + max(given[1].cost, given[2].cost), type_, size=size)
        cost, result = self._cost_of(function, target, given, tree)
        before = (target.cost if target is not None else 0) + sum(each.cost for each in given)
        return _Weighed(cost + before, type_, size=result)

    def _cost_of(
        self, function: str, target: _Weighed | None, given: list[_Weighed], tree: Call
    ) -> tuple[int, Size | None]:
        """Return what a call costs beside its arguments, and the size of its result where that can be told."""
        first = target if target is not None else given[0] if given else _Weighed(0)
        rest = given if target is not None else given[1:]
        size = self._size(first)
        match function:
            case "check":
                return _AUTHORIZATION, None
            case "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf":
                if not first.type.args:
                    return _times(size.most, _CHARACTER), None
                return _bounded(size.most * self._element_cost(first)), None
            case "lowerAscii" | "upperAscii" | "substring" | "trim":
                return _times(size.most, _CHARACTER), size
            case "replace" if len(given) >= 2:
                return _times(size.most, 2 * _CHARACTER), _replaced(size, self._size(given[0]), self._size(given[1]))
            case "split":
                limit = tree.arguments[1] if len(tree.arguments) > 1 else None
                most = limit.value if isinstance(limit, Literal) and is_number(limit.value) else size.most
                return _times(size.most, 2 * _CHARACTER), Size(0, most if most >= 0 else size.most)
            case "join":
                joined = self._joined(first, size, given)
                return _times(joined.most, _CHARACTER), joined
            case "find" | "findAll" | "matches" if rest:
                expression = _times(self._size(rest[0]).most, _EXPRESSION_CHARACTER)
                cost = _bounded(_times(size.most + 1, _CHARACTER) * expression)
                return cost, Size(0, size.most) if function != "matches" else None
            case "url" | "isURL" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "ip" if target is None:
                return _times(size.most, _CHARACTER) if function != "isURL" else 1, None
            case "ip.isCanonical":
                return _times(size.most, 2 * _CHARACTER), None
            case "containsIP" | "containsCIDR" if rest:
                cost = _times(32, _CHARACTER) + (_times(16, _CHARACTER) + 1 if function == "containsCIDR" else 0)
                is_text = rest[0].type.name in ("string", "dyn")
                return cost + (_times(self._size(rest[0]).most, _CHARACTER) if is_text else 0), None
            case "fieldSelector" | "labelSelector" if rest:
                return _times(self._size(rest[0]).most, _CHARACTER), None
            case "validate" if rest:
                return _bounded(
                    _times(self._size(rest[0]).most + 1, _CHARACTER) * _times(128, _EXPRESSION_CHARACTER)
                ), None
            case "sets.contains" | "sets.intersects" | "sets.equivalent":
                factor = 2 if function == "sets.equivalent" else 1
                return _bounded((size * self._size(rest[0])).most * factor + 1), None
        return self._standard_cost(function, first, rest, size)

    def _standard_cost(
        self, function: str, first: _Weighed, rest: list[_Weighed], size: Size
    ) -> tuple[int, Size | None]:
        """The same for the language's own functions and operators."""
        types = {each.type.name for each in (first, *rest)}
        is_text = bool(types & {"string", "bytes", "dyn"})
        match function:
            case "_==_" if types == {_FORMAT}:
                return _times(_FORMAT_CHARACTERS, _CHARACTER), None
            case "_==_" | "_!=_":
                if any("." in each.type.name and each.type.fields is None for each in (first, *rest)):
                    return 1, None  # Quantities and their like.
                return _times(min(size.most, self._size(rest[0]).most), _CHARACTER), None
            case "_<_" | "_<=_" | "_>_" | "_>=_" if is_text:
                cost = _times(min(size.most, self._size(rest[0]).most), _CHARACTER)
                return max(cost, int("dyn" in types)), None
            case "_+_" if is_text or "list" in types:
                whole = size + self._size(rest[0])
                return (_times(whole.most, _CHARACTER) if is_text and "list" not in types else 1), whole
            case "@in" if rest[0].type.name in ("list", "dyn"):
                return max(self._size(rest[0]).most, int(rest[0].type.name == "dyn")), None
            case "startsWith" | "endsWith":
                return _times(self._size(rest[0]).most, _CHARACTER), None
            case "contains":
                return _bounded(_times(size.most, _CHARACTER) * _times(self._size(rest[0]).most, _CHARACTER)), None
            case "bytes" if first.type.name in ("string", "dyn"):
                return _times(size.most, _CHARACTER), Size(size.least, _bounded(size.most * 4))
            case "string" if first.type.name in ("bytes", "dyn"):
                return _times(size.most, _CHARACTER), Size(size.least // 4, size.most)
            case "strings.quote":
                return _times(size.most, _CHARACTER), Size(size.least + 2, _bounded(size.most * 2 + 2))
            case "format":
                return _times(size.most, _CHARACTER), None
        return 1, None

    def _element_cost(self, list_: _Weighed) -> int:
        """Return what comparing one element of a list costs."""
        element = _Weighed(0, list_.type.args[0], (*list_.path, ITEMS) if list_.path else ())
        return 1 + (_times(self._size(element).most, _CHARACTER) if element.type.name in ("string", "bytes") else 0)

    def _joined(self, list_: _Weighed, size: Size, separator: list[_Weighed]) -> Size:
        element = _Weighed(
            0, list_.type.args[0] if list_.type.args else DYN, (*list_.path, ITEMS) if list_.path else ()
        )
        joined = size * self._size(element)
        if separator:
            joined += self._size(separator[0]) * Size(max(size.least - 1, 0), max(size.most - 1, 0))
        return joined


def _is_scalar(type_: Type) -> bool:
    if type_.name == "optional_type":
        return _is_scalar(type_.args[0])
    return type_.name in ("bool", "double", "duration", "int", "timestamp", "uint")


def _replaced(text: Size, old: Size, new: Size) -> Size:
    """Return the size of a text in which as much as possible, or as little, was replaced."""
    if old.least == 0:  # Nothing is found before and after each character.
        most = _bounded((text.most + 1) * new.most + text.most)
    elif new.most <= old.least:
        most = text.most
    else:
        most = _bounded(math.ceil(text.most / old.least) * new.most)
    if old.most == 0:
        least = _bounded((text.least + 1) * new.least + text.least)
    elif old.most <= new.least:
        least = text.least
    else:
        least = _bounded(math.ceil(text.least / old.most) * new.least)
    return Size(least, most)
