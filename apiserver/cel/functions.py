"""CEL's library: the standard functions, the string and set extensions, and Kubernetes' own. Pure.

A function takes values and returns one; it raises `Failure` where there is none. What takes the wrong types or the
wrong number of values has no such overload.
"""

from __future__ import annotations

import base64
import datetime
import functools
import ipaddress
import itertools
import math
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from api import names, quantity
from apiserver.cel import values
from apiserver.cel.values import (
    Duration,
    Failure,
    Optional,
    Timestamp,
    Type,
    UInt,
    checked_int,
    checked_uint,
    contains,
    equal,
    is_number,
    less,
    no_overload,
    type_name,
)
from apiserver.crd import patterns

Function = Callable[..., Any]
_TEXT_MAX: Final = 10 * 1024 * 1024


@dataclass(frozen=True)
class Library:
    """What can be called: functions by name (`size`, `sets.contains`), methods by name without their target."""

    functions: Mapping[str, Function]
    methods: Mapping[str, Function]

    def extended(self, functions: Mapping[str, Function], methods: Mapping[str, Function]) -> Library:
        """Return the library with more in it."""
        return Library({**self.functions, **functions}, {**self.methods, **methods})


# --- operators ------------------------------------------------------------------------------------------------------


def _add(left: Any, right: Any) -> Any:
    match left, right:
        case (UInt(), UInt()):
            return checked_uint(int(left) + int(right))
        case (bool(), _) | (_, bool()) | (UInt(), _) | (_, UInt()):
            raise no_overload("_+_", left, right)
        case (int(), int()):
            return checked_int(left + right)
        case (float(), float()):
            return left + right
        case (str(), str()) | (bytes(), bytes()):
            if len(left) + len(right) > _TEXT_MAX:
                raise Failure("string too large")
            return left + right
        case (list(), list()):
            return _joined(left, right)
        case (Duration(), Duration()):
            return _duration(left.nanos + right.nanos)
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return _timestamp(left.nanos + right.nanos)
    raise no_overload("_+_", left, right)


def _joined(left: list[Any], right: list[Any]) -> list[Any]:
    if len(left) + len(right) > _TEXT_MAX:
        raise Failure("list too large")
    if not isinstance(left, values.Unordered):
        return [*left, *right]
    made = values.Unordered(left)
    made.keys = left.keys
    places = {_hashable(left.key_of(item)): i for i, item in enumerate(left)}
    for item in right:
        place = places.get(_hashable(left.key_of(item)))
        if place is None:
            made.append(item)
        else:
            made[place] = item
    return made


def _hashable(value: Any) -> Any:
    return repr(value)


def _subtract(left: Any, right: Any) -> Any:
    match left, right:
        case (UInt(), UInt()):
            return checked_uint(int(left) - int(right))
        case (bool(), _) | (_, bool()) | (UInt(), _) | (_, UInt()):
            raise no_overload("_-_", left, right)
        case (int(), int()):
            return checked_int(left - right)
        case (float(), float()):
            return left - right
        case (Duration(), Duration()):
            return _duration(left.nanos - right.nanos)
        case (Timestamp(), Timestamp()):
            return _duration(left.nanos - right.nanos)
        case (Timestamp(), Duration()):
            return _timestamp(left.nanos - right.nanos)
    raise no_overload("_-_", left, right)


def _numbers(name: str, left: Any, right: Any) -> str:
    """Return which arithmetic two numbers need: int, uint or double; both must be of one type."""
    kind = type_name(left)
    if kind != type_name(right) or not is_number(left):
        raise no_overload(name, left, right)
    return kind


def _multiply(left: Any, right: Any) -> Any:
    match _numbers("_*_", left, right):
        case "int":
            return checked_int(left * right)
        case "uint":
            return checked_uint(int(left) * int(right))
    return left * right


