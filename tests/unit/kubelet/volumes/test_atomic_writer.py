from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kubelet.volumes.atomic_writer import write
from kubelet.volumes.payload import File, Payload


def files(**content: str) -> Payload:
    return {name.replace("__", "/"): File(text.encode(), 0o640) for name, text in content.items()}


def shown(target: Path) -> dict[str, str]:
    found = {}
    for top in sorted(os.listdir(target)):
        if top.startswith(".."):
            continue
        path = target / top
        if path.is_dir():
            found |= {f"{top}/{p.relative_to(path).as_posix()}": p.read_text() for p in path.rglob("*") if p.is_file()}
        else:
            found[top] = path.read_text()
    return found


def test_files_appear_through_one_link(tmp_path: Path):
    assert write(tmp_path, files(a="1", dir__b="2"))
    assert shown(tmp_path) == {"a": "1", "dir/b": "2"}
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "dir") == "..data/dir"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_writing_the_same_again_changes_nothing(tmp_path: Path):
    write(tmp_path, files(a="1"))
    before = os.readlink(tmp_path / "..data")
    assert not write(tmp_path, files(a="1"))
    assert os.readlink(tmp_path / "..data") == before


def test_an_update_removes_what_is_gone_and_the_old_directory(tmp_path: Path):
    write(tmp_path, files(a="1", b="2"))
    assert write(tmp_path, files(b="3", c="4"))
    assert shown(tmp_path) == {"b": "3", "c": "4"}
    assert len([name for name in os.listdir(tmp_path) if name.startswith("..2")]) == 1


def test_a_crash_half_way_is_repaired(tmp_path: Path):
    write(tmp_path, files(a="1"))
    (tmp_path / "..data_tmp").symlink_to("nowhere")
    (tmp_path / "a").unlink()
    assert write(tmp_path, files(a="1"))
    assert shown(tmp_path) == {"a": "1"}


_contents = st.dictionaries(st.sampled_from(["a", "b", "d/x", "d/y"]), st.text(alphabet="01", max_size=3))


@given(st.lists(_contents, min_size=1, max_size=4))
def test_what_is_shown_is_always_the_last_that_was_written(tmp_path_factory, versions: list[dict[str, str]]):
    target = tmp_path_factory.mktemp("volume")
    for version in versions:
        write(target, {name: File(text.encode(), 0o644) for name, text in version.items()})
        assert shown(target) == version
