"""A snapshot that was cut, altered or reordered is refused."""

from __future__ import annotations

import pytest

from store.consensus.snapshot import SnapshotDamaged, Unframer, frame

PAYLOADS = [b"one", b"two", b"three"]


def read(chunks) -> tuple[list[bytes], tuple[int, int] | None]:
    unframer = Unframer()
    payloads = [unframer.take(chunk) for chunk in chunks]
    return payloads[:-1], unframer.end


def test_what_was_framed_comes_back():
    assert read(frame(PAYLOADS, 9, 2)) == (PAYLOADS, (9, 2))


def test_a_snapshot_without_its_end_has_none():
    assert read(list(frame(PAYLOADS, 9, 2))[:-1])[1] is None


@pytest.mark.parametrize("spoil", ["alter", "swap", "skip", "again"])
def test_a_spoiled_snapshot_is_refused(spoil):
    chunks = list(frame(PAYLOADS, 9, 2))
    match spoil:
        case "alter":
            chunks[1] = chunks[1][:-1] + b"x"
        case "swap":
            chunks[0], chunks[1] = chunks[1], chunks[0]
        case "skip":
            del chunks[1]
        case "again":
            chunks.append(chunks[-1])
    with pytest.raises(SnapshotDamaged):
        read(chunks)
