"""The string formats that schemas may name; others are taken for descriptions and not checked.

A name may be written with dashes anywhere: `date-time` is `datetime`. What each lets through is what the library does
that upstream uses: leading zeros in addresses, words for units of time, digits that check ISBNs and card numbers.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Final

from api.core.ip_addresses import parse_cidr, parse_ip
from apiserver.crd.patterns import matches
from apiserver.uris import is_request_uri

_TIME: Final = re.compile(r"(\d{2}):(\d{2}):(\d{2})(.\d+)?(z|[+-]\d{2}:\d{2})", re.ASCII).fullmatch
_GO_DURATION: Final = re.compile(r"[+-]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)", re.ASCII).fullmatch
_LENGTHS: Final = re.compile(r"\d+\s*([A-Za-zµ]+)", re.ASCII)
_UNITS: Final = frozenset(("ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"))
_UNIT_WORDS: Final = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")
_UUID: Final = "[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}"
_ATOMS: Final = r"[^\s()<>\[\]:;@\\,.\"\x00-\x1f]+(?:\.[^\s()<>\[\]:;@\\,.\"\x00-\x1f]+)*"
_ADDRESS: Final = rf"(?:{_ATOMS}|\"(?:[^\"\\]|\\.)*\")@(?:{_ATOMS}|\[[^\]]*\])"
_EMAIL: Final = re.compile(rf"\s*(?:{_ADDRESS}|(?:[^<>@]*)<{_ADDRESS}>)\s*").fullmatch
_HOST: Final = (
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|"
    r"([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
)
_CARD: Final = re.compile(
    r"4\d{12}(?:\d{3})?|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}|6(?:011|5\d\d)\d{12}"
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:2131|1800|35\d{3})\d{11}|6[27]\d{14}",
    re.ASCII,
).fullmatch
_PART: Final = r"\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*"
_MAC: Final = re.compile(
    r"[0-9a-f]{2}(?:(?::[0-9a-f]{2})+|(?:-[0-9a-f]{2})+)|[0-9a-f]{4}(?:\.[0-9a-f]{4})+", re.I
).fullmatch
_MAC_DIGITS: Final = (12, 16, 40)


def _matches(pattern: str, flags: int = re.IGNORECASE) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags | re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    date, _, rest = text.lower().partition("t")
    time = _TIME(rest)
    return time is not None and _is_date(date) and time[1] <= "23" and time[2] <= "59" and time[3] <= "59"


def _is_duration(text: str) -> bool:
    if _GO_DURATION(text):
        return True
    words = [found[1].lower() for found in _LENGTHS.finditer(text)]
    return any(word in _UNITS or word.startswith(_UNIT_WORDS) for word in words)


def _is_isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII):
        return False
    return sum((i + 1) * (10 if digit == "X" else int(digit)) for i, digit in enumerate(digits)) % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"\d{13}", digits, re.ASCII):
        return False
    return sum((1, 3)[i % 2] * int(digit) for i, digit in enumerate(digits)) % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D+", "", text, flags=re.ASCII)
    doubled = (int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits)))
    return _CARD(digits) is not None and sum(each - 9 if each > 9 else each for each in doubled) % 10 == 0


def _is_mac(text: str) -> bool:
    return _MAC(text) is not None and len(re.sub("[:.-]", "", text)) in _MAC_DIGITS


def _is_host(text: str) -> bool:
    return len(text.encode()) <= 255 and matches(_HOST, text) and all(len(p.encode()) <= 63 for p in text.split("."))


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matches("[0-9a-f]{24}"),
    "byte": _matches("(?:[A-Z0-9+/]{4})*(?:[A-Z0-9+/]{2}==|[A-Z0-9+/]{3}=|[A-Z0-9+/]{4})"),
    "cidr": lambda text: parse_cidr(text) is not None,
    "creditcard": _is_card,
    "date": _is_date,
    "datetime": _is_date_time,
    "duration": _is_duration,
    "email": lambda text: _EMAIL(text) is not None,
    "hexcolor": _matches("#?([0-9a-f]{3}|[0-9a-f]{6})"),
    "hostname": _is_host,
    "ipv4": lambda text: "." in text and parse_ip(text) is not None,
    "ipv6": lambda text: ":" in text and parse_ip(text) is not None,
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "mac": _is_mac,
    "password": lambda text: True,
    "rgbcolor": _matches(rf"rgb\({_PART},{_PART},{_PART}\)", 0),
    "ssn": lambda text: len(text) == 11 and re.fullmatch(r"\d{3}[- ]?\d{2}[- ]?\d{4}", text, re.ASCII) is not None,
    "uri": is_request_uri,
    "uuid": _matches(_UUID % ("[0-9a-f]", "[0-9a-f]")),
    "uuid3": _matches(_UUID % ("3", "[0-9a-f]")),
    "uuid4": _matches(_UUID % ("4", "[89ab]")),
    "uuid5": _matches(_UUID % ("5", "[89ab]")),
}
_OF_NUMBERS: Final = {"integer": ("int32", "int64"), "number": ("float", "double")}


def known_format(type_: str, name: str) -> str:
    """Return the format's name if values of the type are held to it, and otherwise nothing."""
    if type_ in ("", "string"):
        return name if name.replace("-", "") in _CHECKS else ""
    return name if name in _OF_NUMBERS.get(type_, ()) else ""


def is_of_format(name: str, text: str) -> bool:
    """Whether a text is of a format of strings; there is nothing that it isn't where there is no such format."""
    check = _CHECKS.get(name.replace("-", ""))
    return check is None or check(text)
