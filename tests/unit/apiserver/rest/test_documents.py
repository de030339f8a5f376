from __future__ import annotations

import pytest

from api.errors import MethodNotAllowed, NotFound
from apiserver.rest.documents import Documents

DOCUMENTS = Documents("h:1", extra={"/openid/v1/jwks": dict})


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/apis/apps/v1", "/version", "/openid/v1/jwks"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
def test_what_upstream_routes_by_method_is_had_by_get_alone(path: str, method: str) -> None:
    assert DOCUMENTS.find("GET", path, {}, "").body
    with pytest.raises(MethodNotAllowed):
        DOCUMENTS.find(method, path, {}, "")


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
