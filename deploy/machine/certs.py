"""`steer certs`: when this machine's certificates end, and new ones.

Control-plane machines issue their own, whether or not anything runs: a cluster whose certificates have all ended is
healed by `steer certs renew` on each of its machines. A node's certificates are renewed by its kubelet; where that
could not, because the machine was off for too long, it needs a new bootstrap token.
"""

from __future__ import annotations

from deploy.machine import credentials
from deploy.machine.build import Site
from deploy.machine.credentials import Certificate
from deploy.machine.plan import NODE, service, service_names
from deploy.report import CannotDo, Report

SOON_DAYS = 30


def advice(certificates: list[Certificate], *, is_control_plane: bool) -> list[str]:
    """Return what is to be done about certificates that end soon or have ended; empty for nothing."""
    now = credentials.now()
    over = [each for each in certificates if each.days_left(now) <= 0 and not each.name.endswith("/ca")]
    soon = [each for each in certificates if 0 < each.days_left(now) < SOON_DAYS and not each.name.endswith("/ca")]
    lines = []
    if over:
        lines.append(f"over: {', '.join(each.name for each in over)}")
        lines.append(
            "run `steer certs renew` on this machine"
            if is_control_plane
            else "run `steer token create` on a control-plane machine, and on this one `steer join` as it prints"
        )
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
    report("issuing certificates")
    concerned = credentials.issue(site.layout, site.machine, anew=True)
    names = [name for name in service_names(site.machine.role) if name in concerned or name in NODE[1:]]
    active = [name for name in names if site.systemd.state(service(name)).active != "inactive"]
    # All first, then each looked at: when everything has ended, none gets ready before its neighbours are started too.
    for name in active:
        report(f"restarting {service(name)}")
        site.systemd.restart(service(name))
    for name in active:
        site.await_ready(name)
