from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.encryption import secretbox

# The example of "Cryptography in NaCl", section 10.
KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
PLAIN = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41d"
    "b66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a0"
    "89bc76897040e082f937763848645e0705"
)
TAG = bytes.fromhex("f3ffc7703f9400e52a7dfb4b3d3305d9")
BEGINNING = bytes.fromhex("8e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a")


def test_the_published_example_comes_out():
    sealed = secretbox.seal(KEY, NONCE, PLAIN)
    assert sealed[:16] == TAG and sealed[16:48] == BEGINNING
    assert secretbox.open_sealed(KEY, NONCE, sealed) == PLAIN


@given(st.binary(max_size=300), st.integers(0, 400))
def test_what_was_altered_is_refused(plain: bytes, at: int):
    sealed = bytearray(secretbox.seal(KEY, NONCE, plain))
    assert secretbox.open_sealed(KEY, NONCE, bytes(sealed)) == plain
    sealed[at % len(sealed)] ^= 1
    with pytest.raises(ValueError):
        secretbox.open_sealed(KEY, NONCE, bytes(sealed))
