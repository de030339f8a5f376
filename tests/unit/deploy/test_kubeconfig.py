from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy import kubeconfig
from deploy.pki import Pki


def build(tmp_path: Path, context: str = "steersman") -> dict:
    pki = Pki(tmp_path / "pki")
    pki.ensure_control_plane([], ["s1"])
    directory = tmp_path / "pki" / "cluster"
    return kubeconfig.build(
        "https://127.0.0.1:6443",
        directory / "ca.crt",
        directory / "admin.crt",
        directory / "admin.key",
        context=context,
    )


def test_a_context_is_added_without_redirecting_the_user(tmp_path: Path) -> None:
    path = tmp_path / "config"
    mine = {"name": "mine", "context": {"cluster": "mine", "user": "me"}}
    path.write_text(yaml.safe_dump({"contexts": [mine], "current-context": "mine", "clusters": None}))
    kubeconfig.merge_into(path, build(tmp_path))
    merged = yaml.safe_load(path.read_text())
    assert merged["current-context"] == "mine"
    assert [context["name"] for context in merged["contexts"]] == ["mine", "steersman"]


def test_merging_twice_is_merging_once(tmp_path: Path) -> None:
    path, config = tmp_path / "config", build(tmp_path)
    kubeconfig.merge_into(path, config)
    once = path.read_text()
    kubeconfig.merge_into(path, config)
    assert path.read_text() == once


def test_removing_leaves_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.merge_into(path, build(tmp_path, "other"))
    before = yaml.safe_load(path.read_text())
    kubeconfig.merge_into(path, build(tmp_path))
    kubeconfig.remove_from(path, "steersman")
    assert yaml.safe_load(path.read_text()) == before


def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("- just\n- a list\n")
    with pytest.raises(ValueError, match="not a kubeconfig"):
        kubeconfig.merge_into(path, build(tmp_path))
    assert path.read_text() == "- just\n- a list\n"
