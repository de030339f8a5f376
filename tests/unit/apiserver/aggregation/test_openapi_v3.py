from __future__ import annotations

from apiserver.aggregation.openapi_v3 import convert

PATH = "/apis/x.io/v1/namespaces/{namespace}/things"
THING = {"$ref": "#/definitions/io.x.Thing"}
DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "x", "version": "1"},
    "consumes": ["application/json"],
    "paths": {
        PATH: {
            "parameters": [
                {"name": "namespace", "in": "path", "required": True, "type": "string", "uniqueItems": True}
            ],
            "post": {
                "operationId": "createThing",
                "produces": ["application/json", "application/yaml"],
                "x-kubernetes-action": "post",
                "parameters": [
                    {"name": "body", "in": "body", "required": True, "schema": THING},
                    {"name": "dryRun", "in": "query", "type": "string", "description": "d"},
                ],
                "responses": {"201": {"description": "Created", "schema": THING}, "401": {"description": "No"}},
            },
        },
        "/apis/x.io/v12/others": {"get": {}},
        "/healthz": {"get": {}},
    },
    "definitions": {
        "io.x.Thing": {
            "type": "object",
            "x-kubernetes-group-version-kind": [{"group": "x.io", "version": "v1", "kind": "Thing"}],
            "properties": {"spec": {"description": "What.", "$ref": "#/definitions/io.x.Spec"}, "more": {
                "type": "array", "items": {"$ref": "#/definitions/io.x.Spec"}}},
        },
        "io.x.Spec": {"type": "object"},
    },
}  # fmt: skip


def test_an_older_document_is_put_in_the_newer_form():
    made = convert(DOCUMENT, "/apis/x.io/v1")
    assert (made["openapi"], made["info"], list(made["paths"])) == ("3.0.0", DOCUMENT["info"], [PATH])
    item = made["paths"][PATH]
    text = {"type": "string", "uniqueItems": True}
    assert item["parameters"] == [{"name": "namespace", "in": "path", "required": True, "schema": text}]
    post, thing = item["post"], {"schema": {"$ref": "#/components/schemas/io.x.Thing"}}
    assert post["requestBody"] == {"content": {"application/json": thing}, "required": True}
    dry_run = {"name": "dryRun", "in": "query", "description": "d", "schema": {"type": "string"}}
    assert post["parameters"] == [dry_run] and post["x-kubernetes-action"] == "post"
    assert post["responses"] == {
        "201": {"description": "Created", "content": {"application/json": thing, "application/yaml": thing}},
        "401": {"description": "No"},
    }
    schemas = made["components"]["schemas"]
    spec = {"$ref": "#/components/schemas/io.x.Spec"}
    assert schemas["io.x.Thing"]["properties"] == {
        "spec": {"description": "What.", "allOf": [spec]}, "more": {"type": "array", "items": spec}
    }  # fmt: skip
    assert schemas["io.x.Thing"]["x-kubernetes-group-version-kind"][0]["kind"] == "Thing"


def test_an_empty_document_is_one_without_paths():
    assert convert({}, "/apis/x.io/v1")["paths"] == {}
