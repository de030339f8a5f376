"""What types expressions have before they are evaluated, and which types each function takes and gives. Pure.

Signatures are written as upstream documents them: `string.startsWith(string) -> bool`. `A` and `B` stand for any type,
the same one wherever they stand; what is `dyn` fits everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Type:
    """A type: by name, with what it is made of; `fields` is set for objects."""

    name: str
    args: tuple[Type, ...] = ()
    fields: Callable[[str], Type | None] | None = field(default=None, compare=False)
    """Returns the type of an object's field, None for one that it does not have."""

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.args))})" if self.args else self.name


DYN: Final = Type("dyn")
BOOL: Final = Type("bool")
INT: Final = Type("int")
UINT: Final = Type("uint")
DOUBLE: Final = Type("double")
STRING: Final = Type("string")
BYTES: Final = Type("bytes")
NULL: Final = Type("null")
TYPE: Final = Type("type")
_PARAMETERS: Final = ("A", "B")


def list_of(item: Type) -> Type:
    """Return the type of lists of one type."""
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    """Return the type of maps."""
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    """Return the type of values that may be absent."""
    return Type("optional_type", (value,))


def object_of(name: str, fields: Mapping[str, Type]) -> Type:
    """Return the type of objects with these fields and no others."""
    return Type(name, fields=fields.get)


@dataclass(frozen=True, slots=True)
class Overload:
    """One way in which a function can be called."""

    takes: tuple[Type, ...]
    """With a method's target first."""
    gives: Type


def _parse_type(text: str) -> Type:
    found = re.fullmatch(r"\s*([\w.]+)\s*(?:\((.*)\))?\s*", text)
    assert found is not None, text
    return Type(found[1], tuple(map(_parse_type, _split(found[2]))) if found[2] else ())


def _split(text: str) -> list[str]:
    parts, depth, last = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append(text[last:i])
            last = i + 1
    return [*parts, text[last:]] if text.strip() else []


def _table(text: str) -> dict[str, list[Overload]]:
    table: dict[str, list[Overload]] = {}
    for line in text.strip().splitlines():
        if not line.strip():
            continue
        head, _, gives = line.strip().rpartition(" -> ")
        found = re.fullmatch(r"(?:\[(.+?)\]\.)?([^(]+)\((.*)\)", head)
        assert found is not None, line
        takes = [*([found[1]] if found[1] else []), *_split(found[3])]
        for each in _expanded(takes, gives):
            table.setdefault(found[2], []).append(each)
    return table


def _expanded(takes: list[str], gives: str) -> list[Overload]:
    """Return an overload for each alternative of `x|y`, which goes for every place of the line alike."""
    alternatives = max((each.split("|") for each in takes), key=len, default=[""])
    if len(alternatives) == 1:
        return [Overload(tuple(map(_parse_type, takes)), _parse_type(gives))]
    made = []
    for i in range(len(alternatives)):
        chosen = [each.split("|")[i] if "|" in each else each for each in takes]
        result = gives.split("|")[i] if "|" in gives else gives
        made.append(Overload(tuple(map(_parse_type, chosen)), _parse_type(result)))
    return made


_NUMBERS: Final = "int|uint|double"
_ORDERED: Final = "bool|int|uint|double|string|bytes|timestamp|duration"
_ORDERED_LISTS: Final = "|".join(f"list({each})" for each in _ORDERED.split("|"))

