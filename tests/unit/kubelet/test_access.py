"""Who may use a node's server, with an API server that remembers what it was asked."""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import ServiceUnavailable
from kubelet.access import Access, Turned, is_admitted, wanted


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


class Reviewer:
    """Knows one token, and one user who may read metrics."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_away = False

    async def create(self, resource: Any, review: Any) -> Any:
        self.asked.append(resource.kind)
        if self.is_away:
            raise ServiceUnavailable("away")
        if resource.kind == "TokenReview":
            if review.spec.token == "good":
                review.status.authenticated = True
                review.status.user.username = "reader"
                review.status.user.extra = {"scope": ["a"]}
            return review
        what = review.spec.resource_attributes
        assert (what.resource, what.name, what.version) == ("nodes", "n", "v1")
        review.status.allowed = (review.spec.user, what.verb, what.subresource) == ("reader", "get", "metrics")
        return review


def cert(name: str, *organizations: str) -> dict[str, Any]:
    return {"subject": (*(((("organizationName", each),)) for each in organizations), (("commonName", name),))}


@pytest.fixture
def api() -> Reviewer:
    return Reviewer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(api: Reviewer, clock: Clock) -> Access:
    return Access("n", api, clock)


def test_only_those_who_may_use_nodes_are_admitted_without_being_asked_about():
    assert is_admitted(cert("x", "system:kubelet-api-admins")) and is_admitted(cert("x", "other", "system:masters"))
    assert not is_admitted(cert("x", "system:nodes")) and not is_admitted({}) and not is_admitted(None)


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/metrics/resource", ("get", "metrics")),
        ("GET", "/stats/summary?x=y", ("get", "stats")),
        ("GET", "/logs/", ("get", "log")),
        ("POST", "/exec/ns/pod/c", ("create", "proxy")),
        ("GET", "/pods", ("get", "proxy")),
        ("GET", "/metricsx", ("get", "proxy")),
        ("DELETE", "//stats", ("delete", "stats")),
    ],
)
def test_paths_are_subresources_of_the_node(method: str, path: str, asked: tuple[str, str]):
    assert wanted(method, path) == asked


async def test_a_certificate_may_do_what_roles_allow_its_user(access: Access, api: Reviewer):
    await access.check(cert("reader"), "", "GET", "/metrics/resource")
    with pytest.raises(Turned, match="user=reader, verb=get, resource=nodes, subresource=proxy") as turned:
        await access.check(cert("reader"), "", "GET", "/pods")
    assert turned.value.status == 403
    with pytest.raises(Turned):
        await access.check(cert("other", "system:nodes"), "", "GET", "/metrics")
    assert api.asked == ["SubjectAccessReview"] * 3


async def test_a_token_is_whose_the_api_server_says(access: Access, api: Reviewer):
    await access.check(None, "Bearer good", "GET", "/metrics/resource")
    for authorization in ("Bearer bad", "Bearer ", "Basic good", ""):
        with pytest.raises(Turned) as turned:
            await access.check(None, authorization, "GET", "/metrics/resource")
        assert (turned.value.status, turned.value.message) == (401, "Unauthorized")
    assert api.asked == ["TokenReview", "SubjectAccessReview", "TokenReview"]


async def test_answers_are_remembered_and_asked_for_again_in_time(access: Access, api: Reviewer, clock: Clock):
    for _ in range(3):
        await access.check(None, "Bearer good", "GET", "/metrics/resource")
    assert api.asked == ["TokenReview", "SubjectAccessReview"]
    clock.at += 121
    await access.check(None, "Bearer good", "GET", "/metrics/resource")
    assert api.asked == ["TokenReview", "SubjectAccessReview", "TokenReview"]
    clock.at += 300
    await access.check(None, "Bearer good", "GET", "/metrics/resource")
    assert api.asked[3:] == ["TokenReview", "SubjectAccessReview"]


async def test_nobody_gets_in_while_the_api_server_cannot_be_asked_but_its_own(access: Access, api: Reviewer):
    api.is_away = True
    with pytest.raises(Turned) as turned:
        await access.check(cert("reader"), "", "GET", "/metrics/resource")
    assert turned.value.status == 500
    with pytest.raises(Turned) as turned:
        await access.check(None, "Bearer good", "GET", "/metrics/resource")
    assert turned.value.status == 401
    await access.check(cert("x", "system:masters"), "", "POST", "/exec/a/b/c")
