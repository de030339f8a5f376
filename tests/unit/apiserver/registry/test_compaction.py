from __future__ import annotations

import pytest

from apiserver.registry.compaction import compact_once
from store.client import Compacted
from store.local import LocalStore


async def test_history_older_than_a_turn_is_forgotten_by_one_of_two_servers():
    store = LocalStore()
    first = await compact_once(store, 0, 0)
    second = await compact_once(store, 0, 0)
    old = await store.put_if(b"a", b"1", 0)
    await store.put_if(b"a", b"2", old)
    turn_of_first = await compact_once(store, *first)
    turn_of_second = await compact_once(store, *second)
    assert turn_of_first[1] == turn_of_second[1], "both know the key as the first left it"
    assert (await store.range(b"a", revision=old)).kvs, "what is younger than a turn stays"
    await compact_once(store, *turn_of_second)
    with pytest.raises(Compacted):
        await store.range(b"a", revision=old)
