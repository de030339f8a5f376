from __future__ import annotations

import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from component.signing_keys import algorithm_of, load_private_key
from deploy.pki import Authority, Leaf, Pki


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_second_run_issues_nothing(tmp_path: Path) -> None:
    assert Pki(tmp_path).ensure_control_plane(["10.96.0.1"], ["s1"])
    assert Pki(tmp_path).ensure_control_plane(["10.96.0.1"], ["s1"]) == []


def test_the_four_trusts_do_not_vouch_for_each_other(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.ensure_control_plane([], ["s1"])
    roots = [certificate(authority.cert_path) for authority in (pki.cluster, pki.store, pki.front_proxy)]
    assert len({root.public_key().public_numbers() for root in roots}) == 3  # type: ignore[union-attr]
    store_client = certificate(tmp_path / "store" / "apiserver.crt")
    assert store_client.issuer == roots[1].subject != roots[0].subject


def test_a_kubelet_is_named_as_upstream_names_it(tmp_path: Path) -> None:
    Pki(tmp_path).ensure_node("node-1", ["172.31.0.11"])
    subject = certificate(tmp_path / "cluster" / "kubelet-node-1.crt").subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:node-1"
    assert subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"


def test_a_new_address_gets_a_new_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    assert authority.ensure(Leaf("a", "a", hosts=("10.0.0.1",)))
    assert not authority.ensure(Leaf("a", "a", hosts=("10.0.0.1",)))
    assert authority.ensure(Leaf("a", "a", hosts=("10.0.0.1", "10.0.0.2")))


def test_a_certificate_that_does_not_fit_its_key_is_replaced(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    for name in ("a", "b"):
        authority.ensure(Leaf(name, name))
    (tmp_path / "a.key").write_bytes((tmp_path / "b.key").read_bytes())  # as when killed between key and certificate
    assert authority.ensure(Leaf("a", "a"))
    assert not authority.ensure(Leaf("a", "a"))


def test_tokens_are_signed_in_the_one_way_that_everybody_reads(tmp_path: Path) -> None:
    key = load_private_key(Pki(tmp_path).service_account_key.read_bytes())
    assert algorithm_of(key.public_key()) == "RS256"


def test_a_damaged_certificate_is_replaced(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.ensure(Leaf("a", "a"))
    (tmp_path / "a.crt").write_text("nonsense")
    assert authority.ensure(Leaf("a", "a"))


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    Pki(tmp_path).ensure_control_plane([], ["s1"])
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) >= 12
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
