from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api.apps import replicaset as replicasets
from api.apps.replicaset import ReplicaSet
from controllers.actions import difference, update_status
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


def test_a_status_whose_lists_change_is_written_only_over_what_was_seen():
    old = msgspec.convert({"metadata": {"name": "web", "namespace": "default", "resourceVersion": "5"}}, ReplicaSet)
    counted = msgspec.structs.replace(old.status, replicas=2)
    patch = update_status(replicasets.RESOURCE, old, counted)
    assert patch is not None and "metadata" not in patch.patch
    condition = {"type": "ReplicaFailure", "status": "True"}
    failing = msgspec.convert({"replicas": 2, "conditions": [condition]}, type(old.status))
    patch = update_status(replicasets.RESOURCE, old, failing)
    assert patch is not None and patch.patch["metadata"] == {"resourceVersion": "5"}
