"""Certificates on request: a key made here, and a CertificateSigningRequest that asks for its certificate.

`make_key` and `request` are pure but for the randomness of keys; `obtain` is the dialogue with the API. The private key
never leaves the process until its owner writes it down. Shapes and usages are those that upstream's signers ask for
("Certificates and Certificate Signing Requests", kubernetes.io/kube-apiserver-client-kubelet and
kubernetes.io/kubelet-serving).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from api.certificates import certificatesigningrequest
from api.certificates.certificatesigningrequest import CertificateSigningRequest, CertificateSigningRequestSpec
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import Client

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_SIGNER = "kubernetes.io/kubelet-serving"
NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
POLL_S = 0.5
WAIT_S = 120.0


class NotIssued(Exception):
    """No certificate came; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which certificate a node asks for."""

    signer: str
    node: str
    hosts: tuple[str, ...] = ()
    """DNS names and addresses, for a serving certificate."""

    @property
    def usages(self) -> list[str]:
        """What the certificate is good for; an EC key needs no key encipherment."""
        return ["digital signature", "server auth" if self.signer == SERVING_SIGNER else "client auth"]


def make_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request(wanted: Wanted, key: ec.EllipticCurvePrivateKey) -> CertificateSigningRequest:
    """Return the object that asks for the certificate of `key`; the server gives it a name."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, NODES_GROUP),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{NODE_PREFIX}{wanted.node}"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if wanted.hosts:
        names = x509.SubjectAlternativeName(alternative_names(wanted.hosts))
        builder = builder.add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return CertificateSigningRequest(
        metadata=ObjectMeta(generate_name="csr-"),
        spec=CertificateSigningRequestSpec(request=pem, signer_name=wanted.signer, usages=wanted.usages),
    )


def alternative_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return names and addresses as a certificate says them, each once."""
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def outcome(asked: CertificateSigningRequest) -> bytes | None:
    """Return the certificate that was issued (PEM), or None while nobody has.

    Raises:
        NotIssued: it was denied, or its signer could not.
    """
    for condition in asked.status.conditions:
        if condition.type in ("Denied", "Failed") and condition.status != "False":
            why = condition.message or condition.reason or "no reason is given"
            raise NotIssued(f"the request {asked.metadata.name} was {condition.type.lower()}: {why}")
    return asked.status.certificate or None


async def obtain(client: Client, wanted: Wanted, *, wait_s: float = WAIT_S) -> tuple[bytes, bytes]:
    """Ask for a certificate and wait for it; return key and certificate, PEM.

    Raises:
        NotIssued: it was denied, failed, or nobody approved it in time.
        ApiError: the API server refuses the request.
    """
    key = make_key()
    asked = await client.create(certificatesigningrequest.RESOURCE, request(wanted, key))
    name = asked.metadata.name
    deadline = asyncio.get_running_loop().time() + wait_s
    while (certificate := outcome(asked)) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise NotIssued(f"nobody approved the request {name} in {wait_s:.0f} s: kubectl certificate approve {name}")
        await asyncio.sleep(POLL_S)
        asked = await client.get(certificatesigningrequest.RESOURCE, ObjectKey("", name))
    return key_pem(key), certificate
