"""What Kubernetes adds to CEL: quantities, URLs, addresses of networks, and named forms of text. Pure."""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from api import names, quantity
from apiserver.cel import values
from apiserver.cel.library import Function, can, of_text, require_texts
from apiserver.cel.times import timestamp
from apiserver.cel.values import Failure, Optional, no_overload, type_name
from apiserver.uris import is_request_uri


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
    except (ValueError, ArithmeticError) as error:
        raise Failure(str(error)) from None


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
    if not is_request_uri(text):
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
    require_texts("ip", value)
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise Failure(f'IP Address "{value}" parse error during conversion from string') from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise Failure(f'IPv4-mapped IPv6 address "{value}" is not allowed')
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise Failure(f'IP address "{value}" with zone value is not allowed')
    return Ip(address)


@dataclass(frozen=True)
class Cidr:
    """A network, and the address by which it was named."""

    interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    cel_type = "net.CIDR"

    def cel_text(self) -> str:
        return str(self.interface)


def _cidr(value: Any) -> Cidr:
    require_texts("cidr", value)
    try:
        if "/" not in value:
            raise ValueError
        return Cidr(ipaddress.ip_interface(value))
    except ValueError:
        raise Failure(f'network address parse error during conversion from string: invalid CIDR "{value}"') from None


_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


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
                return address != _BROADCAST and not (
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


def _network(name: str, value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(value, Cidr):
        raise no_overload(name, value)
    return value.interface.network


def _masked(value: Any) -> Cidr:
    return Cidr(ipaddress.ip_interface(str(_network("masked", value))))


@dataclass(frozen=True)
class Format:
    """A named form of strings, `format.dns1123Label()`."""

    check: Callable[[str], list[str]]
    cel_type = "kubernetes.NamedFormat"


def _says(works: Callable[[str], bool], why: str) -> Callable[[str], list[str]]:
    return lambda text: [] if works(text) else [why]


def _of_prefix(prefix: str) -> str:
    """Return what stands for a prefix, which may end in a dash; upstream takes the letter before it away too."""
    return f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix


_FORMATS: Final[dict[str, Callable[[str], list[str]]]] = {
    "dns1123Label": names.check_label,
    "dns1123Subdomain": names.check_subdomain,
    "dns1035Label": names.check_label_1035,
    "qualifiedName": names.check_qualified_name,
    "labelValue": names.check_label_value,
    "dns1123LabelPrefix": lambda text: names.check_label(_of_prefix(text)),
    "dns1123SubdomainPrefix": lambda text: names.check_subdomain(_of_prefix(text)),
    "dns1035LabelPrefix": lambda text: names.check_label_1035(_of_prefix(text)),
    "uri": lambda text: [] if is_request_uri(text) else [f'parse "{text}": invalid URI for request'],
    "uuid": _says(lambda text: re.fullmatch("(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None,
                  "does not match the UUID format"),
    "byte": _says(lambda text: _decodes(text), "invalid base64"),
    "date": _says(can(lambda text: timestamp(f"{text}T00:00:00Z")), "invalid date"),
    "datetime": _says(can(timestamp), "invalid datetime"),
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


FUNCTIONS: Final[dict[str, Function]] = {
    "quantity": of_text("quantity", _quantity), "isQuantity": of_text("isQuantity", can(_quantity)),
    "url": of_text("url", _url), "isURL": of_text("isURL", can(_url)),
    "ip": _ip, "isIP": of_text("isIP", can(_ip)), "cidr": _cidr, "isCIDR": of_text("isCIDR", can(_cidr)),
    "ip.isCanonical": lambda text: str(_ip(text).address) == text,
    "format.named": _named,
    **{f"format.{name}": functools.partial(Format, check) for name, check in _FORMATS.items()},
}  # fmt: skip

METHODS: Final[dict[str, Function]] = {
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
    "ip": _ip, "masked": _masked, "prefixLength": lambda value: _network("prefixLength", value).prefixlen,
    "validate": _validate,
}  # fmt: skip
