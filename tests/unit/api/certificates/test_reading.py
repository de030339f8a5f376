from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from api import validation
from api.certificates import certificatesigningrequest as csrs
from api.certificates.reading import read_request
from api.meta import ObjectMeta

_ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")
_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")


def request() -> bytes:
    """A request whose last bit is set: else that could be called unused, and the signature would be the same."""
    while not (der := signed_anew())[-1] & 1:
        pass
    return der


def signed_anew() -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a")]), critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:
    kind = b"CERTIFICATE REQUEST-----\n"
    return b"-----BEGIN " + kind + base64.encodebytes(der) + b"-----END " + kind


def flipped(der: bytes) -> Iterator[bytes]:
    for at in range(len(der)):
        for bit in range(8):
            yield der[:at] + bytes([der[at] ^ 1 << bit]) + der[at + 1 :]


def test_whatever_is_wrong_with_a_request_is_a_value_error_or_a_signature_that_is_none() -> None:
    told = {"refused": 0, "not signed": 0}
    for der in flipped(request()):
        try:
            assert not csrs.is_signed(read_request(pem(der)))
            told["not signed"] += 1
        except ValueError:
            told["refused"] += 1
    assert min(told.values()) > 100


@pytest.mark.parametrize("known", [_ECDSA_WITH_SHA256, _PUBLIC_KEY])
def test_a_request_of_a_kind_that_is_not_known_here_is_refused(known: bytes) -> None:
    der = request()
    assert known in der
    made = csrs.CertificateSigningRequest(metadata=ObjectMeta(name="a"))
    made.spec.signer_name, made.spec.usages = "example.com/s", ["client auth"]
    made.spec.request = pem(der)
    assert list(validation.find_errors(csrs.RESOURCE, made, None)) == []
    made.spec.request = pem(der.replace(known, known[:-1] + b"\x7f"))
    assert [error.path for error in validation.find_errors(csrs.RESOURCE, made, None)] == ["spec.request"]
