"""File systems on block devices: which are made, which are refused, and when a device is let go."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubelet.volumes import devices, mounts
from kubelet.volumes.devices import DeviceError, mount, unused

TABLE = b"""\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 7:1 / /k/plugins/mounts/in\\040use rw - ext4 /dev/loop1 rw
31 22 7:1 / /k/pods/uid/volumes/kubernetes.io~local-volume/a rw - ext4 /dev/loop1 rw
32 22 7:2 / /k/plugins/mounts/left rw - ext4 /dev/loop2 rw
33 22 7:2 / /mnt/of-the-administrator rw - ext4 /dev/loop2 rw
"""


def test_a_device_that_no_pod_has_is_let_go_whoever_else_has_mounted_it():
    assert unused(Path("/k/plugins/mounts"), Path("/k/pods"), TABLE) == [Path("/k/plugins/mounts/left")]


class Machine:
    """Programs that were run, and what is mounted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: str, status: int = 0) -> None:
        self.ran: list[str] = []
        self._found, self._status = found, status
        monkeypatch.setattr(subprocess, "run", self._run)
        monkeypatch.setattr(mounts, "bind", lambda source, target: self.ran.append(f"bind {source.name} {target.name}"))

    def _run(self, program: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.ran.append(" ".join(program))
        told = program[0] == "blkid"
        return subprocess.CompletedProcess(program, self._status if told else 0, self._found if told else "", "")


def test_an_empty_device_is_formatted_then_mounted_then_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    machine = Machine(monkeypatch, "", status=2)
    mount(Path("/dev/loop9"), tmp_path / "shared", tmp_path / "of-pod", "", ["noatime"])
    assert machine.ran[1:] == [
        "mkfs.ext4 -F -m0 /dev/loop9",
        f"mount -t ext4 -o defaults,noatime /dev/loop9 {tmp_path}/shared",
        "bind shared of-pod",
    ]


@pytest.mark.parametrize("asked", ["", "xfs"])
def test_a_device_with_a_file_system_is_mounted_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: str):
    machine = Machine(monkeypatch, "DEVNAME=/dev/loop9\nTYPE=xfs\n")
    mount(Path("/dev/loop9"), tmp_path / "shared", tmp_path / "of-pod", asked)
    assert machine.ran[1] == f"mount -t xfs -o defaults /dev/loop9 {tmp_path}/shared"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ("TYPE=xfs\n", 'failed to mount the volume as "ext4", it already contains xfs'),
        ("PTTYPE=gpt\n", "it already contains unknown data, probably partitions"),
    ],
)
def test_what_has_other_content_is_neither_formatted_nor_mounted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: str, why: str
):
    machine = Machine(monkeypatch, found)
    with pytest.raises(DeviceError, match=why):
        mount(Path("/dev/loop9"), tmp_path / "shared", tmp_path / "of-pod", "ext4")
    assert len(machine.ran) == 1


def test_what_a_pod_has_already_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    machine = Machine(monkeypatch, "")
    monkeypatch.setattr(devices.mounts, "is_mount", lambda path: True)
    mount(Path("/dev/loop9"), tmp_path / "shared", tmp_path / "of-pod")
    assert machine.ran == []
