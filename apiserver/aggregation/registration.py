"""Keeps an APIService for every group version that is served here, so that one list shows all there are.

Those of built-in groups are made at the start (`onstart`), those of custom kinds as long as these are defined. An
APIService that somebody else made for a group version is left alone: it decides who has it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from api import timestamps
from api.apiextensions import customresourcedefinition as crds
from api.apiregistration import apiservice
from api.apiregistration.apiservice import APIService, APIServiceCondition, APIServiceSpec, APIServiceStatus
from api.errors import AlreadyExists, ApiError, NotFound
from api.meta import ObjectMeta
from apiserver.aggregation import priorities
from apiserver.aggregation.availability import LOCAL
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Remove, Write
from apiserver.registry.kinds import Kinds
from apiserver.registry.registries import Registries
from apiserver.registry.selection import select
from component.clock import Clock
from store.client import Refused, Unavailable

log = logging.getLogger(__name__)

LABEL: Final = "kube-aggregator.kubernetes.io/automanaged"
AT_START: Final = "onstart"
ALWAYS: Final = "true"
LOOK_S: Final = 0.5
RECONCILE_S: Final = 10.0
_OWN_GROUP: Final = "apiregistration.k8s.io"


def wanted(kinds: Kinds) -> dict[str, APIService]:
    """Return the APIServices of what is served here, by name. Pure."""
    made: dict[str, APIService] = {}
    for members, mode in ((kinds.built_in, AT_START), (kinds.custom, ALWAYS)):
        for group, version in dict.fromkeys((kind.group, kind.version) for kind in members):
            if group == _OWN_GROUP:
                continue
            of_group, of_version = priorities.of(group, version)
            made.setdefault(
                f"{version}.{group}",
                APIService(
                    metadata=ObjectMeta(name=f"{version}.{group}", labels={LABEL: mode}),
                    spec=APIServiceSpec(
                        group=group, version=version, group_priority_minimum=of_group, version_priority=of_version
                    ),
                ),
            )
    return made


class Registration:
    """Keeps the APIServices; `run` must be running."""

    def __init__(self, registries: Registries, clock: Clock) -> None:
        self._registries = registries
        self._clock = clock

    async def run(self) -> None:
        """Keep them until cancelled."""
        seen: Any = None
        looked_at = 0.0
        while True:
            now = self._clock.monotonic()
            if self._registries.kinds.all is not seen or now - looked_at > RECONCILE_S:
                kinds, looked_at = self._registries.kinds.all, now
                try:
                    await self.reconcile()
                    seen = kinds
                except (ApiError, Unavailable, Refused) as error:
                    log.info("APIServices not kept", extra={"why": str(error)})
            await self._clock.sleep(LOOK_S)

    async def reconcile(self) -> None:
        """Make what is missing, and remove what was made for kinds that are gone."""
        made = wanted(self._registries.kinds)
        present = {each.metadata.name: each for each in self._registries.lister(apiservice.RESOURCE).list()}
        await asyncio.gather(*(self._make(each) for name, each in made.items() if name not in present))
        gone = [
            name
            for name, each in present.items()
            if name not in made and each.metadata.labels.get(LABEL) == ALWAYS and each.spec.service is None
        ]
        if gone:
            # Another server may know of kinds that this one has not seen yet.
            defined = await self._defined()
            await asyncio.gather(*(self._remove(name) for name in gone if name not in defined))

    async def _defined(self) -> set[str]:
        cache = self._registries.of(crds.RESOURCE).cache
        await cache.catch_up()
        found = [stored.object for stored in cache.select(select(crds.RESOURCE))]
        return {f"{version.name}.{crd.spec.group}" for crd in found for version in crd.spec.versions if version.served}

    async def _make(self, made: APIService) -> None:
        available = APIServiceCondition(
            type="Available",
            status=LOCAL.status,
            reason=LOCAL.reason,
            message=LOCAL.message,
            last_transition_time=timestamps.render(self._clock.now()),
        )
        made.status = APIServiceStatus(conditions=[available])
        try:
            await self._registries.of(apiservice.RESOURCE).create(made)
        except AlreadyExists:
            return

    async def _remove(self, name: str) -> None:
        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            is_ours = obj.metadata.labels.get(LABEL) == ALWAYS and obj.spec.service is None
            return Remove(obj) if is_ours else Keep()

        try:
            await self._registries.of(apiservice.RESOURCE).write("", name, decide)
        except NotFound:
            return
