import json
from typing import Any

from api.apps.deployment import DeploymentSpec
from api.discover import RESOURCES
from api.schema import TYPE_META, words_of
from apiserver import openapi
from apiserver.openapi_enums import ENUMS
from tests.unit.api import reference

OPERATIONS = ("get", "put", "post", "delete", "patch", "head", "options")


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
        return {key: _facts(value) for key, value in schema.items() if key not in ("description", "enum")}
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


def test_paths_are_those_published_for_what_is_served() -> None:
    published = reference.load("openapi-v1.32.json")["paths"].keys()
    ours = json.loads(openapi.document_v2().json)["paths"].keys()
    assert ours <= published
    versions = {resource.api_version for resource in RESOURCES}
    groups = {version.partition("/")[0] for version in versions if "/" in version}

    def is_elsewhere(path: str) -> bool:
        """Whether a path is a group's or version's that is not served (alpha and beta), or the servers' own logs.

        Pods are not resized in place: alpha in this version.
        """
        if path.endswith("/pods/{name}/resize"):
            return True
        match path.strip("/").split("/"):
            case ["logs", *_]:
                return True
            case ["apis", group, version, *_]:
                return f"{group}/{version}" not in versions
            case ["apis", group]:
                return group not in groups
        return False

    assert [path for path in sorted(published - ours) if not is_elsewhere(path)] == []


def test_discovery_has_documents_of_its_own() -> None:
    named = {"api", "apis", "apis/apps", "version", ".well-known/openid-configuration", "openid/v1/jwks"}
    assert named <= openapi.documents().keys()
    group = document("apis/apps")
    assert group["paths"].keys() == {"/apis/apps/"}
    assert group["components"]["schemas"].keys() == {
        "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup",
        "io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionForDiscovery",
        "io.k8s.apimachinery.pkg.apis.meta.v1.ServerAddressByClientCIDR",
    }
    assert "/apis/apps/v1/" in document("apis/apps/v1")["paths"]


def test_operations_are_those_published() -> None:
    published = reference.load("openapi-v1.32.json")["paths"]
    ours = json.loads(openapi.document_v2().json)["paths"]
    parameters = reference.load("openapi-v1.32.json")["parameters"]
    facts = ("operationId", "x-kubernetes-action", "x-kubernetes-group-version-kind", "schemes", "tags")
    differing = [
        f"{method} {path}: {fact}"
        for path, item in ours.items()
        for method in OPERATIONS
        if method in item or method in published[path]
        for fact in facts
        if item[method].get(fact) != published[path][method].get(fact)
    ]
    for path, item in ours.items():
        differing += _different_parameters(path, item, published[path], parameters)
        for method in OPERATIONS:
            if method in item:
                operation, wanted = item[method], published[path][method]
                differing += _different_parameters(f"{method} {path}", operation, wanted, parameters)
                if _facts(operation["responses"]) != _facts(wanted["responses"]):
                    differing.append(f"{method} {path}: responses")
    assert differing == []


def _different_parameters(where: str, ours: Any, published: Any, shared: Any) -> list[str]:
    def by_name(parameters: Any) -> Any:
        resolved = [shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in parameters]
        return {(one["name"], one["in"]): _facts(one) for one in resolved}

    given, wanted = by_name(ours.get("parameters", [])), by_name(published.get("parameters", []))
    return [f"{where}: {name}" for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name)]


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


def test_fields_say_what_the_declarations_say_of_them() -> None:
    schemas = document("apis/apps/v1")["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]["properties"]
    assert deployment["spec"]["description"] == "What is wanted of this Deployment; the system works towards it."
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


def test_words_to_choose_from_are_published_where_they_are_declared_for() -> None:
    published = {
        f"{'.'.join(name.split('.')[-3:])}.{field}": enum
        for path in openapi.documents()
        for name, schema in document(path)["components"]["schemas"].items()
        for field, declared in schema.get("properties", {}).items()
        if (enum := _enum_of(declared)) is not None
    }
    assert published == ENUMS


def _enum_of(declared: Any) -> Any:
    return (declared.get("items") or declared.get("additionalProperties") or declared).get("enum")


def test_what_all_operations_of_a_path_can_be_asked_is_said_once() -> None:
    paths = document("api/v1")["paths"]
    evict = paths["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]
    assert evict["post"]["parameters"] == []
    assert [one["name"] for one in evict["parameters"]] == [
        "dryRun", "fieldManager", "fieldValidation", "name", "namespace", "pretty",
    ]  # fmt: skip
    pod = paths["/api/v1/namespaces/{namespace}/pods/{name}"]
    assert [one["name"] for one in pod["parameters"]] == ["name", "namespace", "pretty"]


def test_a_delete_answers_with_the_object_or_a_status() -> None:
    def answer(path: str, collection: str) -> str:
        operation = document(path)["paths"][f"/{path}/{collection}/{{name}}"]["delete"]
        ref: str = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        return ref.rpartition(".")[2]

    assert answer("api/v1", "namespaces/{namespace}/pods") == "Pod"
    assert answer("apis/storage.k8s.io/v1", "storageclasses") == "StorageClass"
    assert answer("apis/apps/v1", "namespaces/{namespace}/deployments") == "Status"
