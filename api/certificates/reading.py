"""Certificates and requests for them, read from PEM or DER: whatever is wrong with one is a ValueError.

The library that reads them puts off most of the reading, and knows of faults that are no ValueError: a version that
there is none of, an extension given twice. Who takes what others send should meet all of it here, once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # The library is large: every process imports the API's types, and few read certificates.
    from cryptography import x509

_Read = TypeVar("_Read")


def read_request(pem: bytes) -> x509.CertificateSigningRequest:
    """Return the request in `pem`, whose subject and extensions can be read; raises ValueError."""
    from cryptography import x509

    def read() -> x509.CertificateSigningRequest:
        found = x509.load_pem_x509_csr(pem)
        found.subject, found.extensions  # noqa: B018 (read now, or they fail whoever looks)
        return found

    return _sound(read)


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates in `pem`; raises ValueError, also where there are none."""
    from cryptography import x509

    return _sound(lambda: x509.load_pem_x509_certificates(pem))


def read_der(der: bytes) -> x509.Certificate:
    """Return a certificate whose subject and extensions can be read; raises ValueError."""
    from cryptography import x509

    def read() -> x509.Certificate:
        found = x509.load_der_x509_certificate(der)
        found.subject, found.extensions  # noqa: B018 (as above)
        return found

    return _sound(read)


def _sound(read: Callable[[], _Read]) -> _Read:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return read()
    except (
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        UnsupportedAlgorithm,
    ) as error:
        raise ValueError(str(error)) from None
