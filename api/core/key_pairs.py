"""Whether a certificate and a key belong together, in the words of Go's crypto/tls. Pure."""

from __future__ import annotations

import re
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

_BLOCK: Final = re.compile(rb"-----BEGIN ([^\n-]*)-----\r?\n.*?-----END \1-----", re.DOTALL)


def mismatch(certificate: bytes, key: bytes) -> str:
    """Return why a server could not use these PEM texts, "" if it could: the first certificate is the server's."""
    found = _BLOCK.finditer(certificate)
    skipped: list[str] = []
    for block in found:
        kind = block[1].decode("latin-1")
        if kind == "CERTIFICATE":
            break
        skipped.append(kind)
    else:
        return _no_certificate(skipped)
    first = block[0]
    skipped = []
    for block in _BLOCK.finditer(key):
        kind = block[1].decode("latin-1")
        if kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY"):
            break
        skipped.append(kind)
    else:
        return _no_key(skipped)
    try:
        public = x509.load_pem_x509_certificate(first).public_key()
    except ValueError:
        return "x509: malformed certificate"
    try:
        private = load_pem_private_key(block[0], None)
    except (ValueError, TypeError):
        return "tls: failed to parse private key"
    if type(private.public_key()) is not type(public):
        return "tls: private key type does not match public key type"
    return "" if _encoded(private.public_key()) == _encoded(public) else "tls: private key does not match public key"


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _no_certificate(skipped: list[str]) -> str:
    if not skipped:
        return "tls: failed to find any PEM data in certificate input"
    if len(skipped) == 1 and skipped[0].endswith("PRIVATE KEY"):
        return (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        )
    where = "in certificate input after skipping PEM blocks of the following types"
    return f'tls: failed to find "CERTIFICATE" PEM block {where}: [{" ".join(skipped)}]'


def _no_key(skipped: list[str]) -> str:
    if not skipped:
        return "tls: failed to find any PEM data in key input"
    if skipped == ["CERTIFICATE"]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    where = "in key input after skipping PEM blocks of the following types"
    return f'tls: failed to find PEM block with type ending in "PRIVATE KEY" {where}: [{" ".join(skipped)}]'
