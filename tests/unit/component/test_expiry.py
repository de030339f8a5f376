from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from component.expiry import EndWatch, not_after
from deploy import pki
from deploy.pki import Authority, Leaf, expiry


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    Authority(tmp_path, "ca").ensure_in_one(Leaf("a", "a", ("o",), hosts=("10.0.0.1",)), tmp_path / "a.pem")
    return tmp_path / "a.pem"


def test_the_end_is_what_a_library_reads(certificate: Path) -> None:
    for path in (certificate, certificate.with_name("ca.crt")):
        ends = expiry(path)
        assert ends is not None and not_after(path.read_text()) == ends.timestamp()


def test_an_end_after_2049_is_written_otherwise_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "LEAF_VALIDITY", timedelta(days=40 * 365))
    Authority(tmp_path, "ca").ensure(Leaf("a", "a"))
    ends = expiry(tmp_path / "a.crt")
    assert ends is not None and ends.year > 2049 and not_after((tmp_path / "a.crt").read_text()) == ends.timestamp()


def test_what_is_no_certificate_has_no_end() -> None:
    assert not_after("") is None
    assert not_after("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----") is None
    assert not_after("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----") is None


def test_what_to_do_is_said_once_when_it_has_ended_and_again_of_another(
    certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC).timestamp()
    watch = EndWatch(certificate, lambda: now)
    with caplog.at_level(logging.ERROR):
        watch.look()
        assert caplog.records == []
        now += 400 * 86400
        watch.look()
        watch.look()
        assert len(caplog.records) == 1 and "steer certs renew" in caplog.text
        watch.read()
        watch.look()
        assert len(caplog.records) == 2


def test_a_file_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    EndWatch(tmp_path / "none").look()
