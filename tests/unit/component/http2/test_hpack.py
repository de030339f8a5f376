from __future__ import annotations

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from component.http2.hpack import LIST_BYTES_MAX, BadHeaders, Decoder, TooManyHeaders, literal

# RFC 7541, appendix C.3 and C.4: three requests on one connection, without and with Huffman's code.
REQUESTS = (
    ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")),
    (
        (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ),
    (
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ),
)  # fmt: skip
PLAIN = (
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
HUFFMAN = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)


@pytest.mark.parametrize("blocks", [PLAIN, HUFFMAN], ids=["plain", "huffman"])
def test_the_rfcs_requests_are_read(blocks: tuple[str, ...]):
    decoder = Decoder()
    assert tuple(decoder.decode(bytes.fromhex(block)) for block in blocks) == REQUESTS


def test_a_block_means_something_else_once_the_table_has_changed():
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    newest = b"\xbe"
    assert decoder.decode(newest) == decoder.decode(newest) == ((b"a", b"b"),)
    decoder.decode(b"\x40\x01c\x01d")
    assert decoder.decode(newest) == ((b"c", b"d"),)


def test_what_does_not_fit_the_table_any_more_leaves_it_oldest_first():
    decoder = Decoder()
    decoder.decode(b"\x3f\x31\x40\x01a\x01b\x40\x01c\x01d")  # room for 80 bytes: each takes 34
    assert decoder.decode(b"\xbe\xbf") == ((b"c", b"d"), (b"a", b"b"))
    decoder.decode(b"\x40\x01e\x01f")
    assert decoder.decode(b"\xbe\xbf") == ((b"e", b"f"), (b"c", b"d"))
    with pytest.raises(BadHeaders):
        decoder.decode(b"\xc0")
    decoder.decode(b"\x20")
    with pytest.raises(BadHeaders):
        decoder.decode(b"\xbe")


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\xff\xff\xff\xff\xff\x0f",  # a number without end
        b"\x00\x05abc",  # a string cut short
        b"\x00",
        b"\x82\x20",  # the table's size after a header
        b"\x3f\xe2\x1f",  # a table larger than we allow: 4097
        b"\x00\x81\x00\x00",  # Huffman's code, padded with zeros
        b"\x00\x84\xff\xff\xff\xff\x00",  # its end in the middle
    ],
)
def test_what_is_not_hpack_is_told(block: bytes):
    with pytest.raises(BadHeaders):
        Decoder().decode(block)


def test_a_small_block_can_not_become_headers_without_end():
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x7f\xa1\x1e" + bytes(4000))
    with pytest.raises(TooManyHeaders):
        decoder.decode(b"\xbe" * (LIST_BYTES_MAX // 4000 + 1))


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=8))
def test_literals_are_read_back(headers: list[tuple[bytes, bytes]]):
    assert Decoder().decode(b"".join(literal(*header) for header in headers)) == tuple(headers)


@given(st.binary(max_size=200))
def test_rubbish_gives_headers_or_an_error_of_ours(block: bytes):
    decoder = Decoder()
    for _ in range(2):
        try:
            headers = decoder.decode(block)
        except (BadHeaders, TooManyHeaders):
            return
        assert isinstance(headers, tuple)


@given(st.binary(max_size=60))
def test_strings_are_decoded_as_another_implementation_encodes_them(text: bytes):
    encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    encoded = encoder.encode(text)
    block = b"\x00\x01x" + bytes((0x80 | 0x7F, len(encoded) - 0x7F)) if len(encoded) >= 0x7F else b"\x00\x01x"
    if len(encoded) < 0x7F:
        block += bytes((0x80 | len(encoded),))
    assert Decoder().decode(block + encoded) == ((b"x", text),)


@given(st.binary(max_size=20))
def test_bytes_that_are_no_string_are_refused_as_another_implementation_refuses_them(raw: bytes):
    try:
        expected: bytes | None = decode_huffman(raw)
    except HPACKDecodingError:
        expected = None
    block = b"\x00\x01x" + bytes((0x80 | len(raw),)) + raw
    if expected is None:
        with pytest.raises(BadHeaders):
            Decoder().decode(block)
    else:
        assert Decoder().decode(block) == ((b"x", expected),)


def test_equal_blocks_are_read_once_while_few_enough_came_between_and_no_more_are_kept_than_a_bound():
    def block(number: int) -> bytes:
        return literal(b":path", str(number).encode())

    decoder = Decoder()
    first = decoder.decode(block(0))
    assert decoder.decode(block(0)) is first
    for number in range(1, 256):
        decoder.decode(block(number))
    assert decoder.decode(block(0)) is first
    last = decoder.decode(block(256))
    assert decoder.decode(block(256)) is last
    assert decoder.decode(block(0)) == first and decoder.decode(block(0)) is not first
    long = b"".join(literal(b"x", b"y" * 200) for _ in range(10))
    assert decoder.decode(long) is not decoder.decode(long)
