from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from api.core import configmap
from apiserver.registry.codec import Codec, Stored
from tests import builders

CODEC = Codec(configmap.RESOURCE)


@given(st.text(max_size=20), st.integers(1, 2**62))
def test_splicing_a_resource_version_and_taking_it_out_again_changes_nothing(data: str, revision: int):
    value = CODEC.encode(builders.configmap("a", key=data))
    json = CODEC.splice(value, revision)
    assert msgspec.json.decode(json)["metadata"]["resourceVersion"] == str(revision)
    assert CODEC.unsplice(json) == value


def test_stored_bytes_hold_no_resource_version():
    obj = builders.configmap("a")
    obj.metadata.resource_version = "7"
    assert b"resourceVersion" not in CODEC.encode(obj)
    assert obj.metadata.resource_version == "7"


def test_bytes_that_another_program_wrote_are_brought_into_our_order():
    foreign = b'{"metadata":{"namespace":"default","name":"a"},"kind":"ConfigMap","data":{"k":"v"},"apiVersion":"v1"}'
    stored = Stored(CODEC, "default/a", CODEC.splice(foreign, 9), 9)
    assert stored.object.data == {"k": "v"}
    assert stored.object.metadata.resource_version == "9"


def test_metadata_without_anything_can_be_spliced():
    value = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}'
    json = CODEC.splice(value, 3)
    assert msgspec.json.decode(json)["metadata"] == {"resourceVersion": "3"}
    assert CODEC.unsplice(json) == value
