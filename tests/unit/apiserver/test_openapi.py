import json
from typing import Any

from api.apps.deployment import DeploymentSpec
from api.schema import TYPE_META, words_of
from apiserver import openapi
from tests.unit.api import reference

OPERATIONS = ("get", "put", "post", "delete", "patch")


def document(path: str) -> Any:
    return json.loads(openapi.documents()[path].json)


def resolve(documents: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        documents = documents[part]
    return documents


def refs_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(refs_in(item) for item in value.values()))
    return set().union(*(refs_in(item) for item in value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere() -> None:
    for path in openapi.documents():
        content = document(path)
        for ref in refs_in(content):
            assert isinstance(resolve(content, ref), dict)
    content = json.loads(openapi.document_v2().json)
    for ref in refs_in(content):
        assert isinstance(resolve(content, ref), dict)


def test_the_index_names_each_document_by_its_hash() -> None:
    paths = json.loads(openapi.index().json)["paths"]
    assert set(paths) == set(openapi.documents())
    for path, found in openapi.documents().items():
        assert paths[path]["serverRelativeURL"] == f"/openapi/v3/{path}?hash={found.hash}"


def test_patch_says_that_the_server_validates_fields() -> None:
    # kubectl looks for these two parameters before it leaves validation to the server.
    patch = document("apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    names = {parameter["name"] for parameter in patch["parameters"] if parameter["in"] == "query"}
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= names
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}


def test_lists_say_how_they_are_merged() -> None:
    schemas = document("api/v1")["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    assert containers["x-kubernetes-list-type"] == "map"
    assert containers["items"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}]


def _facts(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _facts(value) for key, value in schema.items() if key not in ("description", "default")}
    return schema


def test_definitions_are_those_published() -> None:
    published = reference.load("openapi-v1.32.json")["definitions"]
    ours = json.loads(openapi.document_v2().json)["definitions"]
    differing = []
    for name, definition in ours.items():
        facts = published[name]
        if sorted(definition.get("required", [])) != sorted(facts.get("required", [])):
            differing.append(name)
        if definition.get("x-kubernetes-map-type") != facts.get("x-kubernetes-map-type"):
            differing.append(f"{name}: x-kubernetes-map-type")
        wanted, given = facts.get("properties", {}), definition.get("properties", {})
        differing += [
            f"{name}.{field}"
            for field in sorted(wanted.keys() | given.keys())
            if _facts(given.get(field)) != _facts(wanted.get(field))
        ]
    assert differing == []


def test_operations_are_those_published() -> None:
    published = reference.load("openapi-v1.32.json")["paths"]
    ours = json.loads(openapi.document_v2().json)["paths"]
    facts = ("operationId", "x-kubernetes-action", "x-kubernetes-group-version-kind")
    differing = [
        f"{method} {path}: {fact}"
        for path, item in ours.items()
        for method in OPERATIONS
        if method in item
        for fact in facts
        if item[method].get(fact) != published[path][method].get(fact)
    ]
    assert differing == []


def _fields(message: bytes) -> list[tuple[int, bytes]]:
    """Return the length-delimited fields of a protobuf message."""
    found, at = [], 0

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
        if tag & 7 == 0:
            varint()
            continue
        length = varint()
        found.append((tag >> 3, message[at : at + length]))
        at += length
    return found


def _names(message: bytes, number: int) -> list[str]:
    return [dict(_fields(entry))[1].decode() for field, entry in _fields(message) if field == number]


def test_the_protobuf_form_names_the_same_paths_and_definitions() -> None:
    document = json.loads(openapi.document_v2().json)
    encoded = dict(_fields(openapi.document_v2_protobuf().json))
    assert encoded[1] == b"2.0"
    assert _names(encoded[8], 2) == list(document["paths"])
    assert _names(encoded[9], 1) == list(document["definitions"])


def test_every_field_of_a_kind_that_is_a_struct_says_what_it_is() -> None:
    schemas = document("apis/apps/v1")["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]["properties"]
    assert deployment["spec"]["description"] == schemas["io.k8s.api.apps.v1.DeploymentSpec"]["description"]
    assert deployment["kind"]["description"] == TYPE_META["kind"]
    spec = schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]
    assert spec["replicas"]["description"] == words_of(DeploymentSpec).fields["replicas"]


def test_every_type_and_field_is_described_in_every_document() -> None:
    silent = []
    for path in openapi.documents():
        silent += [f"{path}: {name}" for name in _silent(document(path)["components"]["schemas"])]
    assert silent + _silent(json.loads(openapi.document_v2().json)["definitions"]) == []


def _silent(schemas: Any) -> list[str]:
    types = [name for name, schema in schemas.items() if not schema.get("description")]
    fields = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, declared in schema.get("properties", {}).items()
        if not declared.get("description")
    ]
    return types + fields
