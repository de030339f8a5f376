from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.core.volumes import DownwardAPIVolumeFile, KeyToPath, Volume
from kubelet.downward import PodFacts, render_map
from kubelet.volumes.files import compute_payload
from kubelet.volumes.payload import File, PayloadError, check_path, from_downward, from_keys
from tests.unit.kubelet.builders import pod


def test_all_keys_become_files():
    assert from_keys("x", {"a": b"1"}, [], 0o600, optional=False) == {"a": File(b"1", 0o600)}


def test_items_choose_paths_and_modes():
    items = [KeyToPath(key="a", path="d/b", mode=0o400)]
    assert from_keys("x", {"a": b"1", "c": b"2"}, items, 0o600, optional=False) == {"d/b": File(b"1", 0o400)}


def test_a_missing_key_is_an_error_unless_optional():
    items = [KeyToPath(key="a", path="b")]
    with pytest.raises(PayloadError, match="references non-existent secret key: a"):
        from_keys("references non-existent secret key", {}, items, 0o600, optional=False)
    assert from_keys("x", {}, items, 0o600, optional=True) == {}


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "..data", "..2024/x"])
def test_paths_may_not_leave_the_volume(path: str):
    with pytest.raises(PayloadError):
        check_path(path)


def test_downward_files():
    p = pod(metadata={"labels": {"b": 'say "x"', "a": "1"}})
    items = [
        msgspec.convert({"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}, DownwardAPIVolumeFile),
        msgspec.convert({"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}, DownwardAPIVolumeFile),
    ]
    payload = from_downward(p, items, 0o644, PodFacts())
    assert payload["labels"].content == b'a="1"\nb="say \\"x\\""'
    assert payload["n"].content == b"web"


async def test_a_source_that_says_nothing_gives_no_files():
    volume = msgspec.convert({"name": "v", "projected": {"sources": [{}]}}, Volume)
    nobody: Any = None
    assert await compute_payload(pod(), volume, nobody, nobody, PodFacts()) == {}


def test_maps_are_rendered_in_key_order():
    assert render_map({"b": "2\n", "a": "1"}) == 'a="1"\nb="2\\n"'
    assert render_map({"a": 'q"\\\a\v\x01\x7f\xa0é\u2028\U000e0001'}) == (
        'a="q\\"\\\\\\a\\v\\x01\\x7f\\u00a0é\\u2028\\U000e0001"'
    )
