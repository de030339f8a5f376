from __future__ import annotations

import sys

import pytest

from deploy import cli


def test_bad_input_and_what_cannot_be_done_exit_differently(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path
) -> None:
    nowhere = str(tmp_path / "none")
    for arguments, code, said in (
        (["join"], 2, "joining needs the address of an API server"),
        (["join", "m1", "--file", nowhere], 2, "No such file"),
        (["token", "create", "--ttl", "soon"], 2, "'soon' is no duration"),
        (["snapshot", "status", nowhere], 2, f"{nowhere} is not there"),
        (["up", "--nodes", "none"], 2, "--nodes"),
        (["kubeconfig", "--data-dir", nowhere], 1, f"there is no cluster in {nowhere}"),
    ):
        monkeypatch.setattr(sys, "argv", ["steer", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        told = capfd.readouterr().err
        assert (caught.value.code, said in told) == (code, True), (arguments, told)
