from __future__ import annotations

import json
from typing import Any

import pytest

from api.core import pod as pods
from api.errors import BadRequest, Conflict, Forbidden, InternalError, Invalid, NotFound, TooManyRequests
from api.meta import LabelSelector, ObjectMeta
from api.policy import poddisruptionbudget as budgets
from api.policy.poddisruptionbudget import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from api.resource import ObjectKey
from apiserver.app import Api, InternalCredentials
from apiserver.request import Call, RequestInfo
from apiserver.subresources.eviction import check_budget
from client.verbs import Client
from tests import builders
from tests.local_transport import SUPERUSER

A, BUDGET = ObjectKey("default", "a"), ObjectKey("default", "b")


def budget(**status: Any) -> PodDisruptionBudget:
    return PodDisruptionBudget(
        metadata=ObjectMeta(name="b", namespace="default", generation=1),
        spec=PodDisruptionBudgetSpec(min_available=1, selector=LabelSelector(match_labels={"app": "web"})),
        status=PodDisruptionBudgetStatus(observed_generation=1, **status),
    )


async def running(client: Client, name: str = "a", *, is_ready: bool = True, phase: str = "Running") -> None:
    made = builders.pod(name)
    made.metadata.labels = {"app": "web"}
    made.spec.node_name = "n1"
    made = await client.create(pods.RESOURCE, made)
    made.status.phase = phase
    made.status.conditions = [pods.PodCondition(type="Ready", status="True" if is_ready else "False")]
    await client.update(pods.RESOURCE, made, subresource="status")


async def with_budget(client: Client, name: str = "b", policy: str | None = None, **status: Any) -> None:
    made = budget(**status)
    made.metadata.name, made.metadata.generation = name, 0
    made.spec.unhealthy_pod_eviction_policy = policy
    stored = await client.create(budgets.RESOURCE, made)
    stored.status = budget(**status).status
    await client.update(budgets.RESOURCE, stored, subresource="status")


async def evict(api: Api, name: str = "a", *, options: dict[str, Any] | None = None, **metadata: str) -> Any:
    body: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name} | metadata}
    if options is not None:
        body["deleteOptions"] = options
    info = RequestInfo("create", "", "", "v1", "pods", "eviction", "default", "a")
    answer = await api.handle(
        Call(
            info,
            credentials=InternalCredentials(user=SUPERUSER),
            resource=pods.RESOURCE,
            body=json.dumps(body).encode(),
        )
    )
    assert answer.code == 201 and json.loads(answer.json)["status"] == "Success"


async def test_a_pod_without_budget_goes_and_says_why(api: Api, client: Client) -> None:
    await running(client)
    await evict(api)
    left = await client.get(pods.RESOURCE, A)
    assert left.metadata.deletion_timestamp
    (said,) = [condition for condition in left.status.conditions if condition.type == "DisruptionTarget"]
    assert (said.status, said.reason) == ("True", "EvictionByEvictionAPI")
    await evict(api)  # it is going already: nothing more to do


async def test_a_budget_is_spent_once_per_pod_and_then_refuses(api: Api, client: Client) -> None:
    await running(client)
    await with_budget(client, disruptions_allowed=1, current_healthy=2, desired_healthy=1)
    await evict(api)
    left = (await client.get(budgets.RESOURCE, BUDGET)).status
    assert left.disruptions_allowed == 0 and list(left.disrupted_pods) == ["a"]


async def test_a_spent_budget_keeps_the_pod(api: Api, client: Client) -> None:
    await running(client)
    await with_budget(client, disruptions_allowed=0, current_healthy=1, desired_healthy=1)
    with pytest.raises(TooManyRequests, match="would violate the pod's disruption budget") as refused:
        await evict(api)
    (cause,) = refused.value.causes
    assert cause.reason == "DisruptionBudget"
    assert cause.message == "The disruption budget b needs 1 healthy pods and has 1 currently"
    assert not (await client.get(pods.RESOURCE, A)).metadata.deletion_timestamp


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_a_pod_that_serves_nobody_needs_no_budget(api: Api, client: Client, phase: str) -> None:
    await running(client, phase=phase)
    await with_budget(client, disruptions_allowed=0)
    await evict(api)


@pytest.mark.parametrize(("policy", "healthy", "goes"), [("AlwaysAllow", 0, True), (None, 0, False), (None, 2, True)])
async def test_a_broken_pod_goes_if_its_budget_says_so(
    api: Api, client: Client, policy: str | None, healthy: int, goes: bool
) -> None:
    await running(client, is_ready=False)
    await with_budget(client, policy=policy, disruptions_allowed=0, current_healthy=healthy, desired_healthy=2)
    if goes:
        await evict(api)
    else:
        with pytest.raises(TooManyRequests):
            await evict(api)


async def test_two_budgets_are_one_too_many(api: Api, client: Client) -> None:
    await running(client)
    await with_budget(client, "b", disruptions_allowed=1)
    await with_budget(client, "c", disruptions_allowed=1)
    with pytest.raises(InternalError, match="more than one PodDisruptionBudget"):
        await evict(api)


async def test_a_dry_run_spends_and_deletes_nothing(api: Api, client: Client) -> None:
    await running(client)
    await with_budget(client, disruptions_allowed=1)
    await evict(api, options={"dryRun": ["All"]})
    assert (await client.get(budgets.RESOURCE, BUDGET)).status.disruptions_allowed == 1
    assert not (await client.get(pods.RESOURCE, A)).metadata.deletion_timestamp


async def test_preconditions_and_names_are_held_to(api: Api, client: Client) -> None:
    await running(client)
    with pytest.raises(Conflict, match="UID in the precondition .other."):
        await evict(api, options={"preconditions": {"uid": "other"}})
    with pytest.raises(BadRequest, match="name in URL does not match"):
        await evict(api, "b")
    with pytest.raises(Invalid, match="propagationPolicy"):
        await evict(api, options={"propagationPolicy": "Sideways"})


async def test_there_must_be_a_pod(api: Api) -> None:
    with pytest.raises(NotFound):
        await evict(api)


def test_a_budget_that_was_not_worked_out_yet_refuses_for_a_while() -> None:
    unseen = budget(disruptions_allowed=5)
    unseen.metadata.generation = 2
    with pytest.raises(TooManyRequests) as refused:
        check_budget(unseen)
    assert refused.value.retry_after_s == 10
    for status in ({"disruptions_allowed": -1}, {"disrupted_pods": {str(i): "" for i in range(2001)}}):
        with pytest.raises(Forbidden):
            check_budget(budget(**status))
