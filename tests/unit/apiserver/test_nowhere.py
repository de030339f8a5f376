from __future__ import annotations

import pytest

from api.discover import RESOURCES
from apiserver.nowhere import InPlainText, no_such_path
from apiserver.registry.kinds import Kinds

KINDS = Kinds(RESOURCES)


@pytest.mark.parametrize(
    "path", ["/api/v9", "/api/v1/nothings", "/apis/apps/v9/deployments", "/apis/apps/v1/x", "/version/x"]
)
def test_below_what_is_built_in_the_answer_is_a_status_with_details(path: str) -> None:
    error = no_such_path(KINDS, path)
    assert not isinstance(error, InPlainText)
    assert error.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server could not find the requested resource",
        "reason": "NotFound",
        "details": {},
        "code": 404,
    }


@pytest.mark.parametrize(
    "path",
    [
        "/foo",
        "/apis/example.com",
        "/apis/example.com/v1/things",
        "/openapi/v4",
        "/healthz/nothing",
        "/apis//x",
        "//api/v1",
    ],
)
def test_elsewhere_it_is_plain_text(path: str) -> None:
    error = no_such_path(KINDS, path)
    assert isinstance(error, InPlainText)
    assert error.text == "404 page not found"
    assert error.message == "the server could not find the requested resource"
