"""CEL's grammar: from text to a tree. Pure.

Macros (`has`, `all`, `exists`, `exists_one`, `map`, `filter`, `optMap`, `optFlatMap`) are recognised here, where their
first argument is still a name. The tree nests no deeper than `DEPTH_MAX`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import Any, Final

from apiserver.cel.values import UInt

DEPTH_MAX: Final = 64
LENGTH_MAX: Final = 100_000


class SyntaxFailure(Exception):
    """A text that is no expression: what is wrong, and where."""


def located(text: str, at: int, why: str) -> str:
    """Return what is wrong at a place in a text, with the line and a mark under the place."""
    start = text.rfind("\n", 0, at) + 1
    line, column = text.count("\n", 0, at) + 1, at - start
    shown = text[start:].partition("\n")[0]
    return f"ERROR: <input>:{line}:{column + 1}: {why}\n | {shown}\n | {'.' * column}^"


@dataclass(frozen=True, slots=True)
class Literal:
    """A value written out."""

    value: Any
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or the name of a type."""

    name: str
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`; `is_test` inside has(), `is_optional` for `.?`."""

    operand: Tree
    field: str
    is_test: bool = False
    is_optional: bool = False
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Index:
    """`operand[index]`; `is_optional` for `[?index]`."""

    operand: Tree
    index: Tree
    is_optional: bool = False
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function, or with a target a method. Operators are functions named as upstream names them: `_+_`."""

    function: str
    target: Tree | None
    arguments: tuple[Tree, ...]
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list written out."""

    items: tuple[tuple[Tree, bool], ...]
    """Elements, and whether each is optional."""
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MapOf:
    """Keys, values, and whether each entry is optional."""

    entries: tuple[tuple[Tree, Tree, bool], ...]
    at: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Comprehension:
    """A macro over a list or the keys of a map."""

    macro: str
    operand: Tree
    variable: str
    body: Tree
    transform: Tree | None = None
    """For `map` with three arguments: what becomes of the elements that `body` lets through."""
    second: str = ""
    """The value's variable, where key and value were both named."""
    at: int = dataclasses.field(default=0, compare=False)


Tree = Literal | Name | Select | Index | Call | ListOf | MapOf | Comprehension

_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
      | (?P<string>[bB]?[rR]?
          (?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
      | (?P<int>0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)
      | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*|`[^`\n]+`)
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_WORDS: Final = ("true", "false", "null", "in")
"""What can be no name, not even of a field."""
_RELATIONS: Final = ("<", "<=", ">", ">=", "==", "!=", "in")
_MACROS: Final = {
    "all": 2,
    "exists": 2,
    "exists_one": 2,
    "existsOne": 2,
    "filter": 2,
    "map": 2,
    "optMap": 2,
    "optFlatMap": 2,
}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Tree:
    """Return the tree of an expression, which is checked, weighed and compiled one after the other.

    Raises:
        SyntaxFailure: it is none.
    """
    parser = _Parser(text)
    tree = parser.expression(0)
    parser.end()
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[_Token] = []
        at = 0
        if len(text) > LENGTH_MAX:
            raise SyntaxFailure(
                f"ERROR: <input>:-1:0: expression code point size exceeds limit: size: {len(text)}, limit {LENGTH_MAX}"
            )
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._failure(f"Syntax error: token recognition error at: '{text[at]}'", at)
            if found.lastgroup != "space":
                self._tokens.append(_Token(found.lastgroup or "", found[0], at))
            at = found.end()
        self._tokens.append(_Token("end", "<EOF>", len(text)))
        self._next = 0

    def _failure(self, why: str, at: int) -> SyntaxFailure:
        return SyntaxFailure(located(self._text, at, why))

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, text: str) -> bool:
        token = self._token
        if token.kind in ("op", "name") and token.text == text:
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(f"expecting '{text}'")

    def _unexpected(self, more: str = "") -> SyntaxFailure:
        token = self._token
        what = f"mismatched input '{token.text}'" if token.kind != "end" else "mismatched input '<EOF>'"
        return self._failure(f"Syntax error: {what}{' ' + more if more else ''}", token.at)

    def end(self) -> None:
        if self._token.kind != "end":
            raise self._unexpected("expecting <EOF>")

    def expression(self, depth: int) -> Tree:
        if depth > DEPTH_MAX:
            raise self._failure("expression recursion limit exceeded", self._token.at)
        condition = self._or(depth + 1)
        at = self._token.at
        if not self._take("?"):
            return condition
        yes = self._or(depth + 1)
        self._expect(":")
        return Call("_?_:_", None, (condition, yes, self.expression(depth + 1)), at)

    def _or(self, depth: int) -> Tree:
        left = self._and(depth)
        while (at := self._token.at) >= 0 and self._take("||"):
            left = Call("_||_", None, (left, self._and(depth)), at)
        return left

    def _and(self, depth: int) -> Tree:
        left = self._relation(depth)
        while (at := self._token.at) >= 0 and self._take("&&"):
            left = Call("_&&_", None, (left, self._relation(depth)), at)
        return left

    def _relation(self, depth: int) -> Tree:
        left = self._sum(depth)
        while self._token.text in _RELATIONS and self._token.kind in ("op", "name"):
            operator, at = self._token.text, self._token.at
            self._next += 1
            left = Call("@in" if operator == "in" else f"_{operator}_", None, (left, self._sum(depth)), at)
        return left

    def _sum(self, depth: int) -> Tree:
        left = self._product(depth)
        while self._token.kind == "op" and self._token.text in ("+", "-"):
            operator, at = self._token.text, self._token.at
            self._next += 1
            left = Call(f"_{operator}_", None, (left, self._product(depth)), at)
        return left

    def _product(self, depth: int) -> Tree:
        left = self._unary(depth)
        while self._token.kind == "op" and self._token.text in ("*", "/", "%"):
            operator, at = self._token.text, self._token.at
            self._next += 1
            left = Call(f"_{operator}_", None, (left, self._unary(depth)), at)
        return left

    def _unary(self, depth: int) -> Tree:
        if depth > DEPTH_MAX:
            raise self._failure("expression recursion limit exceeded", self._token.at)
        at = self._token.at
        if self._take("!"):
            return Call("!_", None, (self._unary(depth + 1),), at)
        if self._token.text == "-" and self._token.kind == "op":
            self._next += 1
            if self._token.kind in ("int", "float") and not self._token.text.lower().endswith("u"):
                return self._member(depth, sign=-1)
            return Call("-_", None, (self._unary(depth + 1),), at)
        return self._member(depth)

    def _member(self, depth: int, sign: int = 1) -> Tree:
        tree = self._primary(depth, sign)
        while True:
            at = self._token.at
            if self._take("."):
                is_optional = self._take("?")
                name = self._field_name()
                at_call = self._token.at
                if not is_optional and self._take("("):
                    tree = self._method(tree, name, depth, at_call)
                else:
                    tree = Select(tree, name, is_optional=is_optional, at=at)
            elif self._take("["):
                is_optional = self._take("?")
                index = self.expression(depth + 1)
                self._expect("]")
                tree = Index(tree, index, is_optional, at)
            else:
                return tree

    def _field_name(self) -> str:
        token = self._token
        if token.kind != "name" or token.text in _WORDS:
            raise self._unexpected("expecting IDENTIFIER")
        self._next += 1
        return token.text.strip("`")

    def _arguments(self, depth: int) -> tuple[Tree, ...]:
        arguments: list[Tree] = []
        while not self._take(")"):
            arguments.append(self.expression(depth + 1))
            if not self._take(","):
                self._expect(")")
                break
        return tuple(arguments)

    def _method(self, target: Tree, name: str, depth: int, at: int) -> Tree:
        arguments = self._arguments(depth)
        if name in _MACROS and len(arguments) in (2, 3):
            variable, *rest = arguments
            if not isinstance(variable, Name):
                if name in ("map", "filter") or len(arguments) == 2:
                    raise self._failure("argument must be a simple name", at)
            elif len(rest) == 1:
                return Comprehension(name.replace("existsOne", "exists_one"), target, variable.name, rest[0], at=at)
            elif name == "map":
                return Comprehension(name, target, variable.name, rest[0], rest[1], at=at)
            elif isinstance(rest[0], Name):
                macro = name.replace("existsOne", "exists_one")
                return Comprehension(macro, target, variable.name, rest[1], second=rest[0].name, at=at)
        return Call(name, target, arguments, at)

    def _primary(self, depth: int, sign: int) -> Tree:
        token = self._token
        self._next += 1
        match token.kind:
            case "int":
                return Literal(self._integer(token, sign), token.at)
            case "float":
                return Literal(sign * float(token.text), token.at)
            case "string":
                return Literal(self._string(token), token.at)
            case "name":
                return self._named(token, depth)
            case "op" if token.text == "(":
                tree = self.expression(depth + 1)
                self._expect(")")
                return tree
            case "op" if token.text == "[":
                return self._list(depth, token.at)
            case "op" if token.text == "{":
                return self._map(depth, token.at)
            case "op" if token.text == "." and self._token.kind == "name":
                return self._primary(depth, 1)
        self._next -= 1
        raise self._unexpected()

    def _integer(self, token: _Token, sign: int) -> Any:
        text = token.text
        is_unsigned = text[-1] in "uU"
        value = sign * int(text.rstrip("uU"), 0 if text[:2].lower() == "0x" else 10)
        if is_unsigned:
            if value >= 2**64:
                raise self._failure("invalid uint literal", token.at)
            return UInt(value)
        if not -(2**63) <= value < 2**63:
            raise self._failure("invalid int literal", token.at)
        return value

    def _string(self, token: _Token) -> Any:
        text = token.text
        prefix = ""
        while text[0] in "bBrR":
            prefix += text[0].lower()
            text = text[1:]
        quotes = 3 if text[:3] in ('"""', "'''") else 1
        inner = text[quotes:-quotes]
        is_bytes = "b" in prefix
        if "r" not in prefix:
            inner = self._unescape(inner, token, is_bytes=is_bytes)
            if is_bytes:
                return b"".join(
                    bytes([ord(letter) - 0xE000]) if 0xE000 <= ord(letter) < 0xE100 else letter.encode()
                    for letter in inner
                )
        return inner.encode() if is_bytes else inner

    def _unescape(self, text: str, token: _Token, *, is_bytes: bool) -> str:
        simple = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

        def replace(found: re.Match[str]) -> str:
            code = found[1]
            if code in simple:
                return simple[code]
            if code in "\\'\"`?":
                return code
            number = int(code[1:], 16) if code[0] in "xXuU" else int(code, 8) if code.isdigit() else -1
            if number < 0 or number > 0x10FFFF or 0xD800 <= number < 0xE000:
                raise self._failure(f"Syntax error: token recognition error at: '\\{code}'", token.at)
            # A byte that is no letter is carried through in the private use area.
            return chr(0xE000 + number) if is_bytes and code[0] not in "uU" and number >= 0x80 else chr(number)

        pattern = r"\\([xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)"
        return re.sub(pattern, replace, text, flags=re.DOTALL)

    def _named(self, token: _Token, depth: int) -> Tree:
        match token.text:
            case "true":
                return Literal(True, token.at)
            case "false":
                return Literal(False, token.at)
            case "null":
                return Literal(None, token.at)
        if token.text in _RESERVED:
            raise self._failure(f"reserved identifier: {token.text}", token.at)
        at = self._token.at
        if not self._take("("):
            return Name(token.text, token.at)
        arguments = self._arguments(depth)
        if token.text == "has":
            if len(arguments) != 1 or not isinstance(arguments[0], Select):
                raise self._failure("invalid argument to has() macro", at)
            select = arguments[0]
            return Select(select.operand, select.field, is_test=True, at=at)
        return Call(token.text, None, arguments, at)

    def _list(self, depth: int, at: int) -> Tree:
        items: list[tuple[Tree, bool]] = []
        while not self._take("]"):
            is_optional = self._take("?")
            items.append((self.expression(depth + 1), is_optional))
            if not self._take(","):
                self._expect("]")
                break
        return ListOf(tuple(items), at)

    def _map(self, depth: int, at: int) -> Tree:
        entries: list[tuple[Tree, Tree, bool]] = []
        while not self._take("}"):
            is_optional = self._take("?")
            key = self.expression(depth + 1)
            self._expect(":")
            entries.append((key, self.expression(depth + 1), is_optional))
            if not self._take(","):
                self._expect("}")
                break
        return MapOf(tuple(entries), at)
