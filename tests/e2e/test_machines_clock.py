"""Every machine's clock beyond the end of all certificates: what is said, and what heals it.

libfaketime gives our processes another clock. Programs in Go, kubectl among them, ask the kernel itself: so what the
cluster does is asked of `steer` and of our own client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deploy.machine.plan import service_names
from tests.e2e.machine_cluster import Cluster, lab_of

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
CLOCK = {
    "LD_PRELOAD": LIBRARY, "FAKETIME": "+400d", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1",
}  # fmt: skip
DROP_IN = "/run/systemd/system/steersman-.service.d/90-clock.conf"
SET_CLOCK = f"""
mkdir -p {DROP_IN.rpartition("/")[0]}
printf '[Service]\\nEnvironment=%s\\n' "{" ".join(f"{name}={value}" for name, value in CLOCK.items())}" > {DROP_IN}
systemctl daemon-reload
systemctl stop steersman-sync.timer
systemctl restart --no-block 'steersman-*.service'
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """m1 and m2 are the control plane, m3 is a worker; a year later, and nothing renews by itself."""
    with lab_of(tmp_path_factory.mktemp("clock") / "lab", 3) as made:
        made.bring_up(["control-plane", "worker"])
        for machine in ("m1", "m2", "m3"):
            made.on(machine, "sh", "-c", SET_CLOCK)
        yield made


def later(cluster: Cluster, machine: str, *command: str, given: str = "") -> tuple[int, str]:
    """Run a command with the moved clock; return its exit code and all it said."""
    # Unlike the processes' event loops, what sleeps by an absolute time needs the monotonic clock moved as well.
    setting = [f"{name}={value}" for name, value in CLOCK.items() if name != "FAKETIME_DONT_FAKE_MONOTONIC"]
    done = cluster.try_on(machine, "env", *setting, *command, given=given)
    return done.returncode, done.stdout + done.stderr


def journal(cluster: Cluster, machine: str, unit: str) -> str:
    return cluster.on(machine, "journalctl", "-b", "-o", "cat", "--no-pager", "-u", f"steersman-{unit}")


def test_what_has_ended_is_named_with_what_to_do(cluster: Cluster) -> None:
    code, said = later(cluster, "m1", "steer", "certs", "status")
    print(said)
    assert code == 1 and "run `steer certs renew` on this machine" in said
    code, said = later(cluster, "m3", "steer", "certs", "status")
    assert code == 1 and "`steer token create` on a control-plane machine" in said and "`steer join`" in said
    code, said = later(cluster, "m1", "steer", "status")
    print(said)
    assert code == 1 and "steer certs renew" in said
    code, said = later(cluster, "m1", "steer", "token", "list")
    print(said)
    assert code == 1 and "steer certs renew" in said


def test_the_processes_say_what_to_do(cluster: Cluster) -> None:
    cluster.await_(lambda: "steer join" in journal(cluster, "m3", "kubelet"), "the worker's kubelet says what to do")
    for unit in ("store", "apiserver", "controllers", "scheduler"):
        assert "steer certs renew" in journal(cluster, "m1", unit), unit


def test_renewing_heals_the_control_plane_and_joining_the_worker(cluster: Cluster) -> None:
    # The first waits for nobody: without the second there is no quorum yet.
    for machine in ("m1", "m2"):
        code, said = later(cluster, machine, "steer", "certs", "renew")
        print(said)
        assert code == 0 or machine == "m1", said

    def is_well(machine: str) -> bool:
        code, said = later(cluster, machine, "steer", "status")
        assert code == 0, said
        return True

    for machine in ("m1", "m2"):
        cluster.await_(lambda machine=machine: is_well(machine), f"every process of {machine} is ready", within_s=60)
    code, said = later(cluster, "m1", "steer", "token", "create", "-o", "json")
    assert code == 0, said
    code, said = later(cluster, "m3", "steer", "join", "--file", "-", given=said)
    print(said)
    assert code == 0, said
    code, said = later(cluster, "m1", "steer", "status", "-o", "json")
    shown = json.loads(said)
    assert [each["name"] for each in shown["processes"]] == service_names("control-plane")
    assert {node["name"]: node["state"] for node in shown["nodes"]} == dict.fromkeys(("m1", "m2", "m3"), "Ready")
