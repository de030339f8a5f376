from __future__ import annotations

from typing import Any

import pytest

from api.core import service as services
from api.core.service import Service
from api.errors import Invalid, NotFound, ServiceUnavailable
from api.resource import ObjectKey
from apiserver.allocators.reservation import ServiceReservation
from apiserver.request import AdmissionRequest, User
from tests.unit.apiserver.allocators.test_services import allocator, service


class Stored:
    """What the store has of Services, or that it is silent."""

    def __init__(self) -> None:
        self.items: dict[ObjectKey, Service] = {}
        self.is_silent = False

    async def read(self, key: ObjectKey) -> Service:
        if self.is_silent:
            raise ServiceUnavailable("no answer")
        if key not in self.items:
            raise NotFound(f"{key} not found")
        return self.items[key]


def write(operation: str, new: Service | None, old: Service | None = None) -> AdmissionRequest:
    subject: Any = new or old
    return AdmissionRequest(
        operation, services.RESOURCE, "default", subject.metadata.name, "", User("u"), new, old, {}, False, []
    )


async def test_a_create_that_was_refused_gives_its_numbers_back() -> None:
    tested = allocator()
    reservation = ServiceReservation(tested, Stored().read)
    settle = await reservation.reserve(write("CREATE", service(type="NodePort")))
    assert len(await tested.ports.list()) == 1
    await settle(False)
    assert not await tested.ports.list() and not await tested.addresses.list()


async def test_a_create_that_happened_after_all_keeps_its_numbers() -> None:
    tested, stored = allocator(), Stored()
    made = service(type="NodePort")
    settle = await ServiceReservation(tested, stored.read).reserve(write("CREATE", made))
    stored.items[ObjectKey("default", "web")] = made
    await settle(False)
    assert list(await tested.ports.list()) == [made.spec.ports[0].node_port]
    assert len(await tested.addresses.list()) == 1


async def test_while_the_store_is_silent_nothing_is_given_back() -> None:
    tested, stored = allocator(), Stored()
    settle = await ServiceReservation(tested, stored.read).reserve(write("CREATE", service(type="NodePort")))
    stored.is_silent = True
    await settle(False)
    assert len(await tested.ports.list()) == 1


async def test_an_update_frees_what_it_gave_up_only_when_it_happened() -> None:
    tested, stored = allocator(), Stored()
    reservation = ServiceReservation(tested, stored.read)
    old = service(type="NodePort", ports=[(80, 30080)])
    await (await reservation.reserve(write("CREATE", old)))(True)
    stored.items[ObjectKey("default", "web")] = old
    settle = await reservation.reserve(write("UPDATE", service(type="NodePort", ports=[(80, 30081)]), old))
    await settle(False)
    assert list(await tested.ports.list()) == [30080]
    settle = await reservation.reserve(write("UPDATE", service(type="NodePort", ports=[(80, 30081)]), old))
    await settle(True)
    assert list(await tested.ports.list()) == [30081]


async def test_a_delete_frees_at_once_so_that_the_next_create_may_have_the_same() -> None:
    tested = allocator()
    reservation = ServiceReservation(tested, Stored().read)
    first = service(cluster_ip="10.96.0.10")
    await (await reservation.reserve(write("CREATE", first)))(True)
    with pytest.raises(Invalid):
        await reservation.reserve(write("CREATE", service("b", cluster_ip="10.96.0.10")))
    await reservation.reserve(write("DELETE", None, first))
    await reservation.reserve(write("CREATE", service("b", cluster_ip="10.96.0.10")))
