"""What may stand where an IP address is asked for. Pure."""

from __future__ import annotations

import ipaddress

from api import validation as v


def check_ip(path: str, value: str) -> v.Errors:
    """Require an IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield v.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def check_cidr(path: str, value: str) -> v.Errors:
    """Require a range of IP addresses, with bits beyond its length or without."""
    try:
        if "/" not in value:
            raise ValueError(value)
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        yield v.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


def check_usable_ip(path: str, value: str) -> v.Errors:
    """Require an IP address at which something can be reached from another machine."""
    wrong = list(check_ip(path, value))
    yield from wrong
    if wrong:
        return
    ip = ipaddress.ip_address(value)
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
