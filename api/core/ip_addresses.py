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
        (ip.is_multicast, "may not be in the multicast range (224.0.0.0/4, ff00::/8)"),
    ):
        if is_bad:
            yield v.invalid(path, value, what)
