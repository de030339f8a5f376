"""Frames are cut out of what arrives, however it was cut on its way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.http2 import frames
from component.http2.frames import FRAME_BYTES_MAX, Fault, Splitter, frame

FRAMES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, (1 << 31) - 1), st.binary(max_size=50)),
    max_size=8,
)


@given(FRAMES, st.lists(st.integers(0, 500), max_size=8))
def test_frames_come_out_whole_and_in_order_wherever_the_bytes_are_cut(sent, cuts):
    data = b"".join(frame(*each) for each in sent)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    splitter = Splitter()
    came = [each for begin, end in zip(places, places[1:], strict=False) for each in splitter.split(data[begin:end])]
    assert came == sent


def test_a_frame_that_is_too_long_is_refused_by_its_head_and_the_highest_bit_of_its_stream_means_nothing():
    splitter = Splitter()
    head = frame(frames.DATA, 0, 0xFFFFFFFF, bytes(FRAME_BYTES_MAX + 1))[: frames.HEAD_BYTES]
    with pytest.raises(Fault) as raised:
        list(splitter.split(head))
    assert raised.value.code == frames.FRAME_SIZE_ERROR
    assert list(Splitter().split(frame(frames.DATA, 0, 0xFFFFFFFF))) == [(frames.DATA, 0, 0x7FFFFFFF, b"")]
