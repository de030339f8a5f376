import json
import struct
from typing import Any

import pytest

from api.errors import NotAcceptable
from apiserver import openapi, openapi_v3_protobuf
from apiserver.rest.documents import Document, Documents

DEPLOYMENTS = "/openapi/v3/apis/apps/v1"
OLD = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
NEW = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"


def fields(message: bytes) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        match tag & 7:
            case 0:
                found.append((tag >> 3, varint()))
            case 1:
                found.append((tag >> 3, struct.unpack("<d", message[at : at + 8])[0]))
                at += 8
            case 2:
                length = varint()
                found.append((tag >> 3, message[at : at + length]))
                at += length
    return found


def named(message: bytes, number: int) -> dict[str, bytes]:
    """Return a map that is written as pairs of name and value."""
    pairs = [dict(fields(entry)) for field, entry in fields(message) if field == number]
    return {pair[1].decode(): pair[2] for pair in pairs}


def schema(value: dict[str, Any]) -> list[tuple[int, Any]]:
    document = {
        "openapi": "3.0.0",
        "info": {"title": "t", "version": "v"},
        "paths": {},
        "components": {"schemas": {"S": value}},
    }
    encoded = dict(fields(openapi_v3_protobuf.encode(document)))
    given = named(dict(fields(encoded[5]))[1], 1)["S"]
    ((which, body),) = fields(given)
    assert which == 1
    return fields(body)


def find(accept: str, query: dict[str, str] | None = None) -> Document:
    return Documents("h:1").find("GET", DEPLOYMENTS, query or {}, accept)


def test_every_document_names_the_same_paths_operations_and_types() -> None:
    for path, built in openapi.documents().items():
        document = json.loads(built.json)
        encoded = dict(fields(openapi.in_protobuf(built.json)))
        assert encoded[1] == b"3.0.0"
        paths = named(encoded.get(4, b""), 1)
        assert list(paths) == list(document["paths"]), path
        for name, item in document["paths"].items():
            numbers = {number for number, _ in fields(paths[name])} & {4, 5, 6, 7, 8, 9, 10}
            known = {"get": 4, "put": 5, "post": 6, "delete": 7, "options": 8, "head": 9, "patch": 10}
            assert numbers == {known[method] for method in item if method in known}
        schemas = document["components"]["schemas"]
        types = named(dict(fields(encoded[5]))[1], 1) if schemas else {}
        assert list(types) == list(schemas)


def test_an_operation_says_what_it_takes_and_gives() -> None:
    encoded = dict(fields(openapi.in_protobuf(openapi.documents()["apis/apps/v1"].json)))
    item = fields(named(encoded[4], 1)["/apis/apps/v1/namespaces/{namespace}/deployments"])
    post = fields(dict(item)[6])
    assert (5, b"createAppsV1NamespacedDeployment") in post
    body = dict(fields(dict(post)[7]))[1]
    media = named(dict(fields(body))[2], 1)["*/*"]
    reference = dict(fields(dict(fields(dict(fields(media))[1]))[2]))
    assert reference[1] == b"#/components/schemas/io.k8s.api.apps.v1.Deployment"
    assert set(named(dict(post)[8], 2)) == {"200", "201", "202", "401"}
    assert json.loads(dict(fields(named(b"".join(_again(13, post)), 13)["x-kubernetes-action"]))[2]) == "post"
    where = [dict(fields(dict(fields(parameter))[1])) for number, parameter in item if number == 13]
    assert {(each[1], each[2]) for each in where} >= {(b"namespace", b"path"), (b"pretty", b"query")}


def _again(number: int, entries: list[tuple[int, Any]]) -> list[bytes]:
    return [bytes([number << 3 | 2]) + _length(value) + value for field, value in entries if field == number]


def _length(value: bytes) -> bytes:
    return bytes([len(value)]) if len(value) < 128 else bytes([len(value) & 0x7F | 0x80, len(value) >> 7])