FUNCTIONS: Final = _table(f"""
_==_(A, A) -> bool
_!=_(A, A) -> bool
_<_({_ORDERED}, {_ORDERED}) -> bool
_<_(int|int|uint|uint|double|double, uint|double|int|double|int|uint) -> bool
_+_({_NUMBERS}|string|bytes|duration, {_NUMBERS}|string|bytes|duration) -> {_NUMBERS}|string|bytes|duration
_+_(timestamp|duration, duration|timestamp) -> timestamp
_+_(list(A), list(A)) -> list(A)
_-_({_NUMBERS}|duration, {_NUMBERS}|duration) -> {_NUMBERS}|duration
_-_(timestamp, timestamp) -> duration
_-_(timestamp, duration) -> timestamp
_*_({_NUMBERS}, {_NUMBERS}) -> {_NUMBERS}
_/_({_NUMBERS}, {_NUMBERS}) -> {_NUMBERS}
_%_(int|uint, int|uint) -> int|uint
-_(int|double|duration) -> int|double|duration
!_(bool) -> bool
_&&_(bool, bool) -> bool
_||_(bool, bool) -> bool
_?_:_(bool, A, A) -> A
@in(A, list(A)) -> bool
@in(A, map(A, B)) -> bool
size(string|bytes|list(A)|map(A,B)) -> int
int(int|uint|double|string|timestamp|duration) -> int
uint(int|uint|double|string) -> uint
double(int|uint|double|string) -> double
string(string|bool|int|uint|double|bytes|timestamp|duration|net.IP|net.CIDR) -> string
bytes(bytes|string) -> bytes
bool(bool|string) -> bool
type(A) -> type
dyn(A) -> dyn
timestamp(timestamp|string|int) -> timestamp
duration(duration|string|int) -> duration
matches(string, string) -> bool
optional.of(A) -> optional_type(A)
optional.ofNonZeroValue(A) -> optional_type(A)
optional.none() -> optional_type(dyn)
quantity(string) -> kubernetes.Quantity
isQuantity(string) -> bool
url(string) -> kubernetes.URL
isURL(string) -> bool
ip(string) -> net.IP
isIP(string) -> bool
ip.isCanonical(string) -> bool
cidr(string) -> net.CIDR
isCIDR(string) -> bool
sets.contains(list(A), list(A)) -> bool
sets.intersects(list(A), list(A)) -> bool
sets.equivalent(list(A), list(A)) -> bool
strings.quote(string) -> string
format.named(string) -> optional_type(kubernetes.NamedFormat)
""")
"""What functions take and give, by name; operators too, and `_<_` stands for all four comparisons."""

METHODS: Final = _table(f"""
[string|bytes|list(A)|map(A,B)].size() -> int
[string].matches(string) -> bool
[string].contains(string) -> bool
[string].startsWith(string) -> bool
[string].endsWith(string) -> bool
[string].charAt(int) -> string
[string].indexOf(string) -> int
[string].indexOf(string, int) -> int
[list(A)].indexOf(A) -> int
[string].lastIndexOf(string) -> int
[string].lastIndexOf(string, int) -> int
[list(A)].lastIndexOf(A) -> int
[list(string)].join() -> string
[list(string)].join(string) -> string
[string].lowerAscii() -> string
[string].upperAscii() -> string
[string].replace(string, string) -> string
[string].replace(string, string, int) -> string
[string].split(string) -> list(string)
[string].split(string, int) -> list(string)
[string].substring(int) -> string
[string].substring(int, int) -> string
[string].trim() -> string
[string].reverse() -> string
[string].format(list(dyn)) -> string
[string].find(string) -> string
[string].findAll(string) -> list(string)
[string].findAll(string, int) -> list(string)
[timestamp].getFullYear() -> int
[timestamp].getMonth() -> int
[timestamp].getDate() -> int
[timestamp].getDayOfMonth() -> int
[timestamp].getDayOfWeek() -> int
[timestamp].getDayOfYear() -> int
[timestamp|duration].getHours() -> int
[timestamp|duration].getMinutes() -> int
[timestamp|duration].getSeconds() -> int
[timestamp|duration].getMilliseconds() -> int
[timestamp].getFullYear(string) -> int
[timestamp].getMonth(string) -> int
[timestamp].getDate(string) -> int
[timestamp].getDayOfMonth(string) -> int
[timestamp].getDayOfWeek(string) -> int
[timestamp].getDayOfYear(string) -> int
[timestamp].getHours(string) -> int
[timestamp].getMinutes(string) -> int
[timestamp].getSeconds(string) -> int
[timestamp].getMilliseconds(string) -> int
[{_ORDERED_LISTS}].isSorted() -> bool
[list(int)|list(uint)|list(double)|list(duration)].sum() -> int|uint|double|duration
[{_ORDERED_LISTS}].min() -> {_ORDERED}
[{_ORDERED_LISTS}].max() -> {_ORDERED}
[list(dyn)].flatten() -> list(dyn)
[list(dyn)].flatten(int) -> list(dyn)
[optional_type(A)].hasValue() -> bool
[optional_type(A)].value() -> A
[optional_type(A)].or(optional_type(A)) -> optional_type(A)
[optional_type(A)].orValue(A) -> A
[kubernetes.Quantity].isInteger() -> bool
[kubernetes.Quantity].asInteger() -> int
[kubernetes.Quantity].asApproximateFloat() -> double
[kubernetes.Quantity].sign() -> int
[kubernetes.Quantity].add(kubernetes.Quantity|int) -> kubernetes.Quantity
[kubernetes.Quantity].sub(kubernetes.Quantity|int) -> kubernetes.Quantity
[kubernetes.Quantity].isGreaterThan(kubernetes.Quantity) -> bool
[kubernetes.Quantity].isLessThan(kubernetes.Quantity) -> bool
[kubernetes.Quantity].compareTo(kubernetes.Quantity) -> int
[kubernetes.URL].getScheme() -> string
[kubernetes.URL].getHost() -> string
[kubernetes.URL].getHostname() -> string
[kubernetes.URL].getPort() -> string
[kubernetes.URL].getEscapedPath() -> string
[kubernetes.URL].getQuery() -> map(string, list(string))
[net.IP].family() -> int
[net.IP].isUnspecified() -> bool
[net.IP].isLoopback() -> bool
[net.IP].isLinkLocalMulticast() -> bool
[net.IP].isLinkLocalUnicast() -> bool
[net.IP].isGlobalUnicast() -> bool
[net.CIDR].containsIP(string|net.IP) -> bool
[net.CIDR].containsCIDR(string|net.CIDR) -> bool
[net.CIDR].ip() -> net.IP
[net.CIDR].masked() -> net.CIDR
[net.CIDR].prefixLength() -> int
[kubernetes.NamedFormat].validate(string) -> optional_type(list(string))
[kubernetes.authorization.Authorizer].path(string) -> kubernetes.authorization.PathCheck
[kubernetes.authorization.Authorizer].group(string) -> kubernetes.authorization.GroupCheck
[kubernetes.authorization.Authorizer].serviceAccount(string, string) -> kubernetes.authorization.Authorizer
[kubernetes.authorization.GroupCheck].resource(string) -> kubernetes.authorization.ResourceCheck
[kubernetes.authorization.ResourceCheck].subresource(string) -> kubernetes.authorization.ResourceCheck
[kubernetes.authorization.ResourceCheck].namespace(string) -> kubernetes.authorization.ResourceCheck
[kubernetes.authorization.ResourceCheck].name(string) -> kubernetes.authorization.ResourceCheck
[kubernetes.authorization.ResourceCheck].fieldSelector(string) -> kubernetes.authorization.ResourceCheck
[kubernetes.authorization.ResourceCheck].labelSelector(string) -> kubernetes.authorization.ResourceCheck
[kubernetes.authorization.PathCheck].check(string) -> kubernetes.authorization.Decision
[kubernetes.authorization.ResourceCheck].check(string) -> kubernetes.authorization.Decision
[kubernetes.authorization.Decision].allowed() -> bool
[kubernetes.authorization.Decision].reason() -> string
[kubernetes.authorization.Decision].errored() -> bool
[kubernetes.authorization.Decision].error() -> string
""")
"""What methods take, the target first, and give."""

