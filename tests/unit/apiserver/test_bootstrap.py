from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

import pytest

from api import timestamps
from api.coordination import lease as leases
from api.core import configmap, secret, service
from api.core import endpoints as endpoints_kind
from api.core.secret import Secret
from api.discovery import endpointslice
from api.meta import ObjectMeta
from api.rbac import clusterrole, clusterrolebinding
from api.resource import ObjectKey
from apiserver.auth.legacy_tokens import LegacyTokens
from apiserver.bootstrap import NAMESPACES, NAMESPACES_STEP, PRIORITY_CLASSES, ROLES, bootstrap
from apiserver.kubernetes_service import IDENTITY, LEASE_S, KubernetesService
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Put
from apiserver.registry.registries import Registries
from apiserver.server import ALL, CACHES, POST_START
from component.clock import RealClock
from store.local import LocalStore


@contextlib.asynccontextmanager
async def registries() -> AsyncIterator[Registries]:
    made = Registries(LocalStore(), RealClock(), Random(1))
    task = asyncio.ensure_future(made.run())
    await made.wait_ready()
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def revisions(made: Registries) -> dict[str, int]:
    found = {}
    for registry in made:
        await registry.cache.catch_up()
        for stored in registry.cache.select(select_all(registry)):
            found[f"{registry.resource}/{stored.key}"] = stored.revision
    return found


def select_all(registry):
    from apiserver.registry.selection import select

    return select(registry.resource, "")


async def test_bootstrap_makes_namespaces_roles_and_bindings_and_a_second_run_changes_nothing() -> None:
    async with registries() as made:
        await asyncio.gather(bootstrap(made), bootstrap(made))
        before = await revisions(made)
        await bootstrap(made)
        assert await revisions(made) == before
        assert {key.partition("/")[2] for key in before if key.startswith("namespaces/")} == set(NAMESPACES)
        view = await made.read(clusterrole.RESOURCE, ObjectKey("", "view"))
        assert view.aggregation_rule is not None and view.rules


async def test_bootstrap_puts_back_what_was_taken_away_and_keeps_what_was_added() -> None:
    async with registries() as made:
        await bootstrap(made)
        key = ("", "system:kube-scheduler")
        mine = clusterrole.PolicyRule(verbs=["get"], api_groups=["x"], resources=["ys"])

        async def tamper(current):
            obj = current.codec.decode(current.json)
            obj.rules = [mine]
            return Put(obj)

        await made.of(clusterrole.RESOURCE).write(*key, tamper)
        await bootstrap(made)
        rules = (await made.of(clusterrole.RESOURCE).get(*key)).object.rules
        assert mine in rules and len(rules) > 5

        async def empty(current):
            obj = current.codec.decode(current.json)
            obj.subjects = []
            obj.metadata.annotations = {"rbac.authorization.kubernetes.io/autoupdate": "false"}
            return Put(obj)

        await made.of(clusterrolebinding.RESOURCE).write("", "system:discovery", empty)
        await bootstrap(made)
        assert (await made.of(clusterrolebinding.RESOURCE).get("", "system:discovery")).object.subjects == []


class Time(RealClock):
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return 1_700_000_000 + self.at

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Time:
    return Time()


async def test_the_use_of_a_kept_token_is_written_on_its_secret_once_a_day(clock: Time) -> None:
    async with registries() as made:
        await bootstrap(made)
        tokens = LegacyTokens(made, clock)
        kept = Secret(metadata=ObjectMeta(name="kept", namespace="default", uid="u", labels={"a": "b"}))
        await made.of(secret.RESOURCE).create(kept)

        async def use() -> tuple[str, int]:
            current = await made.of(secret.RESOURCE).get("default", "kept")
            await tokens.note_use(current.object)
            current = await made.of(secret.RESOURCE).get("default", "kept")
            assert current.object.metadata.labels.pop("a") == "b"
            (day,) = current.object.metadata.labels.values()
            return day, current.revision

        first = await use()
        assert first[0] == timestamps.day_of(clock.now())
        assert await use() == first
        clock.at -= 86_400  # Another apiserver's clock is behind.
        assert await use() == first
        clock.at += 3 * 86_400
        assert (await use())[0] == timestamps.day_of(clock.now())
        await tokens.note_use(Secret(metadata=ObjectMeta(name="gone", namespace="default", uid="u")))


