"""Three machines of a control plane through their life: from nothing, restarts, power cuts, renewal, leaving, again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.x509 import load_pem_x509_certificate

from deploy import pki
from deploy.machine.credentials import node_leaves
from deploy.machine.plan import HEALTH_PORTS, SECURE_PORT, Layout, Machine, service_names
from lab.chaos.machines.site import Site
from lab.machines.lab import Lab as Machines
from tests.e2e.machine_cluster import KUBECTL, Cluster, UnderLoad, lab_of

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

MACHINES = ("m1", "m2", "m3")
LAYOUT = Layout()
CONTROLLERS_ENV = LAYOUT.etc / "steersman-controllers.env"
READY_WITHIN_S = 180.0
HEALTHY_WITHIN_S = 30.0
RESTART = """
systemctl restart steersman-$1
until systemctl -q is-active steersman-$1 && { [ -z "$2" ] || curl -fsko /dev/null --max-time 1 "$2"; }; do
  sleep 0.05
done
"""
"""Restarts a unit and comes back when it says that it is ready."""
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 3, selector: {matchLabels: {app: web}}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab_of(tmp_path_factory.mktemp("life") / "lab", 3) as made:
        took_s = made.bring_up(["control-plane", "control-plane"])
        print(f"from nothing to three Ready nodes: {took_s:.1f} s")
        assert took_s < READY_WITHIN_S
        for machine in MACHINES:
            made.on(machine, "steer", "reset", "--yes")
        again_s = made.bring_up(["control-plane", "control-plane"])
        print(f"and again after `steer reset` on all: {again_s:.1f} s")
        assert again_s < READY_WITHIN_S
        for machine in MACHINES:
            made.on(machine, "systemctl", "start", "steersman-sync")  # else within a minute: those that joined later
        made.run_example()
        yield made


def health_of(unit: str) -> str:
    if unit == "apiserver":
        return f"https://127.0.0.1:{SECURE_PORT}/readyz"
    return f"http://127.0.0.1:{HEALTH_PORTS[unit]}/readyz" if unit in HEALTH_PORTS else ""


def test_every_unit_is_restarted_and_neither_pods_nor_services_notice(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.containers()
    took_s = {}
    with UnderLoad(cluster, tmp_path) as load:
        for unit in service_names("control-plane"):
            began = time.monotonic()
            cluster.on("m1", "sh", "-c", RESTART, "sh", unit, health_of(unit))
            took_s[unit] = time.monotonic() - began
    print({unit: f"{seconds:.1f} s" for unit, seconds in took_s.items()}, load.judged, sep="\n")
    assert load.judged.findings == [] and load.judged.failed == []
    assert cluster.containers() == before
    assert {unit for unit, seconds in took_s.items() if seconds > HEALTHY_WITHIN_S} == set()


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_a_machine_comes_back_by_itself(cluster: Cluster, how: str) -> None:
    boots = cluster.on("m2", "journalctl", "--list-boots", "--no-pager").count("\n")
    began = time.monotonic()
    if how == "reboot":
        cluster.on("m2", "systemctl", "reboot")
    else:
        cluster.lab("power-off", "m2")
        cluster.lab("power-on", "m2")

    def is_back() -> bool:
        done = cluster.try_on("m2", "journalctl", "--list-boots", "--no-pager")
        return done.stdout.count("\n") > boots and cluster.try_on("m2", "steer", "status").returncode == 0

    cluster.await_(is_back, "m2 booted, and every process of it is ready", within_s=120)
    print(f"{how}: every process ready again after {time.monotonic() - began:.1f} s")
    cluster.await_(lambda: cluster.nodes()["m2"] == "True", "m2 is Ready")


def test_certificates_are_renewed_while_everything_runs(cluster: Cluster, tmp_path: Path) -> None:
    units = tuple(service_names("control-plane"))
    before = {machine: cluster.pids(machine, *units) for machine in MACHINES}
    containers = cluster.containers()
    old = {machine: ends_of(cluster, machine) for machine in MACHINES}
    time.sleep(1)  # a certificate's end has whole seconds
    took_s = []
    with UnderLoad(cluster, tmp_path) as load:
        for machine in MACHINES:
            began = time.monotonic()
            said = cluster.on(machine, "sh", "-c", "steer certs renew 2>&1")
            took_s.append(time.monotonic() - began)
            assert "restart" not in said, said
        for machine in MACHINES:
            cluster.await_(lambda machine=machine: takes(cluster, machine) == set(), f"{machine} took all", within_s=30)
    print(f"steer certs renew: {[f'{each:.1f} s' for each in took_s]}", load.judged, sep="\n")
    assert load.judged.findings == [] and load.judged.failed == []
    assert cluster.containers() == containers
    assert {machine: cluster.pids(machine, *units) for machine in MACHINES} == before
    for machine in MACHINES:
        renewed = ends_of(cluster, machine)
        kept = {name for name, ends in renewed.items() if ends <= old[machine][name]}
        assert {name for name in kept if not name.endswith("/ca")} == set()


def ends_of(cluster: Cluster, machine: str) -> dict[str, str]:
    shown = json.loads(cluster.on(machine, "steer", "certs", "status", "-o", "json"))
    return {each["name"]: each["ends"] for each in shown}


def takes(cluster: Cluster, machine: str) -> set[str]:
    """Return which processes have not said yet that they use a new certificate.

    Those that only watch, DNS and kubeproxy, have a new one at hand for when they next connect or ask.
    """
    wanted = {"store", "apiserver", "controllers", "scheduler", "metrics", "kubelet"}
    said = cluster.on(
        machine, "journalctl", "-b", "--since=-3min", "-o", "json", "--output-fields=_SYSTEMD_UNIT,MESSAGE"
    )
    for line in said.splitlines():
        entry = json.loads(line)
        if "renewed" in str(entry.get("MESSAGE", "")):
            wanted.discard(entry.get("_SYSTEMD_UNIT", "").removeprefix("steersman-").removesuffix(".service"))
    return wanted


def test_a_kubelet_renews_its_certificates_in_time_while_it_runs(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = "FLAGS=--cluster-signing-duration-s 90"
    restart = "systemctl restart steersman-controllers"
    for machine in MACHINES:
        cluster.on(machine, "sh", "-c", f"echo '{short}' > {CONTROLLERS_ENV}; {restart}")
    monkeypatch.setattr(pki, "LEAF_VALIDITY", timedelta(seconds=90))
    authority = authority_of(cluster, tmp_path / "ca")
    machine = msgspec.json.decode(cluster.on("m2", "cat", str(LAYOUT.machine)), type=Machine)
    before = cluster.pids("m2", "kubelet"), cluster.containers()
    # A control-plane machine has the authority's key, and replaces by itself what is about to end: for a year again.
    cluster.on("m2", "systemctl", "stop", "steersman-sync.timer")
    for leaf in node_leaves(machine):
        authority.ensure_in_one(leaf, tmp_path / leaf.stem)
        cluster.on("m2", "tee", f"{LAYOUT.kubelet_pki}/new", given=(tmp_path / leaf.stem).read_text())
        cluster.on("m2", "sh", "-c", f"cd {LAYOUT.kubelet_pki}; chmod 600 new; mv new {leaf.stem}.pem")
    began = time.monotonic()
    seen = {leaf.stem: [serial(cluster, "m2", leaf.stem)] for leaf in node_leaves(machine)}
    with UnderLoad(cluster, tmp_path) as load:

        def has_renewed_all_twice() -> bool:
            assert cluster.nodes()["m2"] == "True"
            for stem, serials in seen.items():
                if (now := serial(cluster, "m2", stem)) != serials[-1]:
                    serials.append(now)
            return all(len(serials) > 2 for serials in seen.values())

        cluster.await_(has_renewed_all_twice, "both certificates renewed twice", within_s=240)  # it looks once a minute
        print(f"renewed twice within {time.monotonic() - began:.0f} s, though each was good for 90 s only")
        on_m2 = ("-l", "app=web", "--field-selector=spec.nodeName=m2")
        (pod, *_) = cluster.kubectl("get", "pods", *on_m2, "-o", "name").split()
        cluster.kubectl("logs", "--tail=1", pod)
    print(load.judged)
    assert load.judged.findings == [] and load.judged.failed == []
    assert (cluster.pids("m2", "kubelet"), cluster.containers()) == before
    cluster.on("m2", "systemctl", "start", "steersman-sync.timer")
    for machine in MACHINES:
        cluster.on(machine, "sh", "-c", f"rm {CONTROLLERS_ENV}; {restart}")


def authority_of(cluster: Cluster, directory: Path) -> pki.Authority:
    """Return the cluster's own authority, for certificates that it would never issue."""
    directory.mkdir(mode=0o700)
    for name in ("ca.crt", "ca.key"):
        (directory / name).write_text(cluster.on("m1", "cat", str(LAYOUT.pki / "cluster" / name)))
    return pki.Authority(directory, "unused: it is there")


