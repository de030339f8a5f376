from __future__ import annotations

from random import Random
from typing import Any, cast

from api.core import configmap, secret
from apiserver.registry.registries import Registries
from component.clock import RealClock
from store.local import LocalStore


def test_kinds_that_users_define_may_come_while_the_built_in_are_waited_for() -> None:
    registries = Registries(LocalStore(), RealClock(), Random(1), (configmap.RESOURCE,))
    registries._tasks = cast(Any, NoTasks())
    found = []
    for registry in registries:
        found.append(registry.resource)
        registries.add(secret.RESOURCE, registry.codec)
    assert found == [configmap.RESOURCE]


class NoTasks:
    """A task group that runs nothing."""

    def create_task(self, work: Any, name: str = "") -> None:
        work.close()
