"""What is wrong with a text of JSON or YAML, in the words of Go's readers, which clients of the API know. Pure.

Python's reader has found the fault already, and says where; what to call it follows from there. So the words cost
nothing more than a look around the fault, but for one: whether it is inside an object or an array.

Facts: the messages of Go's encoding/json and of go-yaml, which reports what libyaml says, as the `yaml` package does.
"""

from __future__ import annotations

import json
import re
from typing import Final

import yaml

_END: Final = "unexpected end of JSON input"
_SPACE: Final = " \t\n\r"
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKET: Final = re.compile(r"[^\[\]{}]+")
_NUMBER_END: Final = re.compile(r"[-+.0-9eE]*[0-9]\Z")
_NUMBER_LENGTH: Final = 400
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
_HALF_ESCAPE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u[0-9a-fA-F]{0,3}\Z")
_HEX: Final = "0123456789abcdefABCDEF"
_SHOWN: Final = {"'": r"'\''", '"': "'\"'", "\\": r"'\\'", "\n": r"'\n'", "\r": r"'\r'", "\t": r"'\t'"}
_SHOWN_RARE: Final = {"\a": r"'\a'", "\b": r"'\b'", "\f": r"'\f'", "\v": r"'\v'"}


def of_json(error: json.JSONDecodeError) -> str:
    """Return what Go's reader says of a text that Python's refuses."""
    text, at = error.doc, error.pos
    match error.msg:
        case "Unterminated string starting at":
            return _unterminated(text)
        case "Invalid control character at":
            return _found(text, at, "in string literal")
        case "Invalid \\escape" | "Invalid \\escape: ":
            return _found(text, at + 1, "in string escape code")
        case "Invalid \\uXXXX escape":
            return _bad_hex(text, at)
        case "Illegal trailing comma before end of object":
            return _found(text, _skip(text, at + 1), "looking for beginning of object key string")
        case "Illegal trailing comma before end of array":
            return _found(text, _skip(text, at + 1), "looking for beginning of value")
        case "Expecting property name enclosed in double quotes":
            return _found_or_end(text, at, "looking for beginning of object key string")
        case "Expecting ':' delimiter":
            return _found_or_end(text, at, "after object key")
        case "Expecting ',' delimiter":
            in_array = _innermost(text[:at]) == "["
            after = "after array element" if in_array else "after object key:value pair"
            return _bad_number(text, at) or _found_or_end(text, at, after)
        case "Extra data":
            return _bad_number(text, at) or _found_or_end(text, at, "after top-level value")
    return _bad_value(text, _skip(text, at))


def of_yaml(error: yaml.YAMLError) -> str:
    """Return what go-yaml says of a text that libyaml refuses."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"yaml: {error.reason}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"yaml: {' '.join(str(error).split())}"
    line = next((mark.line for mark in (error.context_mark, error.problem_mark) if mark and mark.line), 0)
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}"


def bad_constant(text: str) -> str:
    """Return what is said of NaN, Infinity or -Infinity, which Python's reader knows and JSON does not."""
    return (
        _found(text, 1, "in numeric literal") if text[0] == "-" else _found(text, 0, "looking for beginning of value")
    )


def _bad_value(text: str, at: int) -> str:
    first = text[at : at + 1]
    if not first:
        return _END
    literal = _LITERALS.get(first)
    if literal is not None:
        for offset, wanted in enumerate(literal):
            # What the text ends in the middle of is told as if a space came there.
            if text[at + offset : at + offset + 1] != wanted:
                return _found(text, at + offset, f"in literal {literal} (expecting {_quoted(wanted)})")
    if first == "-":
        return _found(text, at + 1, "in numeric literal")
    return _found(text, at, "looking for beginning of value")


def _bad_number(text: str, at: int) -> str | None:
    """Return what is wrong with a number that Python takes for a shorter one, followed by something else."""
    first, number = text[at : at + 1], _NUMBER_END.search(text, max(0, at - _NUMBER_LENGTH), at)
    if number is None or "e" in number[0].lower() or (first == "." and "." in number[0]):
        return None
    if first == ".":
        return _found(text, at + 1, "after decimal point in numeric literal")
    if first and first in "eE":
        is_signed = text[at + 1 : at + 2] in ("+", "-")
        return _found(text, at + 1 + is_signed, "in exponent of numeric literal")
    return None


def _unterminated(text: str) -> str:
    escape = len(text) - len(text.rstrip("\\"))
    if escape % 2:
        return _found(text, len(text), "in string escape code")
    if _HALF_ESCAPE.search(text, max(0, len(text) - 100)):
        return _found(text, len(text), "in \\u hexadecimal character escape")
    return _END


def _bad_hex(text: str, at: int) -> str:
    begin = end = text.rfind("\\u", 0, at + 2) + 2
    while end < begin + 4 and text[end : end + 1] and text[end] in _HEX:
        end += 1
    return _END if end == begin + 4 else _found(text, end, "in \\u hexadecimal character escape")


def _innermost(before: str) -> str:
    """Return the bracket that is open at the end of a text which is well-formed so far."""
    depth = 0
    for bracket in reversed(_NO_BRACKET.sub("", _STRING.sub("", before))):
        if bracket in "]}":
            depth += 1
        elif depth == 0:
            return bracket
        else:
            depth -= 1
    return ""


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _found_or_end(text: str, at: int, where: str) -> str:
    at = _skip(text, at)
    return _found(text, at, where) if at < len(text) else _END


def _found(text: str, at: int, where: str) -> str:
    return f"invalid character {_quoted(text[at : at + 1] or ' ')} {where}"


def _quoted(character: str) -> str:
    """Return a character in quotes; of one that takes several bytes Go sees the first, as if it were one."""
    if character > "\x7f":
        character = chr(character.encode("utf-8", "surrogatepass")[0])
    if character in _SHOWN:
        return _SHOWN[character]
    if character in _SHOWN_RARE:
        return _SHOWN_RARE[character]
    return f"'{character}'" if character.isprintable() else f"'\\x{ord(character):02x}'"
