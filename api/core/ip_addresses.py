"""What may stand where an IP address is asked for. Pure.

Numbers in it may begin with zeros, which say nothing: `010.0.0.1` is 10.0.0.1, as Kubernetes always had it. It is kept
as it was given, so whoever uses an address that a user wrote has to put it into `plain` form first.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from api import validation as v

_ZEROS: Final = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9A-Fa-f])")


def plain(text: str) -> str:
    """Return an address or range without zeros that say nothing; anything else perhaps changed, but no better."""
    return _ZEROS.sub("", text) if _ZEROS.search(text) else text


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address; None for what is none, such as one that names an interface."""
    try:
        return None if "%" in text else ipaddress.ip_address(plain(text))
    except ValueError:
        return None


def parse_cidr(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a range of IP addresses, written as an address and how many of its bits count; None for what is none."""
    address, slash, length = text.partition("/")
    try:
        is_one = slash and "%" not in address and length.isascii() and length.isdecimal()
        return ipaddress.ip_network(plain(text), strict=False) if is_one else None
    except ValueError:
        return None


def check_ip(path: str, value: str) -> v.Errors:
    """Require an IP address, without a zone."""
    if parse_ip(value) is None:
        yield v.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def check_cidr(path: str, value: str) -> v.Errors:
    """Require a range of IP addresses, with bits beyond its length or without."""
    if parse_cidr(value) is None:
        yield v.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


def check_usable_ip(path: str, value: str) -> v.Errors:
    """Require an IP address at which something can be reached from another machine."""
    ip = parse_ip(value)
    if ip is None:
        yield v.invalid(path, value, "must be a valid IP address")
        return
    for is_bad, what in (
        (ip.is_unspecified, f"may not be unspecified ({ip})"),
        (ip.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (ip.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            any(ip in each for each in _LINK_LOCAL_MULTICAST if each.version == ip.version),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ):
        if is_bad:
            yield v.invalid(path, value, what)
