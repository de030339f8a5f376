from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.machine.handover import hand_over, in_order, named_by
from deploy.machine.host import UNIT_FILES
from deploy.machine.plan import Layout, credential_directory, service
from deploy.report import CannotDo


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A machine whose store has a key and a certificate, as systemd gave them to it at its start."""
    layout = Layout(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    layout.units.mkdir(parents=True)
    lines = []
    for name in ("store-member.crt", "store-member.key"):
        (files / name).write_text(f"new {name}")
        lines.append(f"LoadCredential={name}:{files / name}")
    (layout.units / service("store")).write_text("[Service]\n" + "\n".join(lines) + "\n")
    given = credentials(layout)
    given.mkdir(parents=True)
    for name in ("store-member.crt", "store-member.key"):
        (given / name).write_text(f"old {name}")
        (given / name).chmod(0o440)
    return layout


def credentials(layout: Layout) -> Path:
    return layout.root / credential_directory("store").removeprefix("/")


def test_a_running_process_gets_what_changed_and_its_rights_stay(layout: Layout) -> None:
    assert hand_over(layout, "store", os.getpid()) == ["store-member.key", "store-member.crt"]
    for name in ("store-member.crt", "store-member.key"):
        assert (credentials(layout) / name).read_text() == f"new {name}"
        assert (credentials(layout) / name).stat().st_mode & 0o777 == 0o440
    assert sorted(path.name for path in credentials(layout).iterdir()) == ["store-member.crt", "store-member.key"]


def test_doing_it_again_changes_nothing(layout: Layout) -> None:
    hand_over(layout, "store", os.getpid())
    before = (credentials(layout) / "store-member.crt").stat().st_ino
    assert hand_over(layout, "store", os.getpid()) == []
    assert (credentials(layout) / "store-member.crt").stat().st_ino == before


def test_a_process_that_does_not_see_them_is_not_believed(layout: Layout) -> None:
    with pytest.raises(CannotDo, match="does not see the new store-member"):
        hand_over(layout, "store", 2**22 + 1)  # beyond what Linux numbers processes by


def test_a_certificate_comes_after_its_key() -> None:
    assert in_order(["b.crt", "a.crt", "b.key", "a.key", "configuration.yaml"])[-2:] == ["a.crt", "b.crt"]


def test_every_unit_that_is_given_files_takes_them_again_while_it_runs() -> None:
    for path in UNIT_FILES.glob("*.service"):
        text = path.read_text()
        name = path.name.removeprefix("steersman-").removesuffix(".service")
        if named_by(text) and "Type=oneshot" not in text:
            command = f"/opt/steersman/current/bin/steer machine hand-over {name} $MAINPID"
            assert f"ExecReload=+/usr/bin/nsenter --target 1 --mount -- {command}\n" in text, name
