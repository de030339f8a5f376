from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import yaml
from aiohttp.test_utils import make_mocked_request

from api.apps import deployment
from api.core import configmap
from api.custom import make_type
from api.errors import NotAcceptable, NotFound
from apiserver.crd.kinds import Shape
from apiserver.registry.codec import Codec, Stored
from apiserver.request import Answer, Call, RequestInfo
from apiserver.rest import answers, door
from apiserver.rest.answers import Form
from apiserver.table import PLAIN, Rendering
from apiserver.verbs.list import ListAnswer

JSON = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}'


@pytest.mark.parametrize("form", [Form(PLAIN), Form(PLAIN, is_pretty=True), Form(PLAIN, is_yaml=True)])
async def test_every_answer_is_lines_that_end(form: Form) -> None:
    one, _ = answers.object_body(configmap.RESOURCE, Answer(JSON, "1"), form, 0.0)
    several, _ = answers.list_body(ListAnswer(configmap.RESOURCE, [], 1), form, 0.0)
    bodies = [await answers.styled(body, form) for body in (one, several)]
    assert [body[-2:-1] != b"\n" and body.endswith(b"\n") for body in bodies] == [True, True]


async def test_much_yaml_is_the_same_as_little() -> None:
    large = {"apiVersion": "v1", "kind": "ConfigMap", "data": {f"k{number}": "v" for number in range(3000)}}
    written = await answers.styled(msgspec.json.encode(large), Form(PLAIN, is_yaml=True))
    assert written.startswith(b"apiVersion: v1\ndata:\n  k0: v\n")
    assert yaml.safe_load(written) == large


def test_a_failure_is_a_line_that_clients_compare_byte_for_byte() -> None:
    response = door.failure(NotFound("no"), Call(RequestInfo("get", "/")))
    body = response.body
    assert isinstance(body, bytes)
    assert body.startswith(b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no",')
    assert body.endswith(b',"code":404}\n')
    assert msgspec.json.decode(body)["reason"] == "NotFound"


def test_a_scale_is_a_table_of_how_many_there_shall_be_and_are() -> None:
    shown = b'{"metadata":{"name":"web"},"spec":{"replicas":3},"status":{"replicas":2}}'
    form = Form(Rendering("Table"))
    body, _ = answers.object_body(door.kind_shown("scale", deployment.RESOURCE), Answer(shown, "1"), form, 0.0)
    table = msgspec.json.decode(body)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["web", 3, 2]


def test_one_object_is_not_shown_as_a_list_nor_a_list_as_one_object() -> None:
    with pytest.raises(NotAcceptable, match=r"the requested object is not a list \(\*core.ConfigMap\)"):
        answers.object_body(configmap.RESOURCE, Answer(JSON, "1"), Form(Rendering("PartialObjectMetadataList")), 0.0)
    with pytest.raises(NotAcceptable, match=r"the requested object is a list \(\*apps.DeploymentList\)"):
        answers.list_body(ListAnswer(deployment.RESOURCE, [], 1), Form(Rendering("PartialObjectMetadata")), 0.0)


def test_items_of_a_list_do_not_say_again_what_they_are() -> None:
    codec = Codec(configmap.RESOURCE)
    items = [Stored(codec, f"d/{name}", JSON, 1) for name in ("a", "b")]
    body, _ = answers.list_body(ListAnswer(configmap.RESOURCE, items, 7), Form(PLAIN), 0.0)
    assert msgspec.json.decode(body) == {
        "kind": "ConfigMapList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"},
        "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "a"}}],
    }
    empty, _ = answers.list_body(ListAnswer(configmap.RESOURCE, [], 7), Form(PLAIN), 0.0)
    assert msgspec.json.decode(empty)["items"] == []


@pytest.mark.parametrize(
    ("asked", "is_compressed"),
    [("gzip", True), ("deflate, gzip , br", True), ("", False), ("gzip;q=0", False), ("identity, x-gzip", False)],
)
async def test_large_answers_are_compressed_for_those_who_name_gzip(asked: str, is_compressed: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"Accept-Encoding": asked})
    headers: dict[str, str] = {}
    body = await answers.compressed(request, bytes(answers.GZIP_BYTES_MIN), headers)
    assert (len(body) < answers.GZIP_BYTES_MIN, "Content-Encoding" in headers) == (is_compressed, is_compressed)


async def test_what_depends_on_more_than_the_compression_says_so() -> None:
    headers = {"Vary": "Accept"}
    request = make_mocked_request("GET", "/", headers={"Accept-Encoding": "gzip"})
    await answers.compressed(request, bytes(answers.GZIP_BYTES_MIN), headers)
    assert headers["Vary"] == "Accept, Accept-Encoding"


def test_fields_in_yaml_are_in_the_order_of_their_names() -> None:
    assert answers.as_yaml(b'{"kind":"A","apiVersion":"v1","b":{"d":1,"c":[2]}}') == (
        b"apiVersion: v1\nb:\n  c:\n  - 2\n  d: 1\nkind: A\n"
    )


def test_texts_that_would_be_read_as_something_else_are_in_double_quotes_in_yaml() -> None:
    told = b'{"a":"","b":"true","c":"1","d":"x: y","e":"plain","f":true,"g":"one\\ntwo\\n"}'
    assert answers.as_yaml(told) == (b'a: ""\nb: "true"\nc: "1"\nd: \'x: y\'\ne: plain\nf: true\ng: |\n  one\n  two\n')
    # What Go's reader, and not Python's, takes for a truth value or a number; names of fields as well.
    assert answers.as_yaml(b'{"n":"y","a":"1e3","b":"0o7","c":"yes1"}') == b'a: "1e3"\nb: "0o7"\nc: yes1\n"n": "y"\n'


def test_a_list_of_custom_objects_says_that_nothing_follows() -> None:
    crd = {"spec": {"group": "x.io", "names": {"plural": "as", "kind": "A"}}, "status": {}}
    shape = Shape({**crd, "spec": {**crd["spec"], "versions": []}}, {"name": "v1"})
    resource = replace(configmap.RESOURCE, type=make_type(shape))
    body, _ = answers.list_body(ListAnswer(resource, [], 7), Form(PLAIN), 0.0)
    assert msgspec.json.decode(body)["metadata"] == {"continue": "", "resourceVersion": "7"}
    body, _ = answers.list_body(ListAnswer(resource, [], 7, "t", 2), Form(PLAIN), 0.0)
    assert msgspec.json.decode(body)["metadata"] == {"continue": "t", "resourceVersion": "7", "remainingItemCount": 2}
