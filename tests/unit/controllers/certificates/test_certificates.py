from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from api import timestamps
from api.certificates.certificatesigningrequest import CertificateSigningRequest
from controllers.actions import Delete
from controllers.certificates import cleaning, signing
from controllers.certificates.approving import rights_for
from controllers.certificates.requests import CLIENT, KUBELET_CLIENT, KUBELET_SERVING, SIGNERS, asked_in
from deploy.pki import Authority
from tests.unit.controllers.carry_out import steps_of

NOW = timestamps.parse("2025-06-01T00:00:00Z")
CLIENT_USAGES = ["digital signature", "client auth"]


def request(
    signer: str,
    name: str = "system:node:n1",
    organization: str = "system:nodes",
    *,
    usages: list[str] | None = None,
    dns: str = "",
    approved: bool = True,
    **spec: Any,
) -> CertificateSigningRequest:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    made = CertificateSigningRequest()
    made.metadata.name, made.metadata.creation_timestamp = "r", "2025-06-01T00:00:00Z"
    made.spec.request, made.spec.signer_name = pem, signer
    made.spec.usages = usages or CLIENT_USAGES
    for key, value in spec.items():
        setattr(made.spec, key, value)
    if approved:
        made.status.conditions = [condition("Approved")]
    return made


def condition(type: str, at: str = "2025-06-01T00:00:00Z") -> Any:
    from api.certificates.certificatesigningrequest import CertificateSigningRequestCondition

    return CertificateSigningRequestCondition(type=type, status="True", last_update_time=at)


@pytest.fixture
def authority(tmp_path: Path) -> signing.Authority:
    made = Authority(tmp_path, "test-ca")
    return signing.load(made.cert_path, tmp_path / "ca.key")


def signed(authority: signing.Authority, asked: CertificateSigningRequest) -> Any:
    (step,) = steps_of(signing.controller(authority).reconcile(asked, NOW))
    return step.patch["status"]


def certificate(authority: signing.Authority, asked: CertificateSigningRequest) -> x509.Certificate:
    import base64

    found = x509.load_pem_x509_certificate(base64.b64decode(signed(authority, asked)["certificate"]))
    found.verify_directly_issued_by(authority.certificate)
    return found


def test_what_is_approved_is_signed_as_asked_and_no_longer(authority: signing.Authority) -> None:
    made = certificate(authority, request(CLIENT, "jane", "team", expiration_seconds=600))
    assert made.subject.rfc4514_string() == "CN=jane,O=team"
    assert made.not_valid_after_utc == datetime.fromtimestamp(NOW + 600, UTC)
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    yearly = certificate(authority, request(CLIENT, "jane", "team"))
    assert (yearly.not_valid_after_utc - yearly.not_valid_before_utc).total_seconds() == 365 * 24 * 3600
    for seconds, early in ((8 * 3600 - 1, 0), (8 * 3600, 300)):
        daily = certificate(authority, request(CLIENT, "jane", "team", expiration_seconds=seconds))
        assert daily.not_valid_after_utc == datetime.fromtimestamp(NOW + seconds - early, UTC)
    hourly = certificate(dataclasses.replace(authority, lifetime_s=3600), request(CLIENT, "jane", "team"))
    assert hourly.not_valid_after_utc == datetime.fromtimestamp(NOW + 3600, UTC)


def test_a_certificate_for_a_client_says_of_its_key_only_what_was_asked(authority: signing.Authority) -> None:
    """An empty list of what the key is for would let nobody use it: not even as the client it is made for."""
    found = certificate(authority, request(CLIENT, "jane", usages=["client auth"])).extensions
    assert [each.value for each in found if isinstance(each.value, x509.KeyUsage)] == []
    some = certificate(authority, request(CLIENT, "jane", usages=["client auth", "digital signature"])).extensions
    assert some.get_extension_for_class(x509.KeyUsage).value.digital_signature


