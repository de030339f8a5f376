"""The string formats that schemas may name; others are taken for descriptions and not checked."""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from api import names

_DATE_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII
).fullmatch
_DURATION: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)\s*(ns|us|µs|μs|ms|s|m|h|d|w)(.*)", re.ASCII).fullmatch
_UUID: Final = "[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}"
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+").fullmatch
_HOST: Final = re.compile(
    r"([a-zA-Z0-9\u00C0-\uFFFF]([a-zA-Z0-9\u00C0-\uFFFF-]{0,61}[a-zA-Z0-9\u00C0-\uFFFF])?)"
    r"(\.[a-zA-Z0-9\u00C0-\uFFFF]([a-zA-Z0-9\u00C0-\uFFFF-]{0,61}[a-zA-Z0-9\u00C0-\uFFFF])?)*"
).fullmatch


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.IGNORECASE | re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _accepts(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def is_date_time(text: str) -> bool:
    """Whether this is a moment as RFC 3339 writes it."""
    if not _DATE_TIME(text):
        return False
    return _accepts(datetime.date.fromisoformat)(text[:10]) and text[11:13] < "25" and text[14:16] < "60"


def is_duration(text: str) -> bool:
    """Whether this is a length of time as Go writes it: `1h30m`, `250ms`; a bare `0` too."""
    if text in ("0", "+0", "-0"):
        return True
    rest = text
    while rest:
        found = _DURATION(rest)
        if not found:
            return False
        rest = found[4].strip()
    return bool(text)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


def _is_cidr(text: str) -> bool:
    return "/" in text and _accepts(lambda each: ipaddress.ip_network(each, strict=False))(text)


CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "bsonobjectid": _matches("[0-9a-f]{24}"),
    "byte": _is_base64,
    "cidr": _is_cidr,
    "creditcard": _matches(r"(\d[ -]?){12,18}\d"),
    "date": _accepts(datetime.date.fromisoformat),
    "date-time": is_date_time,
    "datetime": is_date_time,
    "duration": is_duration,
    "email": lambda text: _EMAIL(text) is not None,
    "hexcolor": _matches("#?([0-9a-f]{3}|[0-9a-f]{6})"),
    "hostname": lambda text: len(text) <= 255 and _HOST(text) is not None,
    "ipv4": _accepts(ipaddress.IPv4Address),
    "ipv6": _accepts(ipaddress.IPv6Address),
    "isbn": _matches(r"(\d[- ]?){9}[\dx]|(\d[- ]?){12}\d"),
    "isbn10": _matches(r"(\d[- ]?){9}[\dx]"),
    "isbn13": _matches(r"(\d[- ]?){12}\d"),
    "k8s-long-name": lambda text: not names.check_subdomain(text),
    "k8s-short-name": lambda text: not names.check_label(text),
    "mac": _matches("([0-9a-f]{2}[:-]){5}([0-9a-f]{2}[:-][0-9a-f]{2}[:-])?[0-9a-f]{2}|([0-9a-f]{4}[.]){2}[0-9a-f]{4}"),
    "rgbcolor": _matches(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _is_uri,
    "uuid": _matches(_UUID % ("[0-9a-f]", "[0-9a-f]")),
    "uuid3": _matches(_UUID % ("3", "[0-9a-f]")),
    "uuid4": _matches(_UUID % ("4", "[89ab]")),
    "uuid5": _matches(_UUID % ("5", "[89ab]")),
}
