"""What `kubectl get componentstatuses` is told."""

from __future__ import annotations

from typing import Any

import pytest

from api import timestamps
from api.coordination.lease import RESOURCE as LEASES
from api.coordination.lease import Lease, LeaseSpec
from api.errors import NotFound
from api.meta import ObjectMeta
from apiserver.app import Api
from apiserver.request import RequestInfo
from apiserver.subresources import component_status
from controllers import __main__ as controllers
from scheduler import __main__ as scheduler
from store.client import Unavailable
from tests.plain_client import PlainClient


def test_the_leases_are_those_that_controllers_and_scheduler_stand_for() -> None:
    assert component_status.LEASES == {"controller-manager": controllers.LEASE, "scheduler": scheduler.LEASE}


async def statuses(api: Api, **options: str) -> dict[str, tuple[str, str]]:
    client = PlainClient(api)
    items = await client.call(RequestInfo("list", "", "", "v1", "componentstatuses"), **options)
    assert client.warnings == ["v1 ComponentStatus is deprecated in v1.19+"]
    conditions = {one["metadata"]["name"]: one["conditions"] for one in items}
    assert all([one["type"] for one in found] == ["Healthy"] for found in conditions.values())
    return {name: (found["status"], found["message"]) for name, (found,) in conditions.items()}


async def hold(api: Api, name: str, renewed_at: float) -> None:
    spec = LeaseSpec(
        holder_identity=f"{name}-1", lease_duration_seconds=15, renew_time=timestamps.render_micro(renewed_at)
    )
    lease = Lease(metadata=ObjectMeta(name=name, namespace="kube-system"), spec=spec)
    await api.registries.of(LEASES).create(lease)


async def test_each_part_is_told_of_by_what_it_did_last(api: Api) -> None:
    now = api.context.clock.now()
    await hold(api, "steer-scheduler", now - 2)
    await hold(api, "steer-controllers", now - 60)
    assert await statuses(api) == {
        "controller-manager": (
            "False", "steer-controllers-1 has not renewed the Lease kube-system/steer-controllers for 60 s",
        ),
        "scheduler": ("True", "ok"),
        "etcd-0": ("True", "ok"),
    }  # fmt: skip


async def test_what_is_not_there_is_said(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def status() -> Any:
        raise Unavailable("no member of the store answers")

    monkeypatch.setattr(api.registries.store, "status", status)
    found = await statuses(api, fieldSelector="metadata.name!=controller-manager")
    assert found == {
        "scheduler": ("False", "nobody has taken the Lease kube-system/steer-scheduler yet"),
        "etcd-0": ("False", "no member of the store answers"),
    }


async def test_one_is_had_by_its_name(api: Api) -> None:
    client = PlainClient(api)
    found = await client.call(RequestInfo("get", "", "", "v1", "componentstatuses", "", "", "etcd-0"))
    assert (found["kind"], found["conditions"][0]["status"]) == ("ComponentStatus", "True")
    assert "resourceVersion" not in found["metadata"]
    with pytest.raises(NotFound, match='componentstatuses "x" not found'):
        await client.call(RequestInfo("get", "", "", "v1", "componentstatuses", "", "", "x"))
