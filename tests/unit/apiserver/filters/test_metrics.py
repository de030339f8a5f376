from __future__ import annotations

import pytest

from api.core import configmap, pod
from api.errors import NotFound
from apiserver.filters.metrics import target_of, verb_of, with_metrics
from apiserver.metrics import ApiMetrics
from apiserver.request import Answer, Call, RequestInfo
from component.clock import RealClock


def call(verb: str, plural: str = "pods", name: str = "", subresource: str = "", namespace: str = "shop") -> Call:
    resource = pod.RESOURCE if plural == "pods" else None
    return Call(RequestInfo(verb, "", "", "v1", plural, subresource, namespace, name), resource=resource)


@pytest.mark.parametrize(
    ("asked", "verb", "scope"),
    [
        (call("get", name="a"), "GET", "resource"),
        (call("create"), "POST", "resource"),
        (call("list"), "LIST", "namespace"),
        (call("list", namespace=""), "LIST", "cluster"),
        (call("watch"), "WATCH", "namespace"),
        (call("get", name="a", subresource="exec"), "CONNECT", "resource"),
    ],
)
def test_verbs_and_scopes_are_upstreams(asked: Call, verb: str, scope: str) -> None:
    assert (verb_of(asked), target_of(asked)[4]) == (verb, scope)


def test_a_server_side_apply_is_a_verb_of_its_own() -> None:
    asked = call("patch", name="a")
    asked.content_type = "application/apply-patch+yaml"
    assert verb_of(asked) == "APPLY"


async def test_names_that_do_not_exist_make_no_series_of_their_own() -> None:
    metrics = ApiMetrics()

    async def refuse(call: Call) -> object:
        raise NotFound("no")

    handle = with_metrics(refuse, metrics, RealClock())
    for number in range(100):
        for asked in (
            call("get", plural=f"plural{number}", name="a"),
            call("get", name="a", subresource=f"sub{number}"),
            Call(RequestInfo("get", f"/path{number}")),
            Call(RequestInfo(f"verb{number}", "/version")),
        ):
            with pytest.raises(NotFound):
                await handle(asked)
    assert len(metrics.requests.values) == 2
    assert sum(metrics.requests.values.values()) == 400


async def test_a_stream_counts_as_open_until_its_door_says_that_it_is_over() -> None:
    metrics = ApiMetrics()

    async def answer(call: Call) -> object:
        return object()

    asked = call("watch")
    await with_metrics(answer, metrics, RealClock())(asked)
    assert list(metrics.long_running.values()) == [1]
    asked.finish()
    assert list(metrics.long_running.values()) == [0]


async def test_requests_in_flight_are_counted_by_whether_they_write() -> None:
    metrics = ApiMetrics()
    seen: list[dict[str, int]] = []

    async def answer(call: Call) -> Answer:
        seen.append(dict(metrics.in_flight))
        return Answer(b"{}", "1", 201)

    created = Call(RequestInfo("create", "", "", "v1", "configmaps", "", "shop"), resource=configmap.RESOURCE)
    await with_metrics(answer, metrics, RealClock())(created)
    assert seen == [{"readOnly": 0, "mutating": 1}]
    assert metrics.in_flight == {"readOnly": 0, "mutating": 0}
    assert next(iter(metrics.requests.values))[-1] == "201"
