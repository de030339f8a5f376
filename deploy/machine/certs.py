"""`steer certs`: when this machine's certificates end, and new ones.

Control-plane machines issue their own, whether or not anything runs: a cluster whose certificates have all ended is
healed by `steer certs renew` on each of its machines. A node's certificates are renewed by its kubelet; where that
could not, because the machine was off for too long, it needs a new bootstrap token.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deploy.machine import credentials, host
from deploy.machine.build import Site
from deploy.machine.credentials import Certificate
from deploy.machine.plan import KUBELET_PORT, METRICS_PORT, SECURE_PORT, STORE_CLIENT_PORT, service
from deploy.report import CannotDo, Report

SOON_DAYS = 30
SELF_READING = ("kubelet",)
"""Whose files are not handed out by systemd: it reads its own."""
SHOWN = {
    "store": (STORE_CLIENT_PORT, "store/member"),
    "apiserver": (SECURE_PORT, "cluster/apiserver"),
    "metrics": (METRICS_PORT, "cluster/metrics"),
    "kubelet": (KUBELET_PORT, "node/serving"),
}
"""Who shows a certificate to whoever connects, where, and which."""
SHOWN_WITHIN_S = 15.0
CONNECT_WITHIN_S = 3.0


def advice(certificates: list[Certificate], *, is_control_plane: bool) -> list[str]:
    """Return what is to be done about certificates that end soon or have ended; empty for nothing."""
    now = credentials.now()
    soon = [each for each in certificates if 0 < each.days_left(now) < SOON_DAYS and not each.name.endswith("/ca")]
    lines = credentials.ended_advice(certificates, is_control_plane=is_control_plane)
    if soon:
        lines.append(f"ending within {SOON_DAYS} days: {', '.join(each.name for each in soon)}: renewed by themselves")
    lines += [
        f"{each.name} ends in {each.days_left(now):.0f} days, and all it signed with it: plan a new cluster"
        for each in certificates
        if each.name.endswith("/ca") and each.days_left(now) < 365
    ]
    return lines


def renew(site: Site, report: Report) -> None:
    """Issue this machine's certificates anew and start its processes again with them, one after the other.

    Raises:
        CannotDo: this machine has no CA's key, or a process did not get ready again.
    """
    if not site.machine.is_control_plane:
        raise CannotDo(
            f"{site.machine.name} is a worker machine, and its kubelet renews its certificates in time. If they have "
            "ended: `steer token create` on a control-plane machine, and here `steer join` as it prints"
        )
    report("issue certificates")
    concerned = [*credentials.issue(site.layout, site.machine, anew=True), "kubelet"]
    hand_out(site, concerned, report)
    others = [member.name for member in site.machine.members if member.name != site.machine.name]
    try:
        for name in concerned:
            report(f"wait until {service(name)} is ready")
            site.await_ready(name)
    except CannotDo as error:
        if not others:
            raise
        raise CannotDo(
            f"{error}\nthis machine's certificates are new and handed out; where those of {' and '.join(others)} have "
            "ended too, `steer certs renew` there is what it waits for"
        ) from None


def hand_out(site: Site, names: Sequence[str], report: Report) -> None:
    """Have processes use their new certificates while they run; one that does not take them is started again.

    All are handed theirs before any is looked at: when everything has ended, none is well before its neighbours are.

    Raises:
        CannotDo: a process that had to be started again does not start.
    """
    states = {name: site.systemd.state(service(name)).active for name in names}
    running = [name for name in names if states[name] == "active"]
    for name in names:
        if states[name] == "failed":
            report(f"start {service(name)}, which had failed")
            with contextlib.suppress(CannotDo):  # it is looked at again by whoever waits for it
                site.systemd.start(service(name))
    for name in running:
        if name in SELF_READING:
            continue
        report(f"hand {service(name)} its certificates")
        try:
            site.systemd.hand_over(service(name))
        except CannotDo as error:
            report(f"restart {service(name)}: {error}")
            site.systemd.restart(service(name))
    for name in running:
        if name in SHOWN and not host.wait_until(partial(shows_its_own, site, name), SHOWN_WITHIN_S):
            report(f"restart {service(name)}, which still shows the former one")
            site.systemd.restart(service(name))


def shows_its_own(site: Site, name: str) -> bool:
    """Whether a process shows whoever connects the certificate that is in its file."""
    port, certificate = SHOWN[name]
    file = next(each.path for each in credentials.certificates(site.layout, site.machine) if each.name == certificate)
    with contextlib.suppress(OSError, ValueError):
        shown = ssl.get_server_certificate((site.machine.address, port), timeout=CONNECT_WITHIN_S)
        return ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert(_first_certificate(file))
    return False


def _first_certificate(file: Path) -> str:
    text = file.read_text()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return text[text.index(begin) : text.index(end) + len(end)]
