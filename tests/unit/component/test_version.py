"""What `/version` says can be read the way kubectl and its test suites read it."""

import re
from datetime import datetime
from pathlib import Path

from component.version import build_info, identity, version_info


def test_the_commit_is_in_base_16_and_the_date_is_a_time_of_rfc_3339() -> None:
    said = version_info()
    assert re.fullmatch(r"[0-9a-f]{40}", said["gitCommit"])
    assert datetime.fromisoformat(said["buildDate"]).year >= 2025
    assert re.fullmatch(r"v\d\.\d+\.[\d\w\-\.\+]+", said["gitVersion"])
    assert (said["major"], said["minor"]) == ("1", "32")


def test_other_sources_are_another_commit_wherever_they_lie(tmp_path: Path) -> None:
    for folder, content in (("here", "a = 1\n"), ("there", "a = 1\n"), ("changed", "a = 2\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text(content)
    here, there, changed = (identity((tmp_path / name).iterdir())[0] for name in ("here", "there", "changed"))
    assert here == there
    assert here != changed


def test_the_metric_says_what_the_document_does():
    (_, _, shown) = build_info().render()
    told = version_info()
    assert shown.startswith("kubernetes_build_info{") and shown.endswith("} 1")
    assert f'git_version="{told["gitVersion"]}"' in shown and f'git_commit="{told["gitCommit"]}"' in shown
