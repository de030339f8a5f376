"""What docs/security.md says of users, capabilities, keys, roles and ports, held against a machine as it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from deploy.machine.plan import credential_directory, service, service_names
from tests.e2e.machine_cluster import Cluster, lab_of
from tests.unit.deploy.machine.test_security_document import IDENTITIES, PROCESSES, roles_in_table, table, words

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(600)]

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE",
)  # fmt: skip
"""By number, as linux/capability.h has them; nobody of ours has one beyond, but for containerd."""
RUNNING = service_names("control-plane")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab_of(tmp_path_factory.mktemp("security") / "lab", 1) as made:
        made.bring_up([])
        yield made


def status_of(cluster: Cluster, pid: str) -> dict[str, str]:
    lines = cluster.on("m1", "cat", f"/proc/{pid}/status").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def capabilities(mask: str) -> set[str]:
    return {f"CAP_{name}" for number, name in enumerate(CAPABILITIES) if int(mask, 16) >> number & 1}


@pytest.mark.parametrize("name", RUNNING)
def test_a_process_runs_as_the_user_and_with_the_capabilities_of_the_table(cluster: Cluster, name: str) -> None:
    pid, row = cluster.pids("m1", name)[name], PROCESSES[name]
    assert cluster.on("m1", "stat", "-c", "%U", f"/proc/{pid}").strip() == row["user"]
    shown = status_of(cluster, pid)
    wanted = words(row["capabilities"])
    if wanted == {"all"}:
        return
    available = capabilities(status_of(cluster, "1")["CapEff"])
    for kind in ("CapEff", "CapPrm"):
        assert capabilities(shown[kind]) == wanted & available, kind
        assert int(shown[kind], 16) >> len(CAPABILITIES) == 0, kind
    assert shown["NoNewPrivs"] == "1" and shown["Seccomp"] == "2"


@pytest.mark.parametrize("name", sorted(set(PROCESSES) - {"kubelet", "kubeproxy", "containerd", "snapshot", "sync"}))
def test_a_process_is_handed_the_keys_of_the_table_and_can_read_no_other(cluster: Cluster, name: str) -> None:
    row = PROCESSES[name]
    handed = cluster.on("m1", "ls", credential_directory(name)).split()
    assert {each for each in handed if each.endswith(".key")} == {
        key.replace("/", "-") for key in words(row["private keys"])
    }
    look = "find /etc/steersman/pki /run/credentials /var/lib/steersman -type f -readable 2>/dev/null || true"
    images = "/var/lib/steersman/images/"  # no secret
    seen = set(cluster.on("m1", "setpriv", f"--reuid={row['user']}", "--clear-groups", "sh", "-c", look).split())
    own = (f"{credential_directory(name)}/", f"/var/lib/steersman/{name}/")
    assert {path for path in seen if not path.startswith((*own, images))} == set()


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_systemd_finds_a_process_as_exposed_as_the_table_says(cluster: Cluster, name: str) -> None:
    said = cluster.on("m1", "systemd-analyze", "security", "--no-pager", service(name))
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said[-300:]
    # Another version of systemd may weigh a setting differently; more than that is news.
    assert abs(float(found[1]) - float(PROCESSES[name]["exposure"])) <= 0.3


def test_the_cluster_binds_roles_as_the_table_says(cluster: Cluster) -> None:
    held: dict[tuple[str, str], set[str]] = {}
    for kind in ("clusterrolebindings", "rolebindings"):
        for each in json.loads(cluster.kubectl("get", kind, "-A", "-o", "json"))["items"]:
            place = each["metadata"].get("namespace", "")
            for subject in each.get("subjects", ()):
                if subject["kind"] != "ServiceAccount":
                    role = each["roleRef"]["name"] + (f" in {place}" if place else "")
                    held.setdefault((subject["kind"], subject["name"]), set()).add(role)
    masters = held.pop(("Group", "system:masters"))
    held.pop(("Group", "system:monitoring"), None)
    kinds = {name: "Group" if row["kind"] == "group" else "User" for name, row in IDENTITIES.items()}
    assert roles_in_table("kubernetes-admin") == masters
    assert held == {(kinds[name], name): roles_in_table(name) for name in IDENTITIES if name != "kubernetes-admin"}


def test_the_machine_listens_on_the_ports_of_the_table_and_on_loopback_where_it_says_so(cluster: Cluster) -> None:
    found: dict[int, set[str]] = {}
    for line in cluster.on("m1", "ss", "-Hltn").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address.strip("[]"))
    said = {int(row["port"]): "loopback" in row["who gets in"] for row in table("port")}
    # containerd's streaming server takes any port, on loopback; kubelets relay to it.
    ours = {port: addresses for port, addresses in found.items() if port in said or addresses != {"127.0.0.1"}}
    assert set(ours) | {2380} == set(said), "a store that is alone listens for no other"
    assert {port for port, addresses in ours.items() if addresses == {"127.0.0.1"}} == {
        p for p, is_ in said.items() if is_
    }
