"""Signs what was approved, for the signers that Kubernetes itself has, with the cluster's authority.

A request that a signer does not sign is marked Failed. A certificate lives for a year or what is set instead, or as
long as was asked for if that is shorter, and never longer than the authority.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from api import timestamps
from api.certificates import certificatesigningrequest as requests_kind
from api.certificates.certificatesigningrequest import CertificateSigningRequest, is_signed
from api.certificates.reading import read_request
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Patch, Plan
from controllers.certificates.requests import SIGNERS, asked_in, has_condition
from controllers.runner import Controller, Listers

LIFETIME_S: Final = 365 * 24 * 3600
CLOCK_SKEW_S: Final = 300
SHORT_S: Final = 8 * 3600
"""A certificate for less than this lasts from now on for all of it; upstream's signer has the same bound."""
_PURPOSES: Final = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
}


@dataclass(frozen=True, slots=True)
class Authority:
    """What certificates are signed with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    lifetime_s: float = LIFETIME_S

    def sign(self, request: CertificateSigningRequest, now: float) -> bytes:
        """Return the certificate, in PEM, for a request that was found good."""
        parsed = read_request(request.spec.request)
        if not is_signed(parsed):
            raise ValueError("the request is not signed with its own key")
        wanted_s = min(request.spec.expiration_seconds or self.lifetime_s, self.lifetime_s)
        begin = datetime.fromtimestamp(int(now) - CLOCK_SKEW_S, UTC)
        # What was asked for counts from now on if it is short; else from the few minutes for clocks that are behind.
        end = begin + timedelta(seconds=wanted_s + (CLOCK_SKEW_S if wanted_s < SHORT_S else 0))
        builder = (
            x509.CertificateBuilder()
            .subject_name(parsed.subject)
            .issuer_name(self.certificate.subject)
            .public_key(parsed.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(min(end, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
        )
        usage = _key_usage(request.spec.usages)
        if usage is not None:
            builder = builder.add_extension(usage, critical=True)
        purposes = [_PURPOSES[usage] for usage in request.spec.usages if usage in _PURPOSES]
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(dict.fromkeys(purposes))), critical=False)
        try:
            names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            builder = builder.add_extension(names, critical=False)
        except x509.ExtensionNotFound:
            pass
        algorithm = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(self.key, algorithm).public_bytes(serialization.Encoding.PEM)


def load(certificate: Path, key: Path, lifetime_s: float = LIFETIME_S) -> Authority:
    """Read an authority; raises OSError or ValueError."""
    found = serialization.load_pem_private_key(key.read_bytes(), None)
    if not isinstance(found, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise ValueError(f"{key}: expected an EC, RSA or Ed25519 key")
    return Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), found, lifetime_s)


_OF_THE_KEY: Final = {
    "digital signature",
    "signing",
    "content commitment",
    "key encipherment",
    "data encipherment",
    "key agreement",
}


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage | None:
    """Return what the key is for; None where nothing is said of it, which allows all; an empty list allows nothing."""
    if _OF_THE_KEY.isdisjoint(usages):
        return None
    return x509.KeyUsage(
        digital_signature="digital signature" in usages or "signing" in usages,
        content_commitment="content commitment" in usages,
        key_encipherment="key encipherment" in usages,
        data_encipherment="data encipherment" in usages,
        key_agreement="key agreement" in usages,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def observe(key: ObjectKey, listers: Listers) -> CertificateSigningRequest | None:
    """Read the request; None unless it waits for us."""
    request = listers[requests_kind.RESOURCE].get(key)
    if request is None or request.status.certificate or request.spec.signer_name not in SIGNERS:
        return None
    if not has_condition(request, "Approved") or has_condition(request, "Denied", "Failed"):
        return None
    return request


def controller(authority: Authority) -> Controller[CertificateSigningRequest, CertificateSigningRequest]:
    """Return the controller that signs with `authority`."""

    def reconcile(request: CertificateSigningRequest, now: float) -> Plan:
        if request.metadata.deletion_timestamp:
            return NOTHING
        status: dict[str, Any]
        try:
            why = SIGNERS[request.spec.signer_name](asked_in(request))
            status = {} if why else {"certificate": base64.b64encode(authority.sign(request, now)).decode()}
        except ValueError as error:
            why = str(error)
        if why:
            moment = timestamps.render(now)
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": why,
                "lastUpdateTime": moment,
                "lastTransitionTime": moment,
            }
            status = {"conditions": [*msgspec.to_builtins(request.status.conditions), failed]}
        change = {"metadata": {"resourceVersion": request.metadata.resource_version}, "status": status}
        return Plan((Patch(requests_kind.RESOURCE, key_of(request), change, "status"),))

    return Controller(
        name="csrsigning", resource=requests_kind.RESOURCE, observe=observe, reconcile=reconcile, workers=2
    )
