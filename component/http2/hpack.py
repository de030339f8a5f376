"""Headers as HTTP/2 sends them: HPACK (RFC 7541), the decoding half.

What is sent is a handful of constant literals (`literal`), which need no table. What comes from a client is mostly the
same few bytes over and over, pointing into the table that both ends keep: so a block is decoded once, and looked up by
its bytes until the table changes.
"""

from __future__ import annotations

from collections import deque

Headers = tuple[tuple[bytes, bytes], ...]

TABLE_BYTES_MAX = 4096
"""Of the dynamic table: HTTP/2's default, which is never changed."""
LIST_BYTES_MAX = 16 << 10
"""Of one message's headers unless a decoder is told otherwise; each counts for 32 bytes more than it has (RFC 9113,
section 6.5.2)."""
_ENTRY_BYTES = 32
_BLOCKS_MAX = 256
"""Blocks remembered with what they mean; of more, the last."""
_KNOWN_BYTES_MAX = 1024
"""Of one of them; longer ones are rarely sent twice."""
_KNOWN_HEADERS_MAX = 32
"""In one of them: a byte may stand for a header."""
_INTEGER_MAX = 1 << 24
_BOMB_TIMES = 4
"""A block of so many times what is taken is not read to its end: a byte of it may stand for all of the table."""


class BadHeaders(Exception):
    """A header block that is not HPACK: the table can't be trusted any more, nor the connection."""


class TooManyHeaders(Exception):
    """Headers of more than the decoder takes."""


class HeaderBomb(Exception):
    """Headers of so much more that it is not worth reading them to the end: the table is not in step any more."""


_STATIC: Headers = (
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    *((name, b"") for name in (
        b"accept-language", b"accept-ranges", b"accept", b"access-control-allow-origin", b"age", b"allow",
        b"authorization", b"cache-control", b"content-disposition", b"content-encoding", b"content-language",
        b"content-length", b"content-location", b"content-range", b"content-type", b"cookie", b"date", b"etag",
        b"expect", b"expires", b"from", b"host", b"if-match", b"if-modified-since", b"if-none-match", b"if-range",
        b"if-unmodified-since", b"last-modified", b"link", b"location", b"max-forwards", b"proxy-authenticate",
        b"proxy-authorization", b"range", b"referer", b"refresh", b"retry-after", b"server", b"set-cookie",
        b"strict-transport-security", b"transfer-encoding", b"user-agent", b"vary", b"via", b"www-authenticate",
    )),
)  # fmt: skip
"""Appendix A; the first has index 1."""


