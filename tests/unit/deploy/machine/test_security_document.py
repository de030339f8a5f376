from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from apiserver.auth import policy
from deploy import addons, pki
from deploy.machine.host import UNIT_FILES
from deploy.machine.plan import BALANCER_PORT, HEALTH_PORTS, Layout, ports, service, service_names
from tests.unit.deploy.machine.test_units import credentials_of, dropped_in, lines

DOCUMENT = Path(__file__).parents[4] / "docs" / "security.md"


def table(first_heading: str) -> list[dict[str, str]]:
    """Return the rows of the document's table whose first column is headed so."""
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    start = next(i for i, row in enumerate(rows) if row.startswith(f"| {first_heading} |"))
    headings = [cell.strip() for cell in rows[start].strip("|").split("|")]
    found = []
    for row in rows[start + 2 :]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if cells[0] in ("process", "identity", "port"):
            break
        found.append(dict(zip(headings, cells, strict=True)))
    return found


def words(cell: str) -> set[str]:
    return set() if cell == "-" else set(re.split(r",?\s+", cell))


PROCESSES = {row["process"]: row for row in table("process")}


def test_every_process_is_in_the_table() -> None:
    assert set(PROCESSES) == {*service_names("control-plane"), "snapshot", "sync"}


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_process_has_the_user_that_the_table_says(name: str) -> None:
    assert (lines(name, "User") or ["root"]) == [PROCESSES[name]["user"]]


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_process_has_the_capabilities_that_the_table_says(name: str) -> None:
    given = set(" ".join(re.findall(r"^CapabilityBoundingSet=(.+)$", dropped_in(name), flags=re.MULTILINE)).split())
    assert ({"all"} if given == {"~"} else given) == words(PROCESSES[name]["capabilities"])


@pytest.mark.parametrize("name", sorted(set(PROCESSES) - {"kubelet", "kubeproxy", "sync"}))
def test_a_process_is_given_the_keys_that_the_table_says(name: str) -> None:
    given = {str(Path(p).relative_to(Layout().pki)) for p in credentials_of(name).values() if p.endswith(".key")}
    assert given == words(PROCESSES[name]["private keys"])


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_a_process_is_as_exposed_as_the_table_says(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    place = tmp_path / "etc/systemd/system"
    shutil.copytree(UNIT_FILES, place)
    command = ["systemd-analyze", "security", "--offline=yes", f"--root={tmp_path}", service(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout + done.stderr)
    if found is None:
        pytest.skip("this systemd-analyze cannot judge unit files offline")
    # Another version of systemd may weigh a setting differently; more than that is news.
    assert abs(float(found[1]) - float(PROCESSES[name]["exposure"])) <= 0.3


def bound() -> dict[tuple[str, str], set[str]]:
    """Return the roles of every user and group: the default ones, and those of our manifests."""
    found: dict[tuple[str, str], set[str]] = {}

    def add(kind: str, name: str, role: str, namespace: str) -> None:
        if kind != "ServiceAccount":
            found.setdefault((kind, name), set()).add(f"{role} in {namespace}" if namespace else role)

    for binding in policy.cluster_role_bindings():
        for subject in binding.subjects:
            add(subject.kind, subject.name, binding.role_ref.name, "")
    for in_namespace in policy.role_bindings():
        for subject in in_namespace.subjects:
            add(subject.kind, subject.name, in_namespace.role_ref.name, in_namespace.metadata.namespace)
    for path in addons.MANIFESTS.glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"].endswith("Binding"):
                for each in document["subjects"]:
                    namespace = document["metadata"].get("namespace", "")
                    add(each["kind"], each["name"], document["roleRef"]["name"], namespace)
    return found


IDENTITIES = {row["identity"]: row for row in table("identity")}


def roles_in_table(identity: str) -> set[str]:
    return {role.strip() for role in IDENTITIES[identity]["roles"].split(",")}


def test_every_identity_has_the_roles_that_the_table_says() -> None:
    held = bound()
    expected = {
        name: held.get(("Group" if row["kind"] == "group" else "User", name), set()) for name, row in IDENTITIES.items()
    }
    expected["kubernetes-admin"] = held["Group", "system:masters"]
    assert {name: roles_in_table(name) for name in IDENTITIES} == expected


def test_nobody_has_roles_who_is_not_in_the_table() -> None:
    # Monitoring's group has no member until somebody puts one in; masters are the administrator's row.
    assert {name for _, name in bound()} - set(IDENTITIES) == {"system:masters", "system:monitoring"}


def test_every_certificate_of_the_clusters_ca_is_in_the_table() -> None:
    leaves = [*pki.control_plane_leaves([]), pki.KUBEPROXY, *pki.node_leaves("NAME", [], "n", "-serving")]
    named = {leaf.common_name for leaf in leaves} | {group for leaf in leaves for group in leaf.organizations}
    text = DOCUMENT.read_text()
    assert {name for name in named if name not in text} == {"kube-apiserver"}  # a server's, that nobody is asked about


def test_every_port_is_in_the_table() -> None:
    said = {int(row["port"]): row["process"] for row in table("port")}
    assert said == {**ports("control-plane"), 53: "dns"}
    loopback = {int(row["port"]) for row in table("port") if "loopback" in row["who gets in"]}
    assert loopback == {*HEALTH_PORTS.values(), BALANCER_PORT}