async def test_it_is_told_since_when_uses_of_kept_tokens_are_noted(clock: Time) -> None:
    async with registries() as made:
        await bootstrap(made)
        tokens, registry = LegacyTokens(made, clock), made.of(configmap.RESOURCE)
        name = "kube-apiserver-legacy-service-account-token-tracking"

        async def since() -> str:
            await tokens.reconcile()
            await registry.cache.catch_up()
            told: str = (await registry.get("kube-system", name)).object.data["since"]
            return told

        begun = timestamps.day_of(clock.now())
        assert await since() == begun
        clock.at += 86_400
        assert await since() == begun

        async def spoil(current: Stored) -> Put:
            obj = current.codec.decode(current.json)
            obj.data = {"since": "yesterday"}
            return Put(obj)

        await registry.write("kube-system", name, spoil)
        await registry.cache.catch_up()
        assert await since() == timestamps.day_of(clock.now())


async def test_the_kubernetes_service_leads_to_the_apiservers_that_renew(clock: Time) -> None:
    async with registries() as made:
        await bootstrap(made)
        pair = [
            KubernetesService(
                made, clock, address=f"10.0.0.{n}", port=6443, cluster_ip="10.96.0.1", hostname=f"machine-{n}"
            )
            for n in (1, 2)
        ]

        async def endpoints() -> list[str]:
            for registry in made:
                await registry.cache.catch_up()
            slice_ = await made.read(endpointslice.RESOURCE, ObjectKey("default", "kubernetes"))
            older = await made.read(endpoints_kind.RESOURCE, ObjectKey("default", "kubernetes"))
            assert older.metadata.labels["endpointslice.kubernetes.io/skip-mirror"] == "true"
            assert [address.ip for subset in older.subsets for address in subset.addresses] == [
                address for endpoint in slice_.endpoints for address in endpoint.addresses
            ]
            return [address for endpoint in slice_.endpoints for address in endpoint.addresses]

        for _ in range(2):
            for one in pair:
                await one.reconcile()
                await endpoints()
        assert await endpoints() == ["10.0.0.1", "10.0.0.2"]
        held = made.lister(leases.RESOURCE).list("kube-system")
        assert [(one.metadata.labels["kubernetes.io/hostname"], one.metadata.labels[IDENTITY]) for one in held] == [
            ("machine-1", "kube-apiserver"),
            ("machine-2", "kube-apiserver"),
        ]
        found = await made.read(service.RESOURCE, ObjectKey("default", "kubernetes"))
        assert (found.spec.cluster_ip, found.spec.ports[0].port, found.spec.ports[0].target_port) == (
            "10.96.0.1",
            443,
            6443,
        )
        for _ in range(3):
            clock.at += LEASE_S / 2 + 1
            await pair[0].reconcile()
            await endpoints()
        assert await endpoints() == ["10.0.0.1"]


async def test_each_step_is_noted_when_it_is_done_and_known_by_upstreams_name() -> None:
    noted: list[str] = []
    async with registries() as made:
        await bootstrap(made, noted.append)
    assert noted == [NAMESPACES_STEP, PRIORITY_CLASSES, ROLES]
    assert POST_START["poststarthook/rbac/bootstrap-roles"] == ROLES
    assert POST_START["poststarthook/start-system-namespaces-controller"] == NAMESPACES_STEP
    assert POST_START["poststarthook/crd-informer-synced"] == CACHES
    assert {*noted, CACHES, ALL} == set(POST_START.values())
