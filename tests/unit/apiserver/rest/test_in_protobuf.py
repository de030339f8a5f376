"""Answers in protobuf, read back with the reader of bodies and by the numbers of upstream's messages."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import msgspec
import pytest

from api import protobuf, serde
from api.core import configmap, pod
from api.discover import KINDS, RESOURCES
from api.errors import NotAcceptable, NotFound
from api.meta import ListMeta, ObjectMeta, Status
from api.meta_documents import APIGroupList, APIResourceList, PartialObjectMetadata, PartialObjectMetadataList
from api.resource import Resource
from api.schema import Struct, field, wire
from apiserver import discovery
from apiserver.registry.codec import Codec, Stored
from apiserver.registry.fanout import ADDED, BOOKMARK, Delivery
from apiserver.rest import answers, in_protobuf
from apiserver.rest.frames import Messages, PartialMessages
from apiserver.verbs.list import ListAnswer
from tests import builders

from typing import Annotated  # isort: skip


class Event(Struct):
    type: Annotated[str, wire(1)] = ""
    object: Annotated[bytes, wire(2, 1)] = b""


class ConfigMapList(Struct):
    metadata: Annotated[ListMeta, wire(1)] = field(default_factory=ListMeta)
    items: Annotated[list[configmap.ConfigMap], wire(2)] = []


def stored(name: str) -> Stored:
    codec = Codec(configmap.RESOURCE)
    made = configmap.ConfigMap(metadata=ObjectMeta(name=name, namespace="d", labels={"a": "b"}), data={"x": "y"})
    made.api_version, made.kind = "v1", "ConfigMap"
    return Stored(codec, f"d/{name}", codec.splice(codec.encode(made), 7), 7)


def told(frame: bytes) -> tuple[str, bytes]:
    """Return an event's type and object, having checked its size."""
    assert struct.unpack(">I", frame[:4]) == (len(frame) - 4,)
    read = protobuf.to_value(protobuf.envelope(frame[4:], "v1", "WatchEvent"), Event)
    event = msgspec.convert({key: read[key] for key in ("type", "object")}, Event)
    return event.type, event.object


def test_an_object_is_what_it_was_in_json() -> None:
    one = stored("a")
    body = in_protobuf.object_body(one.json)
    value = protobuf.to_value(body, configmap.ConfigMap)
    assert value == json.loads(one.json)


def test_a_list_holds_the_messages_of_its_objects_which_are_made_once() -> None:
    one, other = stored("a"), stored("b")
    body = in_protobuf.list_body(configmap.RESOURCE, [one, other], {"resourceVersion": "9", "continue": "t"})
    value = protobuf.to_value(body, ConfigMapList)
    assert (value["kind"], value["apiVersion"]) == ("ConfigMapList", "v1")
    assert value["metadata"] == {"resourceVersion": "9", "continue": "t"}
    assert [item["metadata"]["name"] for item in value["items"]] == ["a", "b"]
    assert one.message is one.message


async def test_the_messages_of_a_list_are_made_ahead() -> None:
    items = [stored(f"a{number}") for number in range(250)]
    answer = ListAnswer(configmap.RESOURCE, items, 9)
    form = answers.form_of_refusal(protobuf.MEDIA)
    await answers.prepare(answer, form)
    assert all(item.has_message for item in items)
    body, content_type = answers.list_body(answer, form, 0.0)
    assert content_type == protobuf.MEDIA and body.startswith(protobuf.MAGIC)
    assert await answers.styled(body, form) is body


def test_bare_metadata_is_a_message_of_its_own() -> None:
    metadata = ObjectMeta(name="a", uid="u")
    value = protobuf.to_value(in_protobuf.partial_body(metadata, "v1"), PartialObjectMetadata)
    assert value == {
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "a", "uid": "u"}
    }  # fmt: skip
    body = in_protobuf.partial_list_body([builders.pod("p")], {"resourceVersion": "9"}, "v1")
    listed = protobuf.to_value(body, PartialObjectMetadataList)
    assert listed["kind"] == "PartialObjectMetadataList" and listed["items"][0]["metadata"]["name"] == "p"


def test_a_refusal_is_a_status() -> None:
    error = NotFound('pods "a" not found', kind="pods", name="a")
    value = protobuf.to_value(in_protobuf.refusal_body(error), Status)
    assert value == {
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": 'pods "a" not found',
        "reason": "NotFound", "details": {"name": "a", "kind": "pods"}, "code": 404,
    }  # fmt: skip


def test_an_event_is_framed_by_its_size_and_holds_an_object_with_its_envelope() -> None:
    encoding = Messages(configmap.RESOURCE)
    type_, body = told(encoding.frame(Delivery(ADDED, stored("a"), 7)))
    assert type_ == "ADDED"
    assert protobuf.to_value(body, configmap.ConfigMap) == json.loads(stored("a").json)
    type_, body = told(encoding.frame(Delivery(BOOKMARK, None, 8, ends_initial=True)))
    value = protobuf.to_value(body, configmap.ConfigMap)
    assert (type_, value["kind"], value["metadata"]["resourceVersion"]) == ("BOOKMARK", "ConfigMap", "8")
    annotations = value["metadata"]["annotations"]
    assert annotations["k8s.io/initial-events-end"] == "true"
    empty = base64.b64decode(annotations["kubernetes.io/initial-events-list-blueprint"])
    assert empty == in_protobuf.list_body(configmap.RESOURCE, [], {}), "a list is said in the form that is read"
    type_, body = told(PartialMessages("v1").frame(Delivery(ADDED, stored("a"), 7)))
    assert protobuf.to_value(body, PartialObjectMetadata)["metadata"]["name"] == "a"
    type_, body = told(encoding.error(NotFound("gone")))
    assert (type_, protobuf.to_value(body, Status)["message"]) == ("ERROR", "gone")


def test_discovery_has_messages() -> None:
    groups = in_protobuf.document_body(msgspec.json.encode(discovery.group_list(RESOURCES)))
    assert groups is not None
    names = {group["name"] for group in protobuf.to_value(groups, APIGroupList)["groups"]}
    assert {"apps", "batch"} <= names
    apps = in_protobuf.document_body(msgspec.json.encode(discovery.resource_list("apps", "v1", RESOURCES)))
    assert apps is not None
    value = protobuf.to_value(apps, APIResourceList)
    assert value["groupVersion"] == "apps/v1" and value["kind"] == "APIResourceList"
    found = next(each for each in value["resources"] if each["name"] == "deployments")
    assert "watch" in found["verbs"]["items"] and found["namespaced"] is True
    assert in_protobuf.document_body(b'{"openapi":"3.0.0"}') is None


@pytest.mark.parametrize("resource", KINDS, ids=str)
def test_every_kind_is_answered_in_protobuf(resource: Resource[Any]) -> None:
    obj = resource.type()
    obj.api_version, obj.kind = resource.api_version, resource.kind
    body = in_protobuf.object_body(serde.encode(obj))
    assert protobuf.to_value(body, resource.type)["kind"] == resource.kind


def test_a_kind_without_a_message_cannot_be_had() -> None:
    with pytest.raises(NotAcceptable):
        in_protobuf.object_body(b'{"apiVersion":"example.org/v1","kind":"Thing"}')


def test_a_pod_takes_less_in_protobuf() -> None:
    made = builders.pod("a", node="n")
    made.api_version, made.kind = "v1", "Pod"
    assert len(protobuf.encode(made, "v1", "Pod")) < len(serde.encode(made))
    assert pod.RESOURCE.kind == "Pod"
