"""`steer init`, `join` and the rest of a machine's life, on a lab's machines, as a user would do it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deploy.machine.plan import service_names
from tests.e2e.machine_cluster import Cluster, lab_of

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """m1 and m2 are the control plane, m3 is a worker."""
    with lab_of(tmp_path_factory.mktemp("machines") / "lab", 3) as made:
        made.bring_up(["control-plane", "worker"])
        yield made


def test_every_machine_is_a_ready_node(cluster: Cluster) -> None:
    assert cluster.nodes() == {"m1": "True", "m2": "True", "m3": "True"}


@pytest.mark.parametrize(("machine", "role"), [("m1", "control-plane"), ("m2", "control-plane"), ("m3", "worker")])
def test_every_process_runs_and_says_that_it_is_ready(cluster: Cluster, machine: str, role: str) -> None:
    shown = json.loads(cluster.on(machine, "steer", "status", "-o", "json"))
    assert [each["name"] for each in shown["processes"]] == service_names(role)  # type: ignore[arg-type]
    assert [each["name"] for each in shown["processes"] if each["problem"] or not each["running"]] == []


def test_doing_it_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.on("m2", "systemctl", "show", "--property", "MainPID", "steersman-store", "steersman-apiserver")
    cluster.on("m2", "steer", "join", "--control-plane", "--file", "-", given=cluster.invitation)
    cluster.on("m3", "steer", "join", "--file", "-", given=cluster.invitation)
    after = cluster.on("m2", "systemctl", "show", "--property", "MainPID", "steersman-store", "steersman-apiserver")
    assert after == before
    assert len(cluster.nodes()) == 3


def test_a_machine_of_a_cluster_does_not_begin_another(cluster: Cluster) -> None:
    refused = cluster.try_on("m2", "steer", "init")
    assert refused.returncode == 1 and "steer leave" in refused.stderr


def test_a_wrong_ca_hash_stops_a_newcomer_before_it_shows_its_token(cluster: Cluster) -> None:
    invitation = json.loads(cluster.invitation) | {"caHash": "sha256:" + "0" * 64}
    cluster.on("m3", "sh", "-c", "mkdir -p /root/bare/etc")  # the refusal comes before anything is looked at
    refused = cluster.try_on("m3", "steer", "join", "--name", "other", "--file", "-", given=json.dumps(invitation))
    assert refused.returncode == 1 and "comes first" in refused.stderr


def test_each_machine_learns_of_all_api_servers(cluster: Cluster) -> None:
    for machine in ("m1", "m3"):
        cluster.on(machine, "systemctl", "start", "steersman-sync")
        assert cluster.on(machine, "grep", "-c", ":6444", "/etc/steersman/kubelet.yaml").strip() == "2"


def test_a_node_reads_and_writes_only_what_is_its_own(cluster: Cluster) -> None:
    server = json.loads(cluster.invitation)["address"]
    pem = "/var/lib/steersman/kubelet/pki/client.pem"
    as_node = ("kubectl", "--server", f"https://{server}", "--certificate-authority=/etc/steersman/pki/cluster/ca.crt")
    as_node += (f"--client-certificate={pem}", f"--client-key={pem}")
    assert "m3" in cluster.on("m3", *as_node, "get", "node", "m3")
    for refused in (
        ("get", "secrets", "-n", "kube-system"),
        ("get", "secret", "steersman-certs", "-n", "kube-system"),
        ("label", "node", "m1", "x=y"),
        ("delete", "node", "m3"),
    ):
        done = cluster.try_on("m3", *as_node, *refused)
        assert done.returncode != 0 and "forbidden" in done.stderr.lower(), refused


def test_units_come_back_after_a_restart_of_the_target_and_a_power_cut(cluster: Cluster) -> None:
    cluster.on("m3", "systemctl", "restart", "steersman.target")
    cluster.lab("power-off", "m3")
    cluster.lab("power-on", "m3")
    cluster.await_(lambda: cluster.nodes()["m3"] == "True", "m3 is Ready again")
    cluster.await_(
        lambda: cluster.try_on("m3", "steer", "status").returncode == 0, "every process of m3 is ready", within_s=90
    )


def test_a_backup_is_made_and_is_whole(cluster: Cluster) -> None:
    cluster.on("m1", "systemctl", "start", "steersman-snapshot")
    (name,) = cluster.on("m1", "ls", "/var/lib/steersman/snapshots").split()
    found = json.loads(
        cluster.on("m1", "steer", "snapshot", "status", f"/var/lib/steersman/snapshots/{name}", "-o", "json")
    )
    assert found["keys"] > 50


def test_a_worker_leaves_and_nothing_of_the_cluster_stays_on_it(cluster: Cluster) -> None:
    cluster.on("m3", "steer", "leave")
    cluster.on("m1", "steer", "leave", "m3")
    assert sorted(cluster.nodes()) == ["m1", "m2"]
    assert cluster.on("m3", "sh", "-c", "ls -d /etc/steersman /var/lib/steersman 2>/dev/null || true") == ""
    assert "KUBE-" not in cluster.on("m3", "iptables-save")
    assert "10.244" not in cluster.on("m3", "ip", "route")
    cluster.on("m3", "steer", "join", "--file", "-", given=cluster.invitation)
    assert cluster.nodes()["m3"] == "True"


def test_a_deleted_token_lets_nobody_in(cluster: Cluster) -> None:
    invitation = json.loads(cluster.on("m1", "steer", "token", "create", "-o", "json"))
    cluster.on("m1", "steer", "token", "delete", invitation["token"].partition(".")[0])
    cluster.on("m3", "steer", "reset", "--yes")
    refused = cluster.try_on("m3", "steer", "join", "--file", "-", given=json.dumps(invitation))
    assert refused.returncode == 1 and "knows no token" in refused.stderr
    assert invitation["token"] not in refused.stderr + refused.stdout
