"""`steer lab`: machines boot, reach each other, can be cut off and switched off, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster_network import cluster_id

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(600)]

if os.geteuid() != 0:
    pytest.skip("machines need root", allow_module_level=True)


class Lab:
    def __init__(self, directory: Path, checkout: Path | None = None) -> None:
        self.directory = directory
        self._checkout = checkout
        """Whose `steer` is run; this one."""

    def try_(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from deploy.cli import main; main()"
        command = [sys.executable, "-c", code, "lab", verb, "--lab-dir", str(self.directory), *arguments]
        environment = os.environ | ({"PYTHONPATH": str(self._checkout)} if self._checkout else {})
        return subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=self._checkout, env=environment)

    def __call__(self, verb: str, *arguments: str) -> str:
        done = self.try_(verb, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in json.loads(self("status", "-o", "json"))["machines"]}

    def reaches(self, source: str, target: str) -> bool:
        return self.try_("exec", source, "--", "ping", "-c1", "-W1", target).returncode == 0

    def await_state(self, name: str, state: str) -> None:
        deadline = time.monotonic() + 60
        while self.states()[name] != state:
            assert time.monotonic() < deadline, f"{name} is not {state}: {self.states()}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab") / "lab")
    try:
        lab("up", "--machines", "2")
        yield lab
    finally:
        lab.try_("down", "--purge")


def test_machines_run_systemd_and_reach_each_other_and_nothing_else(lab: Lab):
    assert lab.states() == {"m1": "running", "m2": "running"}
    assert lab("exec", "m1", "--", "systemctl", "is-system-running").strip() == "running"
    assert lab("exec", "m2", "--", "hostname").strip() == "m2"
    assert lab.reaches("m1", "m2")
    assert not lab.reaches("m1", "192.0.2.1"), "a packet found a way out"


def test_up_again_changes_nothing(lab: Lab):
    before = lab("status", "-o", "json")
    lab("up", "--machines", "2")
    assert lab("status", "-o", "json") == before


def test_a_cut_holds_in_the_direction_it_was_made_and_heals(lab: Lab):
    lab("cut", "m1", "--direction", "in")
    assert not lab.reaches("m1", "m2")
    (cut,) = json.loads(lab("status", "-o", "json"))["cuts"]
    assert (cut["from"], cut["to"]) == ("m2", "m1") and cut["dropped"] >= 1
    lab("heal")
    assert lab.reaches("m1", "m2")


def test_a_power_cut_keeps_what_was_written_and_a_reboot_is_another_boot(lab: Lab):
    lab("exec", "m2", "--", "sh", "-c", "echo kept > /var/lib/kept; echo kept > /etc/kept")
    lab("power-off", "m2")
    assert lab.states() == {"m1": "running", "m2": "off"}
    off = lab.try_("exec", "m2", "--", "true")
    assert off.returncode == 1 and "steer lab power-on m2" in off.stderr
    lab("power-on", "m2")
    assert lab("exec", "m2", "--", "cat", "/var/lib/kept", "/etc/kept").split() == ["kept", "kept"]
    boots = lab("exec", "m2", "--", "journalctl", "--list-boots", "--no-pager").count("\n")
    lab("exec", "m2", "--", "systemctl", "reboot")
    deadline = time.monotonic() + 60
    while lab.try_("exec", "m2", "--", "journalctl", "--list-boots", "--no-pager").stdout.count("\n") <= boots:
        assert time.monotonic() < deadline, "no other boot"
        time.sleep(0.2)
    lab.await_state("m2", "running")


def test_a_machine_reboots_also_while_a_command_from_outside_runs_in_it(lab: Lab):
    code = "from deploy.cli import main; main()"
    command = [sys.executable, "-c", code, "lab", "exec", "--lab-dir", str(lab.directory), "m1", "--", "sleep", "600"]
    with subprocess.Popen(command, start_new_session=True) as inside:
        try:
            boot = lab("exec", "m1", "--", "cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat")
            lab("exec", "m1", "--", "systemctl", "reboot")
            assert inside.wait(60) != 0, "the command outlived the machine"
            lab.await_state("m1", "running")
            assert lab("exec", "m1", "--", "cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat") != boot
        finally:
            inside.kill()


def test_bad_names_are_one_line_and_say_what_there_is(lab: Lab):
    wrong = lab.try_("exec", "m7", "--", "true")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "steer: no machine is called 'm7'; there are m1, m2"


def test_purge_leaves_nothing_behind(lab: Lab):
    lab("down", "--purge")
    traces = subprocess.run(
        "cat /proc/mounts; ip rule; ip -o link; losetup -a; ps -eo args", shell=True, capture_output=True, text=True
    ).stdout
    assert str(lab.directory) not in traces
    assert not lab.directory.exists()
    identifier = cluster_id(lab.directory)
    assert f"st-{identifier}" not in traces and f"vb-{identifier[:6]}" not in traces
    assert not list(Path("/sys/fs/cgroup").glob(f"*/steersman-lab-{identifier}"))
    assert "there is no lab" in lab.try_("status").stderr
