from __future__ import annotations

import pytest

from api.core import componentstatus, configmap, pod
from api.errors import NotFound
from apiserver.filters.authz import DECISION
from apiserver.filters.metrics import target_of, verb_of, with_metrics
from apiserver.metrics import ApiMetrics
from apiserver.request import Answer, Call, RequestInfo, User
from component.clock import RealClock


class Hands(RealClock):
    """A clock that somebody sets."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


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

    asked, clock = call("watch"), Hands()
    await with_metrics(answer, metrics, clock)(asked)
    assert list(metrics.long_running.values()) == [1]
    assert not metrics.requests.values
    clock.at = 3600.0
    asked.finish()
    assert list(metrics.long_running.values()) == [0]
    assert list(metrics.requests.values.values()) == [1]
    labels = next(iter(metrics.requests.values))
    assert metrics.durations.of(labels[:-1]).total == 3600.0


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


async def test_what_webhooks_and_waiting_took_is_no_part_of_what_the_service_is_held_to() -> None:
    metrics, clock = ApiMetrics(), Hands()

    async def answer(call: Call) -> Answer:
        clock.at += 3.0
        call.excuse(2.5)
        return Answer(b"{}")

    handle = with_metrics(answer, metrics, clock)
    await handle(call("update", name="a"))
    dry = call("update", name="a")
    dry.options = {"dryRun": "All"}
    await handle(dry)
    target = ("", "v1", "pods", "", "resource", "apiserver")
    assert metrics.durations.of(("PUT", "", *target)).total == 3.0
    assert metrics.durations.of(("PUT", "All", *target)).total == 3.0
    held = metrics.sli_durations.of(("PUT", *target))
    assert (held.total, sum(held.counts)) == (0.5, 1)


async def test_sizes_are_those_of_what_was_read_as_the_door_has_sent_it() -> None:
    metrics = ApiMetrics()

    async def answer(call: Call) -> Answer:
        return Answer(b"{}")

    handle = with_metrics(answer, metrics, RealClock())
    for asked, sent in ((call("get", name="a"), 5000), (call("update", name="a"), 700), (call("get", name="b"), 0)):
        await handle(asked)
        asked.answered_bytes = sent
        asked.finish()
    (shown,) = (line for line in metrics.response_sizes.render() if "_sum" in line)
    assert shown.endswith("} 5000") and 'verb="GET"' in shown
    assert 'le="1000000000"' in "\n".join(metrics.response_sizes.render())


@pytest.mark.parametrize(
    ("user", "counted_as"),
    [("alice", "other"), ("a@example.org", "email_id"), ("system:node:n1", "other"), ("admin",) * 2],
)
async def test_users_are_counted_without_their_names(user: str, counted_as: str) -> None:
    metrics = ApiMetrics()

    async def answer(call: Call) -> Answer:
        call.user = User(user)
        call.annotate(DECISION, "allow")
        return Answer(b"{}")

    await with_metrics(answer, metrics, RealClock())(call("get", name="a"))
    assert metrics.users.values == {(counted_as,): 1}
    assert metrics.authorization_attempts.values == {("allowed",): 1}


async def test_deprecated_apis_are_told_of_once_somebody_asks_for_them() -> None:
    metrics = ApiMetrics()

    async def answer(call: Call) -> Answer:
        return Answer(b"{}")

    info = RequestInfo("list", "", "", "v1", "componentstatuses")
    handle = with_metrics(answer, metrics, RealClock())
    await handle(call("list"))
    assert not metrics.deprecated.values
    await handle(Call(info, resource=componentstatus.RESOURCE))
    assert metrics.deprecated.values == {("", "v1", "componentstatuses", "", ""): 1}
