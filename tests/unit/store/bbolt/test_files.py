"""What is written is read again, and a file that somebody made up costs no more than its size."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.bbolt import format
from store.bbolt.read import Damaged, File
from store.bbolt.write import Bucket, Changed
from store.bbolt.write import File as Written

Contents = dict[bytes, dict[bytes, bytes]]
lengths = st.sampled_from([0, 1, 20, 900, 2100, 4000, 4100, 9000])
values = st.builds(lambda letter, length: letter * length, st.sampled_from([b"a", b"\x00", b"\xff"]), lengths)
keys = st.one_of(st.binary(min_size=1, max_size=30), st.builds(lambda n: b"k" * n, st.integers(1, 5000)))
buckets = st.dictionaries(
    st.binary(min_size=1, max_size=12), st.dictionaries(keys, values, max_size=60), min_size=1, max_size=5
)


def written(contents: Contents) -> bytes:
    made = Written(
        Bucket(
            name,
            lambda pairs=pairs: sorted(pairs.items()),
            lambda pairs=pairs: ((key, range(len(value))) for key, value in sorted(pairs.items())),
        )
        for name, pairs in contents.items()
    )
    raw = b"".join(made.pieces())
    assert len(raw) == made.size_bytes
    return raw


def read_back(path: Path, names) -> Contents:
    with File(path) as file:
        return {name: dict(file.bucket(name)) for name in names}


@settings(max_examples=60, deadline=None)
@given(buckets)
def test_what_is_written_is_read_again(tmp_path_factory, contents: Contents):
    path = tmp_path_factory.mktemp("bbolt") / "file"
    path.write_bytes(written(contents))
    assert read_back(path, contents) == contents
    with File(path) as file:
        assert list(file.bucket(b"a name that is too long to be drawn")) == []


def test_a_tree_of_many_levels_is_read_in_order(tmp_path):
    pairs = {b"%08d" % number + b"x" * 1000: b"v%d" % number for number in range(3000)}
    (tmp_path / "file").write_bytes(written({b"b": pairs}))
    with File(tmp_path / "file") as file:
        assert list(file.bucket(b"b")) == sorted(pairs.items())


def test_a_bucket_that_changes_between_the_two_looks_is_noticed():
    sizes = iter([[(b"k", b"v")], [(b"k", b"v" * 9000), (b"l", b"")]])
    file = Written([Bucket(b"b", lambda: next(sizes))])
    with pytest.raises(Changed):
        list(file.pieces())


def test_the_newer_description_counts_and_one_torn_does_no_harm(tmp_path):
    raw = written({b"b": {b"k": b"v"}})
    for torn in (0, format.PAGE_BYTES):
        (tmp_path / "file").write_bytes(raw[: torn + 20] + bytes(40) + raw[torn + 60 :])
        assert read_back(tmp_path / "file", [b"b"]) == {b"b": {b"k": b"v"}}
    both = bytearray(raw)
    for at in (0, format.PAGE_BYTES):
        both[at + 20 : at + 60] = bytes(40)
    (tmp_path / "file").write_bytes(both)
    with pytest.raises(Damaged, match="does not begin"):
        File(tmp_path / "file")


def test_a_file_altered_at_random_is_read_or_refused_and_costs_little(tmp_path):
    contents = {b"key": {b"%06d" % n: b"v" * (n % 300) for n in range(2000)}, b"meta": {b"a": b"b"}}
    raw, draw = written(contents), random.Random(1)
    size = sum(len(key) + len(value) for pairs in contents.values() for key, value in pairs.items())
    began = time.monotonic()
    for _ in range(150):
        bad = bytearray(raw)
        for _ in range(draw.randint(1, 4)):
            page = draw.randrange(2, len(raw) // format.PAGE_BYTES) * format.PAGE_BYTES
            at = page + draw.randrange(64)
            bad[at] = draw.choice([0, 1, 0x7F, 0xFF, draw.randrange(256)])
        (tmp_path / "file").write_bytes(bad)
        try:
            got = read_back(tmp_path / "file", contents)
        except Damaged:
            continue
        assert sum(len(key) + len(value) for pairs in got.values() for key, value in pairs.items()) <= 2 * size
    assert time.monotonic() - began < 60


def _branch(number: int, children: list[int]) -> bytes:
    head = format.HEAD.pack(number, format.BRANCH, len(children), 0)
    elements = b"".join(format.BRANCH_ELEMENT.pack(0, 0, child) for child in children)
    return (head + elements).ljust(format.PAGE_BYTES, b"\0")


@pytest.mark.parametrize("children", [[3], [4, 4, 4, 4], [3, 4]], ids=["of itself", "the same", "both"])
def test_a_tree_that_leads_back_into_itself_comes_to_an_end(tmp_path, children: list[int]):
    leaf = format.HEAD.pack(4, format.LEAF, 1, 0) + format.LEAF_ELEMENT.pack(0, 16, 1, 3000) + b"k" + b"v" * 3000
    directory = format.HEAD.pack(5, format.LEAF, 1, 0)
    directory += format.LEAF_ELEMENT.pack(1, 16, 3, 16) + b"key" + struct.pack("<QQ", 3, 0)
    description = format.DESCRIPTION.pack(format.MAGIC, format.VERSION, format.PAGE_BYTES, 0, 5, 0, 2, 6, 2)
    meta = format.HEAD.pack(0, format.META, 0, 0) + description + format.CHECKSUM.pack(format.checksum(description))
    pages = [meta, meta, b"", _branch(3, children), leaf, directory]
    (tmp_path / "file").write_bytes(b"".join(page.ljust(format.PAGE_BYTES, b"\0") for page in pages))
    with pytest.raises(Damaged), File(tmp_path / "file") as file:
        list(file.bucket(b"key"))


def test_elements_that_share_their_bytes_are_refused(tmp_path):
    contents = {b"key": {b"a": b"v" * 1500, b"b": b"w" * 1500}}
    raw = bytearray(written(contents))
    at = 3 * format.PAGE_BYTES + format.HEAD.size
    for element in range(2):
        raw[at + 16 * element : at + 16 * (element + 1)] = format.LEAF_ELEMENT.pack(0, 100, 1 + element, 3000)
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(Damaged, match="not in it"):
        read_back(tmp_path / "file", contents)


def test_a_page_said_to_go_on_for_ever_is_not_fetched(tmp_path):
    raw = bytearray(written({b"key": {b"a": b"v"}}))
    struct.pack_into("<I", raw, 3 * format.PAGE_BYTES + 12, 0xFFFFFFFF)
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(Damaged, match="go on for"):
        read_back(tmp_path / "file", [b"key"])