def _divide(left: Any, right: Any) -> Any:
    kind = _numbers("_/_", left, right)
    if kind == "double":
        if right == 0:
            return (
                math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
            )
        return left / right
    if right == 0:
        raise Failure("division by zero")
    quotient = abs(int(left)) // abs(int(right))
    signed = quotient if (left < 0) is (right < 0) else -quotient
    return checked_uint(signed) if kind == "uint" else checked_int(signed)


def _modulo(left: Any, right: Any) -> Any:
    kind = _numbers("_%_", left, right)
    if kind == "double":
        raise no_overload("_%_", left, right)
    if right == 0:
        raise Failure("modulus by zero")
    rest = (
        int(math.copysign(abs(int(left)) % abs(int(right)), left))
        if abs(left) < 2**52
        else left - right * int(_divide(left, right))
    )
    return UInt(rest) if kind == "uint" else rest


def _negate(value: Any) -> Any:
    if isinstance(value, float):
        return -value
    if type_name(value) == "int":
        return checked_int(-value)
    if isinstance(value, Duration):
        return _duration(-value.nanos)
    raise no_overload("-_", value)


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise no_overload("!_", value)
    return not value


def _in(value: Any, container: Any) -> bool:
    if isinstance(container, list):
        return contains(container, value)
    if isinstance(container, dict):
        return not isinstance(value, (list, dict)) and value in container
    raise no_overload("@in", value, container)


# --- conversions ----------------------------------------------------------------------------------------------------


def _size(value: Any) -> int:
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    raise no_overload("size", value)


def _int(value: Any) -> int:
    match value:
        case bool():
            raise no_overload("int", value)
        case int():
            return checked_int(int(value))
        case float():
            if not -(2.0**63) <= value < 2.0**63:
                raise Failure("integer overflow")
            return int(value)
        case str():
            if not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
                raise Failure(f'strconv.ParseInt: parsing "{value}": invalid syntax')
            return checked_int(int(value))
        case Timestamp():
            return value.nanos // 10**9
        case Duration():
            return value.nanos
    raise no_overload("int", value)


def _uint(value: Any) -> UInt:
    if isinstance(value, str):
        if not re.fullmatch(r"\d+", value, re.ASCII):
            raise Failure(f'strconv.ParseUint: parsing "{value}": invalid syntax')
        return checked_uint(int(value))
    if is_number(value):
        if isinstance(value, float) and not math.isfinite(value):
            raise Failure("unsigned integer overflow")
        return checked_uint(int(value))
    raise no_overload("uint", value)


