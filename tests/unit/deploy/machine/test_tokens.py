from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controllers import bootstrap_tokens
from deploy.machine import discovery, tokens
from deploy.machine.tokens import Token
from deploy.pki import Authority
from deploy.report import CannotDo

TOKEN = Token("abcdef", "0123456789abcdef")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_token_survives_being_kept() -> None:
    kept = tokens.build(TOKEN, NOW, description="for m2")
    known = tokens.read(kept)
    assert known == tokens.Known(TOKEN, NOW, ("authentication", "signing"), (tokens.GROUP,), "for m2")
    assert kept.metadata.name == "bootstrap-token-abcdef"


def test_a_token_is_over_at_its_expiration_and_one_without_never() -> None:
    known = tokens.read(tokens.build(TOKEN, NOW))
    assert known is not None
    assert known.is_over(NOW)
    assert not known.is_over(NOW - timedelta(seconds=1))
    eternal = tokens.read(tokens.build(TOKEN, None))
    assert eternal is not None and not eternal.is_over(NOW)


def test_an_expiration_that_nobody_can_read_is_over() -> None:
    kept = tokens.build(TOKEN, NOW)
    kept.data["expiration"] = b"tomorrow"
    known = tokens.read(kept)
    assert known is not None and known.is_over(NOW)


def test_what_is_no_token_is_refused_without_being_repeated() -> None:
    with pytest.raises(CannotDo) as raised:
        tokens.parse_token("abcdef.secretsecret")
    assert "secretsecret" not in str(raised.value)


def test_generated_tokens_have_the_shape_and_differ() -> None:
    made = {str(tokens.generate()) for _ in range(50)}
    assert len(made) == 50
    assert all(tokens.parse_token(text) for text in made)


def test_a_tokens_secret_is_not_in_what_is_logged() -> None:
    assert TOKEN.secret not in repr(TOKEN)


def test_durations() -> None:
    assert tokens.parse_duration("24h") == timedelta(hours=24)
    assert tokens.parse_duration("1h30m") == timedelta(minutes=90)
    assert tokens.parse_duration("0") is None
    for wrong in ("", "3x", "h", "1d"):
        with pytest.raises(CannotDo):
            tokens.parse_duration(wrong)


def cluster_info(tmp_path, token: Token = TOKEN) -> tuple[dict[str, str], str]:
    authority = Authority(tmp_path / "ca", "test").cert_path.read_bytes()
    text = (
        "apiVersion: v1\nkind: Config\nclusters:\n- name: ''\n  cluster:\n    server: https://10.0.0.1:6443\n"
        f"    certificate-authority-data: {discovery.base64.b64encode(authority).decode()}\n"
    )
    signature = bootstrap_tokens.sign(text, token.id, token.secret)
    return {"kubeconfig": text, f"jws-kubeconfig-{token.id}": signature}, discovery.ca_hash(authority)


def test_what_the_controllers_signed_is_believed(tmp_path) -> None:
    data, ca_hash = cluster_info(tmp_path)
    assert discovery.believe(data, TOKEN, ca_hash).server == "https://10.0.0.1:6443"


def test_nothing_is_believed_that_another_token_signed(tmp_path) -> None:
    data, ca_hash = cluster_info(tmp_path)
    with pytest.raises(CannotDo, match="not signed with this token"):
        discovery.believe(data, Token("abcdef", "0" * 16), ca_hash)
    with pytest.raises(CannotDo, match="knows no token 000000"):
        discovery.believe(data, Token("000000", "0" * 16), ca_hash)


def test_a_changed_cluster_info_is_not_believed(tmp_path) -> None:
    data, ca_hash = cluster_info(tmp_path)
    data["kubeconfig"] = data["kubeconfig"].replace("10.0.0.1", "10.0.0.66")
    with pytest.raises(CannotDo, match="not signed"):
        discovery.believe(data, TOKEN, ca_hash)


def test_whoever_has_the_token_cannot_bring_another_ca(tmp_path) -> None:
    data, _ = cluster_info(tmp_path)
    with pytest.raises(CannotDo, match="not the one of --ca-hash"):
        discovery.believe(data, TOKEN, "sha256:" + "0" * 64)


@pytest.mark.parametrize("signature", ["", "x", "..", "e30..AAAA", "bm9uZQ..", "eyJhbGciOiJub25lIn0.."])
def test_strange_signatures_are_none(tmp_path, signature: str) -> None:
    data, _ = cluster_info(tmp_path)
    assert not discovery.is_signed(data["kubeconfig"], signature, TOKEN)
