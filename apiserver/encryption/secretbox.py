"""XSalsa20-Poly1305, the cipher of NaCl's `crypto_secretbox`.

Salsa20's blocks do not depend on each other, so all blocks of a message are computed side by side in numpy. Poly1305
comes from OpenSSL. Specifications: D. J. Bernstein, "Extending the Salsa20 nonce" (2011) and "Cryptography in NaCl".
"""

from __future__ import annotations

import hmac
from typing import Final

import numpy as np
from cryptography.hazmat.primitives import poly1305
from numpy.typing import NDArray

NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16

Words = NDArray[np.uint32]
_BLOCK_BYTES: Final = 64
_SIGMA: Final = np.frombuffer(b"expand 32-byte k", dtype="<u4")
_QUARTERS: Final = (
    *((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)),
    *((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)),
)
"""The words that each quarter of a double round mixes: columns, then rows."""


def seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """Return the tag and the encrypted bytes."""
    stream = _stream(key, nonce, 32 + len(plain))
    encrypted = _xor(plain, stream[32:])
    return poly1305.Poly1305.generate_tag(stream[:32], encrypted) + encrypted


def open_sealed(key: bytes, nonce: bytes, sealed: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        ValueError: it was sealed with another key or nonce, or altered.
    """
    tag, encrypted = sealed[:TAG_BYTES], sealed[TAG_BYTES:]
    stream = _stream(key, nonce, 32 + len(encrypted))
    if not hmac.compare_digest(tag, poly1305.Poly1305.generate_tag(stream[:32], encrypted)):
        raise ValueError("the tag does not fit")
    return _xor(encrypted, stream[32:])


def _xor(left: bytes, right: bytes) -> bytes:
    return (np.frombuffer(left, np.uint8) ^ np.frombuffer(right, np.uint8)).tobytes()


def _stream(key: bytes, nonce: bytes, length: int) -> bytes:
    """Return XSalsa20's key stream."""
    subkey = _hsalsa20(key, nonce[:16])
    blocks = -(-length // _BLOCK_BYTES)
    counters = np.arange(blocks, dtype=np.uint64)
    state = np.empty((16, blocks), dtype=np.uint32)
    fixed = _layout(np.frombuffer(subkey, "<u4"), np.frombuffer(nonce[16:24] + bytes(8), "<u4"))
    state[:] = fixed[:, None]
    state[8] = (counters & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    state[9] = (counters >> np.uint64(32)).astype(np.uint32)
    return (_mixed(state) + state).T.astype("<u4").tobytes()[:length]


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    state = _layout(np.frombuffer(key, "<u4"), np.frombuffer(nonce, "<u4"))
    mixed = _mixed(state[:, None])[:, 0]
    return mixed[[0, 5, 10, 15, 6, 7, 8, 9]].astype("<u4").tobytes()


def _layout(key: NDArray[np.uint32], nonce: NDArray[np.uint32]) -> Words:
    state = np.empty(16, dtype=np.uint32)
    state[[0, 5, 10, 15]] = _SIGMA
    state[1:5], state[11:15] = key[:4], key[4:]
    state[6:10] = nonce
    return state


def _mixed(state: Words) -> Words:
    words = list(state.copy())
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            words[b] = words[b] ^ _rotated(words[a] + words[d], 7)
            words[c] = words[c] ^ _rotated(words[b] + words[a], 9)
            words[d] = words[d] ^ _rotated(words[c] + words[b], 13)
            words[a] = words[a] ^ _rotated(words[d] + words[c], 18)
    return np.array(words, dtype=np.uint32)


def _rotated(words: Words, by: int) -> Words:
    return (words << np.uint32(by)) | (words >> np.uint32(32 - by))
