from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.machine import backup, upload
from deploy.machine.credentials import SHARED_FILES
from deploy.machine.plan import Layout, credential_name
from deploy.machine.rest import Rest
from deploy.pki import Pki
from deploy.report import CannotDo

KEY = upload.parse_key(upload.generate_key())


@given(st.binary(max_size=300))
def test_what_was_encrypted_comes_back(content: bytes) -> None:
    assert upload.decrypt(upload.encrypt(content, "a", KEY), "a", KEY) == content


def test_neither_another_key_nor_another_name_nor_a_change_is_let_through() -> None:
    sealed = upload.encrypt(b"secret", "cluster-ca.key", KEY)
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    other = upload.parse_key(upload.generate_key())
    for content, name, key in ((sealed, "cluster-ca.key", other), (sealed, "x", KEY), (changed, "cluster-ca.key", KEY)):
        with pytest.raises(CannotDo, match="certificate key"):
            upload.decrypt(content, name, key)


def test_what_is_no_key_is_refused_without_being_repeated() -> None:
    with pytest.raises(CannotDo) as raised:
        upload.parse_key("deadbeef")
    assert "deadbeef" not in str(raised.value)


class FakeRest:
    def __init__(self, data: dict[str, str]) -> None:
        self.data = data

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/kube-system/secrets/steersman-certs"
        return {"data": self.data}


def uploaded(layout: Layout) -> dict[str, str]:
    Pki(layout.pki)
    return {
        credential_name(place): base64.b64encode(
            upload.encrypt((layout.pki / place).read_bytes(), credential_name(place), KEY)
        ).decode()
        for place in SHARED_FILES
    }


def test_a_newcomer_gets_the_very_same_keys(tmp_path: Path) -> None:
    first, second = Layout(tmp_path / "1"), Layout(tmp_path / "2")
    upload.download(cast(Rest, FakeRest(uploaded(first))), second, KEY)
    for place in SHARED_FILES:
        assert (second.pki / place).read_bytes() == (first.pki / place).read_bytes()
        assert (second.pki / place).stat().st_mode & 0o077 == 0


def test_a_newcomer_writes_nothing_unless_all_is_right(tmp_path: Path) -> None:
    data = uploaded(Layout(tmp_path / "1"))
    del data["service-account-sa.key"]
    second = Layout(tmp_path / "2")
    with pytest.raises(CannotDo, match=r"service-account-sa\.key"):
        upload.download(cast(Rest, FakeRest(data)), second, KEY)
    assert not second.pki.exists()


def test_every_trusts_secrets_are_shared_and_nothing_else_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    pki = Pki(layout.pki)
    made = {str(path.relative_to(layout.pki)) for path in pki.directory.rglob("*") if path.is_file()}
    assert made == set(SHARED_FILES)


def test_exported_keys_come_back_and_never_over_others(tmp_path: Path) -> None:
    first, second, third = (Layout(tmp_path / name) for name in "123")
    Pki(first.pki)
    backup.export_keys(first, tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    backup.import_keys(second, tmp_path / "keys")
    backup.import_keys(second, tmp_path / "keys")
    assert all((second.pki / p).read_bytes() == (first.pki / p).read_bytes() for p in SHARED_FILES)
    Pki(third.pki)
    with pytest.raises(CannotDo, match="another"):
        backup.import_keys(third, tmp_path / "keys")


def test_the_oldest_snapshots_go_and_other_files_stay() -> None:
    names = [f"steersman-2026010{day}T000000Z.snapshot" for day in (3, 1, 2)] + ["notes.txt", "steersman-x.snapshot"]
    assert backup.stale(names, 2) == ["steersman-20260101T000000Z.snapshot"]
    assert backup.stale(names, 9) == []
