"""Three machines go from the commit before to this one and back, under load, and refuse what cannot work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deploy.machine.install import FOLDERS
from lab.machines.lab import Lab as Machines
from lab.machines.layers import write_metadata
from tests.e2e.conftest import ROOT
from tests.e2e.machine_cluster import Cluster, UnderLoad, lab_of

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]

MACHINES = ("m1", "m2", "m3")
FORMER = "/opt/steersman/lab/bin/steer"
"""The version that the machines began with."""
BROKEN = '\n\ndef main() -> None:\n    raise SystemExit("broken on purpose")\n'


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no history to go back in: git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def commit_before() -> str:
    """Return the newest commit before this one that has other code (or what STEERSMAN_UPGRADE_FROM names)."""
    if given := os.environ.get("STEERSMAN_UPGRADE_FROM"):
        return given
    for commit in git("rev-list", "--first-parent", "--max-count=30", "HEAD").split()[1:]:
        if git("diff", "--name-only", commit, "HEAD", "--", *FOLDERS):
            return commit
    pytest.skip("the last thirty commits changed no code")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of checkouts: what machines may be upgraded to, and `former`, what they begin with."""
    directory = tmp_path_factory.mktemp("trees")
    (directory / "former").mkdir()
    archive = directory / "former.tar"
    git("archive", "--output", str(archive), commit_before())
    shutil.unpack_archive(archive, directory / "former", filter="data")
    make_tree(directory / "new")
    make_tree(directory / "broken")
    with (directory / "broken/scheduler/__main__.py").open("a") as file:
        file.write(BROKEN)
    make_tree(directory / "far", version="0.3.0")
    yield directory
    shutil.rmtree(directory)


def make_tree(directory: Path, version: str = "") -> None:
    """Put this checkout's code into a directory, as unpacked from a wheel."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    write_metadata(directory, project | ({"version": version} if version else {}))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, trees: Path) -> Iterator[Cluster]:
    with lab_of(tmp_path_factory.mktemp("upgrade") / "lab", 3, code=trees / "former") as made:
        made.bring_up(["control-plane", "control-plane"])
        made.run_example()
        lab = Machines(made.lab.directory)
        for machine in MACHINES:
            root = Path(f"/proc/{lab.machine(machine).pid()}/root/root")
            for tree in ("new", "broken", "far"):
                shutil.copytree(trees / tree, root / tree)
        yield made


def upgrade(cluster: Cluster, machine: str, tree: str) -> subprocess.CompletedProcess[str]:
    """Run the `steer upgrade` of a checkout's code on a machine."""
    program = "from deploy.cli import main; main()"
    script = f"cd /root/{tree} && PYTHONPATH=/root/{tree} /opt/steersman/lab/bin/python3 -c '{program}' upgrade 2>&1"
    return cluster.try_on(machine, "sh", "-c", script)


def versions(cluster: Cluster) -> dict[str, str]:
    items = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return {each["metadata"]["name"]: each["metadata"]["annotations"]["steersman.io/version"] for each in items}


def go(cluster: Cluster, machines: Sequence[str], tree: str) -> None:
    for machine in machines:
        done = upgrade(cluster, machine, tree)
        print(done.stdout.strip().splitlines()[-1])
        assert done.returncode == 0, done.stdout


def test_a_version_too_far_away_is_refused_and_says_which_comes_first(cluster: Cluster) -> None:
    before = versions(cluster)
    refused = upgrade(cluster, "m1", "far")
    assert refused.returncode == 1 and "more than one minor version: go to 0.2 first" in refused.stdout
    assert versions(cluster) == before


def test_a_version_that_does_not_run_is_left_again_and_nobody_notices(cluster: Cluster, tmp_path: Path) -> None:
    before, containers = versions(cluster), cluster.containers()
    with UnderLoad(cluster, tmp_path) as load:
        refused = upgrade(cluster, "m1", "broken")
    print(refused.stdout, load.judged, sep="\n")
    assert refused.returncode == 1
    assert "steersman-scheduler.service did not restart" in refused.stdout and "went back to" in refused.stdout
    assert load.judged.findings == [] and load.judged.failed == []
    assert versions(cluster) == before and cluster.containers() == containers
    assert cluster.on("m1", "readlink", "/opt/steersman/current").strip() == "lab"
    assert cluster.try_on("m1", "steer", "status").returncode == 0


def test_only_one_machine_at_a_time_is_upgraded(cluster: Cluster) -> None:
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(machine: str) -> None:
        done[machine] = upgrade(cluster, machine, "new")

    threads = [threading.Thread(target=run, args=(machine,)) for machine in ("m1", "m2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.returncode for each in done.values()) == [0, 1], [each.stdout for each in done.values()]
    went, stayed = sorted(done, key=lambda machine: done[machine].returncode)
    assert f"{went} is being upgraded: one machine at a time" in done[stayed].stdout
    cluster.on(went, FORMER, "upgrade")


def test_up_half_way_back_and_up_again_under_load(cluster: Cluster, tmp_path: Path) -> None:
    before, containers = versions(cluster), cluster.containers()
    with UnderLoad(cluster, tmp_path) as load:
        go(cluster, ("m1", "m2"), "new")
        half = versions(cluster)
        assert half["m1"] == half["m2"] != half["m3"] == before["m3"]
        for machine in ("m2", "m1"):
            print(cluster.on(machine, FORMER, "upgrade").strip())
        assert versions(cluster) == before
        go(cluster, MACHINES, "new")
    print(load.judged)
    assert load.judged.findings == [] and load.judged.failed == []
    assert set(versions(cluster).values()) == {half["m1"]}
    assert cluster.containers() == containers
    again = upgrade(cluster, "m1", "new")
    assert again.returncode == 1 and "already" in again.stdout
