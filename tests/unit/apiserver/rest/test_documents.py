from __future__ import annotations

import msgspec
import pytest
import yaml

from api import protobuf
from api.errors import MethodNotAllowed, NotFound
from api.meta_documents import APIGroupDiscoveryList
from apiserver.rest.documents import Documents

DOCUMENTS = Documents("h:1", extra={"/openid/v1/jwks": dict})


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/apis/apps/v1", "/version", "/openid/v1/jwks"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
def test_what_upstream_routes_by_method_is_had_by_get_alone(path: str, method: str) -> None:
    assert DOCUMENTS.find("GET", path, {}, "").body
    with pytest.raises(MethodNotAllowed):
        DOCUMENTS.find(method, path, {}, "")


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_aggregated_document_is_had_in_every_encoding(version: str) -> None:
    asked = f"g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    found = {
        encoding: DOCUMENTS.find("GET", "/apis", {}, f"{encoding};{asked}")
        for encoding in ("application/json", "application/yaml", protobuf.MEDIA)
    }
    for encoding, document in found.items():
        assert document.content_type == f"{encoding};{asked}"
        assert document.headers["Cache-Control"] == "public"
    assert len({document.etag for document in found.values()}) == 1
    json = msgspec.json.decode(found["application/json"].body)
    assert yaml.safe_load(found["application/yaml"].body) == json
    message = protobuf.to_value(found[protobuf.MEDIA].body, APIGroupDiscoveryList)
    assert message["apiVersion"] == json["apiVersion"]
    apps, told = (next(each for each in one["items"] if each["metadata"]["name"] == "apps") for one in (json, message))
    assert told["versions"] == apps["versions"]


@pytest.mark.parametrize("path", ["/", "/apis", "/apis/apps", "/metrics", "/openapi/v2", "/openapi/v3"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "FOO"])
def test_other_documents_are_had_by_any_method(path: str, method: str) -> None:
    assert DOCUMENTS.find(method, path, {}, "").body


def test_metrics_are_not_said_to_be_forgotten() -> None:
    with pytest.raises(MethodNotAllowed):
        DOCUMENTS.find("DELETE", "/metrics", {}, "")


def test_nobody_is_told_that_there_is_a_tunnel() -> None:
    with pytest.raises(NotFound):
        DOCUMENTS.find("CONNECT", "/", {}, "")
