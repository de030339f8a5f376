from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.actions import difference
from tests.unit.client.memory_api import merge

values = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
)
objects = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(objects, objects)
def test_the_difference_applied_to_the_old_gives_the_new(old, new):
    assert merge(old, difference(old, new)) == new


@given(objects)
def test_equal_objects_have_no_difference(same):
    assert difference(same, same) == {}