def serial(cluster: Cluster, machine: str, stem: str) -> int:
    return load_pem_x509_certificate(
        cluster.on(machine, "cat", f"{LAYOUT.kubelet_pki}/{stem}.pem").encode()
    ).serial_number


def test_a_machine_leaves_only_when_its_pods_may_go(cluster: Cluster) -> None:
    cluster.on("m1", *KUBECTL, "apply", "-f", "-", given=BUDGET)
    cluster.await_(lambda: allowed(cluster) == "0", "the budget is worked out")
    busy = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"][0]["spec"]["nodeName"]
    refused = cluster.try_on(busy, "steer", "leave", "--drain-timeout", "6s")
    assert refused.returncode == 1, refused.stderr
    assert "disruption budget" in refused.stderr and "--force" in refused.stderr and "uncordon" in refused.stderr
    assert cluster.nodes(busy)[busy] == "True"
    cluster.kubectl("delete", "pdb", "web")
    cluster.kubectl("uncordon", busy)


def allowed(cluster: Cluster) -> str:
    return cluster.kubectl("get", "pdb", "web", "-o", "jsonpath={.status.disruptionsAllowed}")


def test_the_stores_leader_leaves_and_joins_again_under_its_name(cluster: Cluster, tmp_path: Path) -> None:
    async def leader() -> str:
        site = Site(Machines(cluster.lab.directory), tmp_path)
        try:
            return (await site.leader()).name
        finally:
            await site.close()

    going = asyncio.run(leader())
    stays = next(machine for machine in MACHINES if machine != going)
    began = time.monotonic()
    said = cluster.on(going, "sh", "-c", "steer leave 2>&1")
    print(f"{going}, the leader, left in {time.monotonic() - began:.1f} s:", said, sep="\n")
    assert sorted(cluster.nodes(stays)) == sorted(set(MACHINES) - {going})
    pods = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json", machine=stays))["items"]
    assert going not in {each["spec"]["nodeName"] for each in pods}
    cluster.invitation = cluster.on(stays, "steer", "token", "create", "--control-plane", "-o", "json")
    cluster.join(going, "control-plane")
    cluster.await_(lambda: cluster.nodes(stays) == dict.fromkeys(MACHINES, "True"), "all three are Ready again")
    node = json.loads(cluster.kubectl("get", "node", going, "-o", "json", machine=stays))
    assert "unschedulable" not in node["spec"]
