"""`steer status` on a machine under systemd: its units as systemd and they themselves see them."""

from __future__ import annotations

import time

from deploy.health import problem_of, resident_bytes
from deploy.inspect import View, look_at
from deploy.local import ProcessStatus
from deploy.machine import credentials
from deploy.machine.host import Systemd
from deploy.machine.plan import (
    STORE_CLIENT_PORT,
    Layout,
    Machine,
    Unit,
    endpoints,
    own_first,
    service,
    service_names,
    units,
)
from deploy.pki import expiry


def processes(layout: Layout, machine: Machine, systemd: Systemd) -> list[ProcessStatus]:
    """Return every process of this machine as it is now, in the order they start."""
    planned = {unit.name: unit for unit in units(machine, layout)}
    return [_process(layout, machine, systemd, name, planned.get(name)) for name in service_names(machine.role)]


def _process(layout: Layout, machine: Machine, systemd: Systemd, name: str, unit: Unit | None) -> ProcessStatus:
    state = systemd.state(service(name))
    running = state.active == "active" and state.pid > 0
    problem = "" if running else state.active
    if running and unit is not None:
        identity = credentials.admin_identity(layout) if machine.is_control_plane else None
        problem = problem_of(unit.health, identity) or ""
    return ProcessStatus(
        name=name,
        pid=state.pid,
        node=machine.name,
        is_running=running,
        is_ready=not problem if running and unit is not None else None,
        problem=problem,
        restarts=state.restarts,
        uptime_s=time.clock_gettime(time.CLOCK_MONOTONIC) - state.since if running else 0.0,
        rss_bytes=resident_bytes(state.pid) if running else 0,
        certificate_ends=_certificate_end(layout, name),
        log=f"journalctl -u {service(name)}",
    )


def _certificate_end(layout: Layout, name: str) -> str:
    shown = {each: stem for stem, users in credentials.USED_BY.items() for each in reversed(users)}
    if name in ("kubelet", "kubeproxy"):
        ends = expiry(layout.kubelet_pki / "client.pem")
    elif name in shown:
        ends = expiry(layout.pki / f"{shown[name]}.crt")
    else:
        return ""
    return ends.strftime("%Y-%m-%d") if ends else "missing"


def warnings(layout: Layout, machine: Machine) -> list[str]:
    """Return what whoever looks should do about this machine soon; empty for nothing."""
    found = credentials.certificates(layout, machine)
    return credentials.ended_advice(found, is_control_plane=machine.is_control_plane)


def view(layout: Layout, machine: Machine) -> View | None:
    """Return what the cluster says of itself; None on a worker, which may not ask."""
    if not machine.is_control_plane:
        return None
    stores = [f"{member.address}:{STORE_CLIENT_PORT}" for member in own_first(machine)]
    return look_at(stores, credentials.store_identity(layout), endpoints(machine), credentials.admin_identity(layout))