def _double(value: Any) -> float:
    if is_number(value):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise Failure(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None
    raise no_overload("double", value)


def _string(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise Failure("invalid UTF-8 in bytes, cannot convert to string") from None
        case Timestamp():
            return _rfc3339(value)
        case Duration():
            return f"{Decimal(value.nanos) / 10**9:f}".rstrip("0").rstrip(".") + "s" if value.nanos else "0s"
        case _ if hasattr(value, "cel_text"):
            return str(value.cel_text())
    raise no_overload("string", value)


def _rfc3339(value: Timestamp) -> str:
    text = value.at(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    nanos = value.nanos % 10**9
    return f"{text}.{nanos:09d}".rstrip("0") + "Z" if nanos else f"{text}Z"


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise no_overload("bytes", value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "TRUE", "t", "1"):
        return True
    if value in ("false", "False", "FALSE", "f", "0"):
        return False
    if isinstance(value, str):
        raise Failure(f'strconv.ParseBool: parsing "{value}": invalid syntax')
    raise no_overload("bool", value)


_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
).fullmatch
_UNITS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def timestamp(value: Any) -> Timestamp:
    """Return a moment from RFC 3339 or from seconds."""
    if isinstance(value, Timestamp):
        return value
    if type_name(value) == "int":
        return _timestamp(value * 10**9)
    if not isinstance(value, str):
        raise no_overload("timestamp", value)
    found = _TIMESTAMP(value)
    try:
        if found is None:
            raise ValueError
        zone = "+00:00" if found[4] in "Zz" else found[4]
        moment = datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
    except ValueError:
        raise Failure(f'parsing time "{value}" as RFC 3339: cannot parse it') from None
    return _timestamp(int(moment.timestamp()) * 10**9 + int((found[3] or "0").ljust(9, "0")))


def _timestamp(nanos: int) -> Timestamp:
    if not -62135596800 <= nanos // 10**9 <= 253402300799:
        raise Failure("timestamp overflow")
    return Timestamp(nanos)


def duration(value: Any) -> Duration:
    """Return a length of time from Go's form of it, `1h30m`."""
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise no_overload("duration", value)
    text = value.lstrip("+-")
    parts = _PART.findall(text)
    if text != "0" and (not parts or "".join(number + unit for number, unit in parts) != text):
        raise Failure(f'time: invalid duration "{value}"')
    nanos = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in parts)
    return _duration(-nanos if value.startswith("-") else nanos)


def _duration(nanos: int) -> Duration:
    return Duration(checked_int(nanos))


def _zone(name: str) -> datetime.tzinfo:
    found = re.fullmatch(r"([+-]?)(\d{1,2}):(\d{2})", name)
    if found:
        offset = datetime.timedelta(hours=int(found[2]), minutes=int(found[3]))
        return datetime.timezone(-offset if found[1] == "-" else offset)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Failure(f"unknown time zone {name}") from None


def _part(name: str, of_time: Callable[[datetime.datetime], int], nanos: int | None = None) -> Function:
    def read(value: Any, zone: Any = "UTC") -> int:
        if isinstance(value, Timestamp) and isinstance(zone, str):
            return of_time(value.at(_zone(zone)))
        if isinstance(value, Duration) and nanos is not None:
            return int(value.nanos / nanos)
        raise no_overload(name, value)

    return read


def _milliseconds(value: Any, zone: Any = "UTC") -> int:
    if isinstance(value, Timestamp):
        return value.nanos // 10**6 % 1000
    if isinstance(value, Duration):
        return int(value.nanos / 10**6)
    raise no_overload("getMilliseconds", value)


# --- strings --------------------------------------------------------------------------------------------------------


def _texts(name: str, *given: Any) -> None:
    if not all(isinstance(value, str) for value in given):
        raise no_overload(name, *given)


def _text(name: str, function: Callable[..., Any], count: int = 1) -> Function:
    """Return a function whose first `count` values must be strings."""

    def call(*given: Any) -> Any:
        _texts(name, *given[:count])
        return function(*given)

    return call


def _matches(text: Any, pattern: Any) -> bool:
    _texts("matches", text, pattern)
    return _pattern(pattern).search(text) is not None


def _pattern(pattern: str) -> Any:
    try:
        return patterns.compile_(pattern)
    except patterns.BadPattern as error:
        raise Failure(str(error)) from None


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise Failure(f"index out of range: {at}")
    return text[at : at + 1]


def _index_of(value: Any, item: Any, start: int = 0) -> int:
    if isinstance(value, list):
        return next((i for i, each in enumerate(value) if equal(each, item)), -1)
    _texts("indexOf", value, item)
    if not 0 <= start <= len(value):
        raise Failure(f"index out of range: {start}")
    return int(value.find(item, start))


def _last_index_of(value: Any, item: Any, end: int | None = None) -> int:
    if isinstance(value, list):
        return next((i for i in range(len(value) - 1, -1, -1) if equal(value[i], item)), -1)
    _texts("lastIndexOf", value, item)
    return int(value.rfind(item) if end is None else value.rfind(item, 0, end + len(item)))


def _join(items: Any, separator: str = "") -> str:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise no_overload("join", items)
    return separator.join(items)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    if count < 0 and old and len(text) + text.count(old) * len(new) > _TEXT_MAX:
        raise Failure("string too large")
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        letters = list(text)
        return letters if count < 0 or len(letters) <= count else [*letters[: count - 1], "".join(letters[count - 1 :])]
    return text.split(separator, count - 1 if count > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= len(text) or not 0 <= stop <= len(text):
        raise Failure(f"index out of range: {start if not 0 <= start <= len(text) else stop}")
    if stop < start:
        raise Failure(f"invalid substring range. start: {start}, end: {stop}")
    return text[start:stop]


def _ascii(text: str, upper: bool) -> str:
    low, high = ("a", "z") if upper else ("A", "Z")
    return "".join(
        (letter.upper() if upper else letter.lower()) if low <= letter <= high else letter for letter in text
    )


def _format(text: str, given: Any) -> str:
    if not isinstance(given, list):
        raise no_overload("format", text, given)
    arguments = iter(given)

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        value = next(arguments, arguments)
        if value is arguments:
            raise Failure(f"index {len(given)} out of range")
        return _formatted(found[2], found[1], value)

    return re.sub(r"%(?:%|(\.\d+)?([a-zA-Z]))", one, text)


def _formatted(verb: str, precision: str | None, value: Any) -> str:
    match verb:
        case "s":
            return _shown(value)
        case "d" if is_number(value):
            return str(int(value))
        case "f" if is_number(value):
            return f"{value:{precision or '.6'}f}"
        case "e" if is_number(value):
            return f"{value:{precision or '.6'}e}"
        case "b" if isinstance(value, int):
            return f"{int(value):b}"
        case "o" if isinstance(value, int):
            return f"{int(value):o}"
        case "x" | "X":
            raw = value.encode() if isinstance(value, str) else value
            text = raw.hex() if isinstance(raw, bytes) else f"{int(raw):x}"
            return text.upper() if verb == "X" else text
    raise Failure(f"could not format value of type {type_name(value)} with %{verb}")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, Type):
        return value.name
    return _string(value)


# --- lists and sets -------------------------------------------------------------------------------------------------


def _is_sorted(items: list[Any]) -> bool:
    return all(not less(after, before) for before, after in itertools.pairwise(items))


def _sum(items: list[Any]) -> Any:
    total: Any = None
    for item in items:
        total = item if total is None else _add(total, item)
    return 0 if total is None else total


def _extreme(name: str, wants_less: bool) -> Function:
    def call(items: Any) -> Any:
        if not isinstance(items, list):
            raise no_overload(name, items)
        if not items:
            raise Failure(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if less(item, best) if wants_less else less(best, item):
                best = item
        return best

    return call


def _flatten(items: Any, depth: int = 1) -> list[Any]:
    made: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth > 0:
            made.extend(_flatten(item, depth - 1))
        else:
            made.append(item)
    return made


def _lists(name: str, function: Callable[..., Any]) -> Function:
    def call(*given: Any) -> Any:
        if not all(isinstance(value, list) for value in given):
            raise no_overload(name, *given)
        return function(*given)

    return call


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    compiled, at = _pattern(pattern), 0
    found: list[str] = []
    while at <= len(text) and len(found) != limit:
        match = compiled.search(text, at)
        if match is None:
            break
        found.append(match[0])
        at = match.end() if match.end() > match.start() else match.end() + 1
    return found


def _find(text: str, pattern: str) -> str:
    match = _pattern(pattern).search(text)
    return match[0] if match is not None else ""


# --- optional values ------------------------------------------------------------------------------------------------


def _optional(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise no_overload("optional", value)
    return value


def _value(value: Any) -> Any:
    if not _optional(value).is_present:
        raise Failure("optional.none() dereference")
    return value.value


def _of_non_zero(value: Any) -> Optional:
    return Optional(value, True) if value or (isinstance(value, bool) and value) else Optional()


# --- Kubernetes' own: quantities, URLs, addresses ---------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """An exact amount, `100Mi`."""

    amount: Decimal
    cel_type = "kubernetes.Quantity"

    def cel_text(self) -> str:
        return format(self.amount, "f")


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(Decimal(quantity.parse(text).nanos) / 10**9)
    except (ValueError, ArithmeticError):
        raise Failure(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ) from None


def _can(function: Function) -> Function:
    def call(value: Any) -> bool:
        try:
            function(value)
        except Failure:
            return False
        return True

    return call


def _amount(value: Any) -> Decimal:
    if isinstance(value, Quantity):
        return value.amount
    if type_name(value) == "int":
        return Decimal(value)
    raise no_overload("quantity", value)


def _is_integer(value: Any) -> bool:
    amount = _amount(value)
    return amount == amount.to_integral_value() and values.INT_MIN <= amount <= values.INT_MAX


def _as_integer(value: Any) -> int:
    if not _is_integer(value):
        raise Failure("cannot convert value to integer")
    return int(_amount(value))


def _compare_to(left: Any, right: Any) -> int:
    one, other = _amount(left), _amount(right)
    return (one > other) - (one < other)


@dataclass(frozen=True)
class Url:
    """A URL."""

    text: str
    cel_type = "kubernetes.URL"


def _url(text: str) -> Url:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise Failure(f"URL parse error during conversion from string: {error}") from None
    if not (parts.scheme and (parts.netloc or parts.path)) and not text.startswith("/"):
        raise Failure(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    return Url(text)


def _url_part(read: Callable[[Any], Any]) -> Function:
    def call(value: Any) -> Any:
        if not isinstance(value, Url):
            raise no_overload("url", value)
        return read(urlsplit(value.text))

    return call


@dataclass(frozen=True)
class Ip:
    """An IP address."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    cel_type = "net.IP"

    def cel_text(self) -> str:
        return str(self.address)


def _ip(value: Any) -> Ip:
    if isinstance(value, Cidr):
        return Ip(value.interface.ip)
    _texts("ip", value)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise Failure(f'IP Address "{value}" parse error during conversion from string') from None
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise Failure(f'IP Address "{value}" parse error during conversion from string')
    return Ip(address)


@dataclass(frozen=True)
class Cidr:
    """A network, and the address by which it was named."""

    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    cel_type = "net.CIDR"

    def cel_text(self) -> str:
        return str(self.interface)


def _cidr(value: Any) -> Cidr:
    _texts("cidr", value)
    try:
        if "/" not in value:
            raise ValueError
        return Cidr(ipaddress.ip_interface(value))
    except ValueError:
        raise Failure(f'network address parse error during conversion from string: invalid CIDR "{value}"') from None


def _family(value: Any) -> int:
    if isinstance(value, Ip):
        return value.address.version
    raise no_overload("family", value)


def _address(read: str) -> Function:
    def call(value: Any) -> bool:
        if not isinstance(value, Ip):
            raise no_overload("ip", value)
        address = value.address
        match read:
            case "global":
                return not (
                    address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
                )
            case "link_local_multicast":
                return address in ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")
            case "link_local_unicast":
                return address.is_link_local
        return bool(getattr(address, read))

    return call


def _contains_ip(network: Any, value: Any) -> bool:
    address = _ip(value) if isinstance(value, str) else value
    if not isinstance(network, Cidr) or not isinstance(address, Ip):
        raise no_overload("containsIP", network, value)
    return address.address in network.interface.network


def _contains_cidr(network: Any, value: Any) -> bool:
    other = _cidr(value) if isinstance(value, str) else value
    if not isinstance(network, Cidr) or not isinstance(other, Cidr):
        raise no_overload("containsCIDR", network, value)
    inner, outer = other.interface.network, network.interface.network
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _masked(network: Any) -> Cidr:
    return Cidr(ipaddress.ip_interface(str(network.interface.network)))


@dataclass(frozen=True)
class Format:
    """A named form of strings, `format.dns1123Label()`."""

    check: Callable[[str], list[str]]
    cel_type = "kubernetes.NamedFormat"


def _says(works: Callable[[str], bool], why: str) -> Callable[[str], list[str]]:
    return lambda text: [] if works(text) else [why]


_FORMATS: Final[dict[str, Callable[[str], list[str]]]] = {
    "dns1123Label": names.check_label,
    "dns1123Subdomain": names.check_subdomain,
    "dns1035Label": names.check_label_1035,
    "qualifiedName": names.check_qualified_name,
    "labelValue": names.check_label_value,
    "dns1123LabelPrefix": lambda text: names.check_label(text.removesuffix("-")),
    "dns1123SubdomainPrefix": lambda text: names.check_subdomain(text.removesuffix("-")),
    "dns1035LabelPrefix": lambda text: names.check_label_1035(text.removesuffix("-")),
    "uri": _says(_can(lambda text: _url(text)), "invalid URI"),
    "uuid": _says(lambda text: re.fullmatch("(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None,
                  "does not match the UUID format"),
    "byte": _says(lambda text: _decodes(text), "invalid base64"),
    "date": _says(lambda text: re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is not None, "invalid date"),
    "datetime": _says(_can(timestamp), "invalid datetime"),
}  # fmt: skip


def _decodes(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _named(name: Any) -> Optional:
    return Optional(Format(_FORMATS[name]), True) if name in _FORMATS else Optional()


def _validate(value: Any, text: Any = None) -> Optional:
    if not isinstance(value, Format) or not isinstance(text, str):
        raise no_overload("validate", value, text)
    wrong = value.check(text)
    return Optional(wrong, True) if wrong else Optional()


_FUNCTIONS: Final[dict[str, Function]] = {
    "_==_": equal,
    "_!=_": lambda left, right: not equal(left, right),
    "_<_": less,
    "_>_": lambda left, right: less(right, left),
    "_<=_": lambda left, right: less(left, right) or equal(left, right),
    "_>=_": lambda left, right: less(right, left) or equal(left, right),
    "_+_": _add, "_-_": _subtract, "_*_": _multiply, "_/_": _divide, "_%_": _modulo, "-_": _negate, "!_": _not,
    "@in": _in, "size": _size, "int": _int, "uint": _uint, "double": _double, "string": _string, "bytes": _bytes,
    "bool": _bool, "type": lambda value: Type(type_name(value)), "dyn": lambda value: value, "timestamp": timestamp,
    "duration": duration, "matches": _matches,
    "optional.of": lambda value: Optional(value, True), "optional.none": Optional,
    "optional.ofNonZeroValue": _of_non_zero,
    "quantity": _text("quantity", _quantity), "isQuantity": _text("isQuantity", _can(_quantity)),
    "url": _text("url", _url), "isURL": _text("isURL", _can(_url)),
    "ip": _ip, "isIP": _text("isIP", _can(_ip)), "cidr": _cidr, "isCIDR": _text("isCIDR", _can(_cidr)),
    "ip.isCanonical": lambda text: str(_ip(text).address) == text,
    "sets.contains": _lists("sets.contains", lambda one, other: all(contains(one, item) for item in other)),
    "sets.intersects": _lists("sets.intersects", lambda one, other: any(contains(one, item) for item in other)),
    "sets.equivalent": _lists("sets.equivalent", lambda one, other: all(contains(one, item) for item in other)
                              and all(contains(other, item) for item in one)),
    "strings.quote": _text("strings.quote", lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
    "math.greatest": lambda *given: _extreme("max", False)(_flatten(list(given))),
    "math.least": lambda *given: _extreme("min", True)(_flatten(list(given))),
    "format.named": _named,
    **{f"format.{name}": functools.partial(Format, check) for name, check in _FORMATS.items()},
}  # fmt: skip

_METHODS: Final[dict[str, Function]] = {
    "size": _size, "matches": _matches,
    "contains": _text("contains", lambda text, part: part in text, 2),
    "startsWith": _text("startsWith", str.startswith, 2), "endsWith": _text("endsWith", str.endswith, 2),
    "charAt": _text("charAt", _char_at), "indexOf": _index_of, "lastIndexOf": _last_index_of, "join": _join,
    "lowerAscii": _text("lowerAscii", lambda text: _ascii(text, upper=False)),
    "upperAscii": _text("upperAscii", lambda text: _ascii(text, upper=True)),
    "replace": _text("replace", _replace, 3), "split": _text("split", _split, 2),
    "substring": _text("substring", _substring), "trim": _text("trim", lambda text: text.strip()),
    "format": _text("format", _format), "reverse": _text("reverse", lambda text: text[::-1]),
    "find": _text("find", _find, 2), "findAll": _text("findAll", _find_all, 2),
    "getFullYear": _part("getFullYear", lambda time: time.year),
    "getMonth": _part("getMonth", lambda time: time.month - 1),
    "getDate": _part("getDate", lambda time: time.day),
    "getDayOfMonth": _part("getDayOfMonth", lambda time: time.day - 1),
    "getDayOfWeek": _part("getDayOfWeek", lambda time: time.isoweekday() % 7),
    "getDayOfYear": _part("getDayOfYear", lambda time: time.timetuple().tm_yday - 1),
    "getHours": _part("getHours", lambda time: time.hour, 3600 * 10**9),
    "getMinutes": _part("getMinutes", lambda time: time.minute, 60 * 10**9),
    "getSeconds": _part("getSeconds", lambda time: time.second, 10**9), "getMilliseconds": _milliseconds,
    "isSorted": _lists("isSorted", _is_sorted), "sum": _lists("sum", _sum), "min": _extreme("min", True),
    "max": _extreme("max", False), "flatten": _flatten,
    "hasValue": lambda value: _optional(value).is_present, "value": _value,
    "or": lambda value, other: value if _optional(value).is_present else _optional(other),
    "orValue": lambda value, other: value.value if _optional(value).is_present else other,
    "isInteger": _is_integer, "asInteger": _as_integer, "asApproximateFloat": lambda value: float(_amount(value)),
    "sign": lambda value: (_amount(value) > 0) - (_amount(value) < 0),
    "add": lambda value, other: Quantity(_amount(value) + _amount(other)),
    "sub": lambda value, other: Quantity(_amount(value) - _amount(other)),
    "isGreaterThan": lambda value, other: _compare_to(value, other) > 0,
    "isLessThan": lambda value, other: _compare_to(value, other) < 0, "compareTo": _compare_to,
    "getScheme": _url_part(lambda parts: parts.scheme), "getHost": _url_part(lambda parts: parts.netloc.split("@")[-1]),
    "getHostname": _url_part(lambda parts: parts.hostname or ""),
    "getPort": _url_part(lambda parts: str(parts.port or "")),
    "getEscapedPath": _url_part(lambda parts: quote(parts.path, safe="/%:@!$&'()*+,;=~-._")),
    "getQuery": _url_part(lambda parts: parse_qs(parts.query, keep_blank_values=True)),
    "family": _family, "isUnspecified": _address("is_unspecified"), "isLoopback": _address("is_loopback"),
    "isLinkLocalMulticast": _address("link_local_multicast"), "isLinkLocalUnicast": _address("link_local_unicast"),
    "isGlobalUnicast": _address("global"), "containsIP": _contains_ip, "containsCIDR": _contains_cidr,
    "ip": _ip, "masked": _masked, "prefixLength": lambda network: network.interface.network.prefixlen,
    "validate": _validate,
}  # fmt: skip

STANDARD: Final = Library(_FUNCTIONS, _METHODS)
"""What every expression can call."""
