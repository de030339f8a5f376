from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api import timestamps
from api.apps import deployment as deployments
from api.core import event as events
from api.core import pod as pods
from api.core.pod import Pod
from api.errors import TooManyRequests
from api.meta import ObjectMeta, OwnerReference
from api.policy import poddisruptionbudget as budgets
from api.policy.eviction import Eviction
from api.policy.poddisruptionbudget import PodDisruptionBudget
from api.resource import ObjectKey
from controllers.disruption import Counted, compute_status, refused_status
from tests import builders
from tests.unit.controllers.world import World, world

NOW = timestamps.parse("2024-01-02T00:00:00Z")
KEY = ObjectKey("default", "b")


def budget(*, status: dict[str, Any] | None = None, **spec: Any) -> PodDisruptionBudget:
    body = {
        "metadata": {"name": "b", "namespace": "default", "generation": 3},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
        "status": status or {},
    }
    return msgspec.convert(body, PodDisruptionBudget)


def pod(name: str, *, ready: bool = True, going: bool = False) -> Pod:
    metadata = {"name": name, "labels": {"app": "web"}, "deletionTimestamp": "2024-01-01T00:00:00Z" if going else ""}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return msgspec.convert({"metadata": metadata, "status": {"conditions": conditions}}, Pod)


@pytest.mark.parametrize(
    ("spec", "scale", "ready", "expected", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 0, 3, 3, 2, 1),
        ({"minAvailable": "50%"}, 5, 5, 5, 3, 2),
        ({"maxUnavailable": 1}, 4, 4, 4, 3, 1),
        ({"maxUnavailable": 1}, 4, 3, 4, 3, 0),
        ({"maxUnavailable": "30%"}, 7, 7, 7, 4, 3),
        ({"maxUnavailable": 9}, 4, 4, 4, 0, 4),
        ({"minAvailable": 5}, 0, 3, 3, 5, 0),
        ({"maxUnavailable": 1}, 0, 2, 0, 0, 0),
        ({}, 0, 2, 2, 0, 2),
    ],
)
def test_what_may_go_is_what_is_healthy_beyond_what_must_stay(
    spec: Any, scale: int, ready: int, expected: int, desired: int, allowed: int
) -> None:
    found = compute_status(Counted(budget(**spec), [pod(f"p{n}") for n in range(ready)], scale), NOW)
    assert (found.expected_pods, found.desired_healthy, found.current_healthy, found.disruptions_allowed) == (
        expected,
        desired,
        ready,
        allowed,
    )
    (condition,) = found.conditions
    assert (condition.status, condition.reason) == (
        ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    )


def test_an_evicted_pod_counts_as_gone_until_it_is_or_until_it_should_have_been() -> None:
    since = {"a": "2024-01-01T23:59:30Z", "b": "2024-01-01T23:59:30Z", "gone": "2024-01-01T23:59:30Z"}
    since["late"] = "2024-01-01T23:57:00Z"
    status = {"disruptedPods": since}
    found = compute_status(
        Counted(budget(minAvailable=1, status=status), [pod("a"), pod("b", going=True), pod("late"), pod("c")], 0), NOW
    )
    assert (found.disrupted_pods, found.current_healthy) == ({"a": since["a"]}, 2)


def test_nothing_may_go_when_it_is_not_known_how_much_should_stay() -> None:
    before = budget(maxUnavailable=1, status={"disruptionsAllowed": 3, "observedGeneration": 2})
    found = refused_status(before, "no such owner", NOW)
    (condition,) = found.conditions
    assert (found.disruptions_allowed, found.observed_generation) == (0, 2)
    assert (condition.reason, condition.message) == ("SyncFailed", "no such owner")


def allows(at: World, number: int) -> Any:
    async def check() -> bool:
        found = await at.client.get(budgets.RESOURCE, KEY)
        done = found.status.observed_generation == found.metadata.generation
        return bool(done and found.status.disruptions_allowed == number)

    return check


async def evict(at: World, name: str) -> None:
    body = Eviction(metadata=ObjectMeta(name=name, namespace="default"))
    await at.client.create_subresource(pods.RESOURCE, ObjectKey("default", name), "eviction", body)


@pytest.mark.looptime
async def test_drains_go_as_fast_as_the_budget_allows_and_no_faster():
    async with world() as at:
        await at.client.create(deployments.RESOURCE, builders.deployment("web", replicas=4, app="web"))
        await at.client.create(budgets.RESOURCE, budget(maxUnavailable="25%"))
        await at.until(allows(at, 1))
        first, second = (each.metadata.name for each in (await at.pods())[:2])
        await evict(at, first)
        with pytest.raises(TooManyRequests):
            await evict(at, second)
        await at.until(allows(at, 1))
        await evict(at, second)
        await at.until(allows(at, 1))
        found = await at.client.get(budgets.RESOURCE, KEY)
        assert (found.status.expected_pods, found.status.desired_healthy) == (4, 3)


@pytest.mark.looptime
async def test_a_share_of_pods_that_nobody_keeps_is_told_of():
    async with world() as at:
        await at.client.create(pods.RESOURCE, builders.pod("lone", app="web"))
        await at.client.create(budgets.RESOURCE, budget(maxUnavailable=1))

        async def is_told() -> bool:
            found = await at.client.list(events.RESOURCE, "default")
            told = [each for each in found.items if each.reason == "UnmanagedPods"]
            return any("MatchLabels:map" in e.message and e.source.component == "controllermanager" for e in told)

        await at.until(is_told)


@pytest.mark.looptime
async def test_pods_of_an_owner_without_scale_may_not_go_by_share():
    async with world() as at:
        lone = builders.pod("lone", app="web")
        lone.metadata.owner_references = [
            OwnerReference(api_version="example.com/v1", kind="Odd", name="o", uid="u", controller=True)
        ]
        await at.client.create(pods.RESOURCE, lone)
        await at.client.create(budgets.RESOURCE, budget(maxUnavailable=1))

        async def is_refused() -> bool:
            found = await at.client.get(budgets.RESOURCE, KEY)
            return [(one.reason, one.message) for one in found.status.conditions] == [
                ("SyncFailed", 'found no controllers for pod "lone"')
            ]

        await at.until(is_refused)