def test_what_a_custom_schema_can_say_is_all_there() -> None:
    found = schema(
        {
            "type": "object",
            "title": "A title",
            "description": "words",
            "nullable": True,
            "required": ["a", "b"],
            "maximum": 2.5,
            "minimum": -1,
            "multipleOf": 0.5,
            "exclusiveMaximum": True,
            "exclusiveMinimum": True,
            "maxLength": 300,
            "minLength": 1,
            "maxItems": 3,
            "minItems": 2,
            "maxProperties": 5,
            "minProperties": 4,
            "uniqueItems": True,
            "pattern": "^a$",
            "format": "byte",
            "enum": ["x", 1],
            "example": {"k": 1},
            "externalDocs": {"description": "more", "url": "u"},
            "allOf": [{"$ref": "#/r"}],
            "not": {"type": "string"},
            "items": {"type": "integer"},
            "properties": {"p": {"type": "boolean"}},
            "additionalProperties": True,
            "default": {},
            "x-kubernetes-int-or-string": True,
        }
    )
    assert (1, 1) in found and (12, 1) in found and (14, 1) in found and (20, 1) in found
    assert [value for number, value in found if number in (10, 11, 13)] == [0.5, 2.5, -1.0]
    assert {number: value for number, value in found if 15 <= number <= 22 and number not in (17, 20)} == {
        15: 300, 16: 1, 18: 3, 19: 2, 21: 5, 22: 4,
    }  # fmt: skip
    assert [value for number, value in found if number == 23] == [b"a", b"b"]
    assert [dict(fields(value))[2] for number, value in found if number == 24] == [b'"x"', b"1"]
    assert {number: value for number, value in found if number in (9, 17, 25, 34, 35)} == {
        9: b"A title", 17: b"^a$", 25: b"object", 34: b"words", 35: b"byte",
    }  # fmt: skip
    by_number = dict(found)
    assert dict(fields(by_number[7]))[2] == b'{"k":1}'
    assert fields(by_number[6]) == [(1, b"more"), (2, b"u")]
    assert dict(fields(dict(fields(by_number[26]))[2]))[1] == b"#/r"
    assert fields(by_number[29]) == [(25, b"string")]
    assert fields(dict(fields(dict(fields(by_number[30]))[1]))[1]) == [(25, b"integer")]
    assert fields(dict(fields(named(by_number[31], 1)["p"]))[1]) == [(25, b"boolean")]
    assert fields(by_number[32]) == [(2, 1)]
    assert by_number[33] == b""
    assert named(b"".join(_again2(found)), 36).keys() == {"x-kubernetes-int-or-string"}


def _again2(entries: list[tuple[int, Any]]) -> list[bytes]:
    # 36 << 3 | 2 takes two bytes.
    return [b"\xa2\x02" + _length(value) + value for number, value in entries if number == 36]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, [(1, 0.0)]), (1.5, [(1, 1.5)]), (False, [(2, 0)]), (True, [(2, 1)]), ("", [(3, b"")]), ("x", [(3, b"x")])],
)
def test_a_default_keeps_its_kind(value: Any, written: list[tuple[int, Any]]) -> None:
    assert fields(dict(schema({"default": value}))[33]) == written


@pytest.mark.parametrize("accept", [OLD, NEW, f"{OLD},application/json", f"application/json;q=0.5,{NEW}"])
def test_clients_get_protocol_buffers_who_wish_for_them(accept: str) -> None:
    answer = find(accept)
    assert answer.content_type == NEW
    assert dict(fields(answer.body))[1] == b"3.0.0"
    assert (answer.etag, answer.headers["Vary"]) == (find("").etag, "Accept")


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", f"application/json,{NEW}", "text/html,*/*;q=0.8"])
def test_others_get_json(accept: str) -> None:
    answer = find(accept)
    assert answer.content_type == "application/json"
    assert json.loads(answer.body)["openapi"] == "3.0.0"


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(NotAcceptable):
        find("text/html")


def test_the_hash_of_the_json_names_the_other_form_too() -> None:
    answer = find(NEW, {"hash": find("").etag})
    assert answer.headers["Cache-Control"] == "public, immutable"
    assert find(NEW, {"hash": "another"}).location == f"{DEPLOYMENTS}?hash={answer.etag}"


def test_a_document_that_is_none_cannot_be_put_so() -> None:
    with pytest.raises(ValueError, match="no document"):
        openapi.in_protobuf(b'{"paths": {}}')
