"""Keys that sign JSON Web Tokens: reading them, naming them, and which algorithm each is for (RFC 7517, RFC 7518)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def key_id(public: PublicKey) -> str:
    """Return a key's name in JWT headers: the unpadded base64url SHA-256 of its SubjectPublicKeyInfo."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def algorithm_of(public: PublicKey) -> str:
    """Return the JWS algorithm a key signs with: RS256 for RSA, ES256 for P-256.

    Raises:
        ValueError: a curve other than P-256.
    """
    if isinstance(public, rsa.RSAPublicKey):
        return "RS256"
    if isinstance(public.curve, ec.SECP256R1):
        return "ES256"
    raise ValueError(f"service account key: curve {public.curve.name} cannot sign tokens; use P-256 or RSA")


def load_private_key(pem: bytes) -> PrivateKey:
    """Return the private key in `pem`.

    Raises:
        ValueError: it is not PEM, not private, or of a kind that cannot sign tokens; says which.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"service account key: not a PEM private key without password: {error}") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError("service account key: not an RSA or P-256 key")
    algorithm_of(key.public_key())
    return key
