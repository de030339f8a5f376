"""Waiting for a cluster to come up."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import local
from deploy.plan import Paths


def test_waiting_ends_at_once_when_the_cluster_is_brought_down(tmp_path: Path) -> None:
    with pytest.raises(local.CannotDo, match="was brought down meanwhile"):
        local._wait_for(lambda: "does not answer", "the API server", Paths(tmp_path))


def test_waiting_goes_on_while_the_supervisor_is_wanted(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    (paths.run / "keep").touch()
    answers = iter(["does not answer", "not ready", None])
    local._wait_for(lambda: next(answers), "the API server", paths)
    assert next(answers, "asked to the end") == "asked to the end"
