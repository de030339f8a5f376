from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from component import flags
from component.flags import setting


@dataclass(frozen=True)
class Settings:
    """Settings of a test."""

    node_name: str = setting("the node")
    apiserver: tuple[str, ...] = setting("endpoints", default=())
    port: int = setting("a port", default=10250)
    grace_s: float = setting("seconds", default=1.5)
    leader_elect: bool = setting("one at a time", default=True)
    level: Literal["info", "debug"] = setting("how much", default="info")
    root: Path | None = setting("a directory", default=None)


def parse(*argv: str) -> Settings:
    return flags.parse(Settings, argv, prog="steer-test")


def test_every_kind_of_value_is_read() -> None:
    parsed = parse(
        "--node-name", "n1", "--apiserver", "a:1,b:2", "--apiserver", "c:3", "--port", "1", "--grace-s", "2",
        "--no-leader-elect", "--level", "debug", "--root", "/x",
    )  # fmt: skip
    assert parsed == Settings("n1", ("a:1", "b:2", "c:3"), 1, 2.0, False, "debug", Path("/x"))


def test_what_is_not_given_keeps_its_default() -> None:
    assert parse("--node-name", "n1") == Settings("n1")


def test_a_file_is_read_and_flags_win_over_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("nodeName: from-file\nport: 7\nleader-elect: false\napiserver: [a:1, b:2]\n")
    parsed = parse("--config", str(file), "--port", "8")
    assert parsed == Settings("from-file", ("a:1", "b:2"), 8, leader_elect=False)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--node-name", "n", "--port", "many"], "--port: 'many' is not a number"),
        (["--node-name", "n", "--level", "loud"], "--level: 'loud' is not one of info, debug"),
        ([], "--node-name is required: the node"),
        (["--node-name", "n", "--colour"], "unrecognized arguments: --colour"),
        (["--node-name", "n", "--config", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*argv)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


def test_an_unknown_setting_in_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("nodeName: n\ncolour: blue\n")
    with pytest.raises(SystemExit):
        parse("--config", str(file))
    assert "unknown settings: colour" in capsys.readouterr().err
