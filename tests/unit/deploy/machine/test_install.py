from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from deploy.machine import install
from deploy.machine.plan import Layout

ROOT = Path(__file__).parents[4]


def have(layout: Layout, *versions: str) -> None:
    for age, version in enumerate(versions):
        directory = layout.prefix / version
        directory.mkdir(parents=True)
        (directory / install.MARK).write_text(version + "\n")
        os.utime(directory / install.MARK, (age, age))


def test_every_package_of_the_wheel_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(install.FOLDERS) == sorted(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_a_version_is_used_by_one_link_and_so_is_the_former_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    have(layout, "0.1.0-a", "0.2.0-b")
    for version in ("0.1.0-a", "0.2.0-b", "0.1.0-a"):
        install.use(layout, version)
        assert install.current_version(layout) == version
    assert os.readlink(tmp_path / "usr/local/bin/steer") == "/opt/steersman/current/bin/steer"


def test_a_directory_that_is_not_whole_is_no_version(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    have(layout, "0.1.0-a")
    (layout.prefix / "0.2.0-b").mkdir()
    assert install.installed_versions(layout) == ["0.1.0-a"]
    assert install.directory_of(layout, "0.2.0-b") is None


def test_the_oldest_go_but_never_the_one_in_use_nor_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    have(layout, "0.1.0-a", "0.1.0-b", "0.1.0-c", "0.1.0-d", "0.1.0-e")
    install.use(layout, "0.1.0-e")
    monkeypatch.setattr(install, "running_version", lambda: "0.1.0-e")
    assert install.prune(layout, "0.1.0-a") == ["0.1.0-b", "0.1.0-c"]
    assert install.installed_versions(layout) == ["0.1.0-a", "0.1.0-d", "0.1.0-e"]


def test_names_of_requirements() -> None:
    names = [install._name_of(text) for text in ("a>=1", "b-c[x]>2", "d_e (>=1)", "f.g; python_version>'3'")]
    assert names == ["a", "b-c", "d_e", "f.g"]