def test_a_serving_certificate_has_the_names_asked_for(authority: signing.Authority) -> None:
    usages = ["digital signature", "key encipherment", "server auth"]
    made = certificate(authority, request(KUBELET_SERVING, usages=usages, dns="n1"))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request(CLIENT, usages=["server auth"]), "invalid usage for client certificate: server auth"),
        (request(KUBELET_CLIENT, "jane"), "subject common name does not begin with system:node: "),
        (request(KUBELET_CLIENT, organization="system:masters"), "subject organization is not system:nodes"),
        (request(KUBELET_CLIENT, dns="n1"), "subject alternative names are not allowed"),
        (request(KUBELET_SERVING, usages=["server auth"]), "DNS or IP subjectAltName is required"),
    ],
)
def test_what_a_signer_does_not_sign_fails(authority: signing.Authority, asked: Any, why: str) -> None:
    failed = signed(authority, asked)["conditions"][-1]
    assert (failed["type"], failed["reason"], failed["message"]) == ("Failed", "SignerValidationFailure", why)


def test_only_approved_requests_of_our_signers_wait_for_us() -> None:
    class Store:
        def __init__(self, one: Any) -> None:
            self.one = one

        def __getitem__(self, kind: Any) -> Any:
            return self

        def get(self, key: Any) -> Any:
            return self.one

    def waits(one: CertificateSigningRequest) -> bool:
        return signing.observe(Any, Store(one)) is not None  # type: ignore[arg-type]

    good = request(CLIENT)
    assert waits(good)
    assert not waits(request(CLIENT, approved=False))
    assert not waits(request("example.com/signer"))
    denied = request(CLIENT)
    denied.status.conditions = [condition("Approved"), condition("Failed")]
    assert not waits(denied)
    done = request(CLIENT)
    done.status.certificate = b"pem"
    assert not waits(done)


def test_a_node_needs_the_right_for_what_it_asks() -> None:
    def rights(asked: CertificateSigningRequest) -> list[str]:
        return [right for right, _ in rights_for(asked)]

    assert rights(request(KUBELET_CLIENT, username="system:bootstrap:abc")) == ["nodeclient"]
    assert rights(request(KUBELET_CLIENT, username="system:node:n1")) == ["selfnodeclient", "nodeclient"]
    assert rights(request(KUBELET_CLIENT, "jane")) == []
    assert rights(request(KUBELET_SERVING, dns="n1", usages=["digital signature", "server auth"])) == []
    assert rights(request(CLIENT)) == []


@pytest.mark.parametrize(
    ("conditions", "is_issued", "useless_after_s"),
    [
        ([], False, 24 * 3600),
        (["Denied"], False, 3600),
        (["Approved", "Failed"], False, 3600),
        (["Approved"], True, 3600),
        (["Approved"], False, None),
    ],
)
def test_requests_are_swept_away_when_nobody_needs_them(
    authority: signing.Authority, conditions: list[str], is_issued: bool, useless_after_s: float | None
) -> None:
    asked = request(CLIENT)
    asked.status.conditions = [condition(type) for type in conditions]
    if is_issued:
        asked.status.certificate = authority.sign(asked, NOW)
    if useless_after_s is None:
        assert not cleaning.reconcile(asked, NOW + 10**7).actions
        return
    assert not cleaning.reconcile(asked, NOW + useless_after_s - 1).actions
    (gone,) = cleaning.reconcile(asked, NOW + useless_after_s).actions
    assert isinstance(gone, Delete)


def test_every_signer_reads_what_was_asked() -> None:
    asked = asked_in(request(KUBELET_SERVING, dns="n1"))
    assert (asked.common_name, asked.organizations, asked.dns_names) == ("system:node:n1", ("system:nodes",), ("n1",))
    assert len(SIGNERS) == 4
    assert msgspec.to_builtins(request(CLIENT))["spec"]["signerName"] == CLIENT
