"""`steer init`: the first machine of a cluster."""

from __future__ import annotations

from pathlib import Path

from deploy.machine import backup, certs, cluster, credentials, install
from deploy.machine.build import Site, base_steps, finish_steps, record_step, start_steps, unit_steps
from deploy.machine.host import read_machine
from deploy.machine.plan import CONTROL_PLANE, NODE, Layout, Machine, Member
from deploy.machine.steps import Step, never
from deploy.report import CannotDo, Report


def first_machine(name: str, address: str, failover: str, names: list[str]) -> Machine:
    """Return what the first machine of a cluster is."""
    member = Member(name=name, address=address)
    return Machine(
        name=name,
        address=address,
        role="control-plane",
        members=[member],
        founder=name,
        failover="fast" if failover == "fast" else "default",
        names=names,
    )


def settle(wanted: Machine, layout: Layout) -> Machine:
    """Return `wanted`, seen against what this machine is already: what it was made as stays.

    Raises:
        CannotDo: it is something else.
    """
    existing = read_machine(layout)
    if existing is None:
        return wanted
    if existing.founder != wanted.name or existing.name != wanted.name:
        raise CannotDo(
            f"this machine is {existing.name} of the cluster that {existing.founder or 'another machine'} began: "
            "`steer leave` or `steer reset` comes before another `steer init`"
        )
    if existing.address != wanted.address:
        raise CannotDo(
            f"this machine was set up with --address {existing.address}, and its certificates and store know it by "
            f"that: give the same, or `steer reset` first"
        )
    existing.names = list(dict.fromkeys([*existing.names, *wanted.names]))
    return existing


def steps(site: Site, report: Report, *, keys: Path | None = None, snapshot: Path | None = None) -> list[Step]:
    """Return the steps from a bare machine to a cluster of one.

    `keys` and `snapshot` are those of a cluster that is no more, and that this is to be again (`backup`).
    """
    machine, layout = site.machine, site.layout
    again = []
    if keys is not None:
        path = keys
        again.append(Step(f"take the keys from {path}", never, lambda: backup.import_keys(layout, path)))
    return [
        *base_steps(site),
        record_step(site),
        *again,
        Step("issue certificates", never, lambda: _issue(site, report)),
        *unit_steps(site),
        *([_restore_step(site, snapshot, report)] if snapshot is not None else []),
        *start_steps(site, CONTROL_PLANE[:2]),
        Step("wait for the API server", never, lambda: site.await_ready("apiserver")),
        *start_steps(site, (*NODE, *CONTROL_PLANE[2:])),
        cluster.announce_step(layout, machine, install.running_version()),
        *finish_steps(site),
        cluster.ready_step(layout, machine, install.running_version()),
    ]


def _restore_step(site: Site, snapshot: Path, report: Report) -> Step:
    return Step(
        f"restore the store from {snapshot}",
        lambda: (site.layout.data / "store" / "state").exists(),
        lambda: backup.restore(site, snapshot, report),
    )


def _issue(site: Site, report: Report) -> None:
    certs.hand_out(site, credentials.issue(site.layout, site.machine), report)