AUTHORIZER: Final = Type(
    "kubernetes.authorization.Authorizer",
    fields={"requestResource": Type("kubernetes.authorization.ResourceCheck")}.get,
)


def fits(given: Type, wanted: Type, bound: dict[str, Type]) -> bool:
    """Whether a value of one type can stand where another is wanted; notes what parameters come to stand for."""
    if wanted.name in _PARAMETERS:
        before = bound.get(wanted.name)
        if before is None:
            bound[wanted.name] = given
            return True
        joined = join(before, given)
        if joined is None:
            return False
        bound[wanted.name] = joined
        return True
    if "dyn" in (given.name, wanted.name):
        return True
    if given.name != wanted.name or len(given.args) != len(wanted.args):
        return False
    return all(fits(one, other, bound) for one, other in zip(given.args, wanted.args, strict=True))


def join(one: Type, other: Type) -> Type | None:
    """Return the type of something that may be of either type; None where they have nothing to do with each other."""
    if one == other:
        return one
    if "dyn" in (one.name, other.name):
        return DYN
    if "null" in (one.name, other.name):
        there = other if one.name == "null" else one
        return there if there.fields is not None or there.name in ("timestamp", "duration", "optional_type") else None
    if one.name == other.name and len(one.args) == len(other.args):
        args = [join(a, b) for a, b in zip(one.args, other.args, strict=True)]
        return Type(one.name, tuple(arg for arg in args if arg is not None)) if None not in args else None
    return None


def filled(pattern: Type, bound: Mapping[str, Type]) -> Type:
    """Return a type with its parameters filled in; one that nothing is known of is dyn."""
    if pattern.name in _PARAMETERS:
        return bound.get(pattern.name, DYN)
    if not pattern.args:
        return pattern
    return Type(pattern.name, tuple(filled(arg, bound) for arg in pattern.args))