class Decoder:
    """One connection's, with the table that its client fills."""

    def __init__(self, list_bytes_max: int = LIST_BYTES_MAX) -> None:
        self._list_bytes_max = list_bytes_max
        self._table: deque[tuple[bytes, bytes]] = deque()
        """Newest first."""
        self._table_bytes = 0
        self._table_bytes_max = TABLE_BYTES_MAX
        self._known: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """Return the headers of a block, names in order; equal blocks may give the very same tuple.

        Raises:
            BadHeaders: it is no such block.
            TooManyHeaders: they are more than is taken; the table is in step all the same.
            HeaderBomb: they are far more than is taken.
        """
        found = self._known.get(block)
        if found is not None:
            return found
        try:
            headers, has_changed = self._decode(block)
        except IndexError:
            raise BadHeaders("a header block ends in the middle") from None
        if has_changed:
            self._known.clear()
        if headers is None:
            raise TooManyHeaders(f"headers of more than {self._list_bytes_max} bytes")
        if not has_changed and len(block) <= _KNOWN_BYTES_MAX and len(headers) <= _KNOWN_HEADERS_MAX:
            if len(self._known) == _BLOCKS_MAX:
                del self._known[next(iter(self._known))]
            self._known[block] = headers
        return headers

    def _decode(self, block: bytes) -> tuple[Headers | None, bool]:
        """Return the headers, None where they are too many, and whether the table is another now."""
        headers: list[tuple[bytes, bytes]] = []
        position, size_bytes, has_changed, has_headers = 0, 0, False, False
        while position < len(block):
            first = block[position]
            if first & 0x80:  # indexed (section 6.1)
                index, position = _integer(block, position, 0x7F)
                header = self._at(index)
            elif first & 0x40:  # literal, to be put in the table (6.2.1)
                header, position = self._literal(block, position, 0x3F)
                self._add(header)
                has_changed = True
            elif first & 0x20:  # the table's size (6.3)
                size, position = _integer(block, position, 0x1F)
                if has_headers or size > TABLE_BYTES_MAX:
                    raise BadHeaders("a size of the table that is not allowed here")
                self._table_bytes_max = size
                self._evict(size)
                has_changed = True
                continue
            else:  # literal, not to be put there (6.2.2, 6.2.3)
                header, position = self._literal(block, position, 0x0F)
            size_bytes += len(header[0]) + len(header[1]) + _ENTRY_BYTES
            has_headers = True
            if size_bytes <= self._list_bytes_max:
                headers.append(header)
            elif size_bytes > _BOMB_TIMES * self._list_bytes_max:
                raise HeaderBomb(f"headers of more than {size_bytes} bytes")
        return (tuple(headers) if size_bytes <= self._list_bytes_max else None), has_changed

    def _literal(self, block: bytes, position: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        index, position = _integer(block, position, mask)
        if index:
            name = self._at(index)[0]
        else:
            name, position = _string(block, position)
        value, position = _string(block, position)
        return (name, value), position

    def _at(self, index: int) -> tuple[bytes, bytes]:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        if not 0 < index - len(_STATIC) <= len(self._table):
            raise BadHeaders(f"no header has the index {index}")
        return self._table[index - len(_STATIC) - 1]

    def _add(self, header: tuple[bytes, bytes]) -> None:
        size_bytes = len(header[0]) + len(header[1]) + _ENTRY_BYTES
        self._evict(max(0, self._table_bytes_max - size_bytes))
        if size_bytes <= self._table_bytes_max:
            self._table.appendleft(header)
            self._table_bytes += size_bytes

    def _evict(self, bytes_max: int) -> None:
        while self._table_bytes > bytes_max:
            name, value = self._table.pop()
            self._table_bytes -= len(name) + len(value) + _ENTRY_BYTES


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header as a literal that goes in no table."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(length: int) -> bytes:
    if length < 0x7F:
        return bytes((length,))
    rest, encoded = length - 0x7F, bytearray(b"\x7f")
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Return a number whose first bits are those of `mask`, and where it ends (section 5.1)."""
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if value > _INTEGER_MAX or shift > 28:
            raise BadHeaders("a number that is far too large")
        if byte < 0x80:
            return value, position


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    is_huffman = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    if end > len(block):
        raise BadHeaders("a string that is longer than its block")
    raw = block[position:end]
    return (_unhuffman(raw) if is_huffman else raw), end


# -- Huffman's code (appendix B). It is canonical: the lengths of the codes say what they are.

_BY_LENGTH: dict[int, bytes] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: bytes.fromhex("5cc3d0"),
    20: bytes.fromhex("808283a2b8c2e0e2"),
    21: bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6"),
    22: bytes.fromhex("818485868892 9a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9"),
    23: bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef"),
    24: bytes.fromhex("098e9091949fabced7e1eced"),
    25: bytes.fromhex("c7cfeaeb"),
    26: bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff"),
    27: bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe"),
    28: bytes.fromhex("02030405060708 0b0c0e0f101112131415171819 1a1b1c1d1e1f7fdcf9"),
    30: bytes.fromhex("0a0d16"),  # and the end of the string, which must not occur
}


def _codes() -> dict[tuple[int, int], int]:
    """Return each symbol by (length of its code, code)."""
    codes: dict[tuple[int, int], int] = {}
    code = previous = 0
    for length, symbols in _BY_LENGTH.items():
        code <<= length - previous
        for symbol in symbols:
            codes[length, code] = symbol
            code += 1
        previous = length
    return codes


_PADDING_MAX = 7
_CODE_BITS_MAX = 30
_Step = tuple[int, bytes]
"""Which place in the tree of codes half a byte leads to, and what was decoded on the way; -1 where it leads nowhere."""


def _steps() -> tuple[list[list[_Step]], list[bool]]:
    """Return what each half byte does at each place in the tree of codes, and where a string may end.

    A place is the bits read since the last symbol; 0 is none. A string ends at padding: at most seven ones.
    """
    codes = _codes()
    prefixes = {(length, code >> (total - length)) for total, code in codes for length in range(total)}
    places = {prefix: number for number, prefix in enumerate(sorted(prefixes))}
    steps: list[list[_Step]] = []
    for length, bits in sorted(prefixes):
        row: list[_Step] = []
        for half in range(16):
            at: tuple[int, int] | None = (length, bits)
            symbols = bytearray()
            for shift in (3, 2, 1, 0):
                if at is None:
                    break
                at = (at[0] + 1, at[1] << 1 | half >> shift & 1)
                if at in codes:
                    symbols.append(codes[at])
                    at = (0, 0)
                elif at not in places:
                    at = None
            row.append((-1 if at is None else places[at], bytes(symbols)))
        steps.append(row)
    may_end = [length <= _PADDING_MAX and bits == (1 << length) - 1 for length, bits in sorted(prefixes)]
    return steps, may_end


_STEPS, _MAY_END = _steps()


def _unhuffman(raw: bytes) -> bytes:
    decoded: list[bytes] = []
    place, steps = 0, _STEPS
    for byte in raw:
        place, symbols = steps[place][byte >> 4]
        if symbols:
            decoded.append(symbols)
        if place >= 0:
            place, symbols = steps[place][byte & 0xF]
            if symbols:
                decoded.append(symbols)
        if place < 0:
            raise BadHeaders("a string with its end in the middle")
    if not _MAY_END[place]:
        raise BadHeaders("a string that is not padded with ones")
    return b"".join(decoded)
