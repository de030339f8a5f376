"""The ciphers that values can be encrypted with, in upstream's formats.

What is stored says how to read it: `k8s:enc:<provider>:v1:<key name>:` and then the provider's own bytes. `aesgcm`
binds a value to its place: moved to another key of the store, it cannot be read. Formats: Kubernetes' "Encrypting
Confidential Data at Rest".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

ENCRYPTED: Final = b"k8s:enc:"
"""How everything begins that is encrypted by whatever provider."""
_GCM_NONCE_BYTES: Final = 12
_CBC_BLOCK_BYTES: Final = 16
_AES_KEY_BYTES: Final = (16, 24, 32)
_BOX_KEY_BYTES: Final = (32,)


class Unreadable(Exception):
    """A value that none of the keys at hand opens; says which key was tried or missing."""


@dataclass(frozen=True, slots=True)
class Key:
    """A named key."""

    name: str
    secret: bytes

    def __repr__(self) -> str:
        """Show the name alone: keys must not get into logs."""
        return f"Key({self.name!r})"


class Provider(Protocol):
    """One way to write values, and to read those that were written so."""

    @property
    def prefix(self) -> bytes:
        """What its values begin with."""
        ...

    def encrypt(self, plain: bytes, place: bytes) -> bytes:
        """Return what is stored for `plain` under the store's key `place`."""
        ...

    def decrypt(self, stored: bytes, place: bytes) -> tuple[bytes, bool]:
        """Return the plain bytes, and whether they are stale: written otherwise than `encrypt` would.

        Raises:
            Unreadable: with none of the keys.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Algorithm:
    """How to seal and open bytes with one key."""

    key_bytes: Sequence[int]
    seal: Callable[[bytes, bytes, bytes], bytes]
    """From key, plain bytes and place."""
    open: Callable[[bytes, bytes, bytes], bytes]
    """From key, sealed bytes and place; raises ValueError or InvalidTag."""


def _seal_gcm(key: bytes, plain: bytes, place: bytes) -> bytes:
    nonce = os.urandom(_GCM_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, place)


def _open_gcm(key: bytes, sealed: bytes, place: bytes) -> bytes:
    return AESGCM(key).decrypt(sealed[:_GCM_NONCE_BYTES], sealed[_GCM_NONCE_BYTES:], place)


def _seal_cbc(key: bytes, plain: bytes, place: bytes) -> bytes:
    vector, padder = os.urandom(_CBC_BLOCK_BYTES), PKCS7(8 * _CBC_BLOCK_BYTES).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return vector + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def _open_cbc(key: bytes, sealed: bytes, place: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(sealed[:_CBC_BLOCK_BYTES])).decryptor()
    padded = decryptor.update(sealed[_CBC_BLOCK_BYTES:]) + decryptor.finalize()
    unpadder = PKCS7(8 * _CBC_BLOCK_BYTES).unpadder()
    return unpadder.update(padded) + unpadder.finalize()


# secretbox needs numpy, which takes 16 MB and a tenth of a second: both only where somebody chose this cipher.
def _seal_box(key: bytes, plain: bytes, place: bytes) -> bytes:
    from apiserver.encryption import secretbox

    nonce = os.urandom(secretbox.NONCE_BYTES)
    return nonce + secretbox.seal(key, nonce, plain)


def _open_box(key: bytes, sealed: bytes, place: bytes) -> bytes:
    from apiserver.encryption import secretbox

    return secretbox.open_sealed(key, sealed[: secretbox.NONCE_BYTES], sealed[secretbox.NONCE_BYTES :])


ALGORITHMS: Final = {
    "aesgcm": _Algorithm(_AES_KEY_BYTES, _seal_gcm, _open_gcm),
    "aescbc": _Algorithm(_AES_KEY_BYTES, _seal_cbc, _open_cbc),
    "secretbox": _Algorithm(_BOX_KEY_BYTES, _seal_box, _open_box),
}


class Keyed:
    """A provider with keys: the first writes, all read."""

    def __init__(self, kind: str, keys: Sequence[Key]) -> None:
        self._kind = kind
        self._algorithm = ALGORITHMS[kind]
        self._keys = tuple(keys)
        self.prefix = ENCRYPTED + f"{kind}:v1:".encode()

    def encrypt(self, plain: bytes, place: bytes) -> bytes:
        """Return the bytes to store, sealed with the first key."""
        key = self._keys[0]
        return self.prefix + key.name.encode() + b":" + self._algorithm.seal(key.secret, plain, place)

    def decrypt(self, stored: bytes, place: bytes) -> tuple[bytes, bool]:
        """Open a value with the key that it names.

        Raises:
            Unreadable: there is no such key, or it is not the one that the value was sealed with.
        """
        name, _, sealed = stored[len(self.prefix) :].partition(b":")
        for index, key in enumerate(self._keys):
            if key.name.encode() != name:
                continue
            try:
                return self._algorithm.open(key.secret, sealed, place), index > 0
            except (ValueError, InvalidTag):
                raise Unreadable(
                    f'{self._kind} key "{key.name}" does not open it: the key is another than it was written with, or '
                    "the value was altered or moved"
                ) from None
        raise Unreadable(
            f'it is written with {self._kind} key "{name.decode(errors="replace")}", and no key of that name was found '
            f"in the encryption configuration"
        )


class Identity:
    """Stores values as they are."""

    prefix: bytes = b""

    def encrypt(self, plain: bytes, place: bytes) -> bytes:
        """Return `plain`."""
        return plain

    def decrypt(self, stored: bytes, place: bytes) -> tuple[bytes, bool]:
        """Return `stored`, unless it is encrypted.

        Raises:
            Unreadable: it is.
        """
        if stored.startswith(ENCRYPTED):
            kind, _, rest = stored[len(ENCRYPTED) :].partition(b":v1:")
            name = rest.partition(b":")[0].decode(errors="replace")
            raise Unreadable(
                f'it is written with {kind.decode(errors="replace")} key "{name}", and the encryption configuration '
                "has no such provider for it (no matching prefix found)"
            )
        return stored, False


class Providers:
    """Several providers in order: the first writes, the one that a value belongs to reads it."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = tuple(providers)

    def encrypt(self, plain: bytes, place: bytes) -> bytes:
        """Return what the first provider stores for `plain`."""
        return self._providers[0].encrypt(plain, place)

    def decrypt(self, stored: bytes, place: bytes) -> tuple[bytes, bool]:
        """Return the plain bytes, and whether they should be written anew.

        Raises:
            Unreadable: no provider can read them.
        """
        failure: Unreadable | None = None
        for index, provider in enumerate(self._providers):
            if not stored.startswith(provider.prefix):
                continue
            try:
                plain, is_stale = provider.decrypt(stored, place)
            except Unreadable as error:
                failure = failure or error
                continue
            return plain, is_stale or index > 0
        if failure is None:
            # Identity says for encrypted values what they are; plain ones are met without it being configured.
            Identity().decrypt(stored, place)
            failure = Unreadable(
                "it is not encrypted, and the encryption configuration has no identity provider to read it"
            )
        raise failure
