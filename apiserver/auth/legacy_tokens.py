"""Tokens that are kept in Secrets: when each was last used is noted, so that those nobody uses can be cleaned away.

A label on the Secret has the day; ConfigMap `kube-apiserver-legacy-service-account-token-tracking` in kube-system has
the day since which days are noted, so that a Secret without the label is told from one that was never looked at.
KEP-2799; the cleaning is `controllers.legacy_tokens`.
"""

from __future__ import annotations

import logging
from typing import Final

from api import timestamps
from api.core import configmap, secret
from api.core.configmap import ConfigMap
from api.core.legacy_tokens import LAST_USED, SINCE, TRACKING
from api.core.secret import Secret
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta
from apiserver.bootstrap import create_if_missing
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.registry.registries import Registries
from component.clock import Clock

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""How often it is looked whether the ConfigMap is there and says a day."""
_DAY_S: Final = 86_400.0


class LegacyTokens:
    """Notes the use of tokens that are kept in Secrets.

    Args:
        registries: where Secrets and the ConfigMap are.
        clock: says what day it is, in UTC.
    """

    def __init__(self, registries: Registries, clock: Clock) -> None:
        self._registries = registries
        self._clock = clock

    async def note_use(self, used: Secret) -> None:
        """Write on a Secret that its token was used today; what cannot be written is logged, and left to the next use.

        Apiservers' clocks may disagree about the day: one that is a day ahead is not taken back.
        """
        days = self._day(), self._day(_DAY_S)
        if used.metadata.labels.get(LAST_USED) in days:
            return

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            if obj.metadata.uid != used.metadata.uid or obj.metadata.labels.get(LAST_USED) in days:
                return Keep()
            obj.metadata.labels = {**obj.metadata.labels, LAST_USED: days[0]}
            return Put(obj)

        metadata = used.metadata
        try:
            await self._registries.of(secret.RESOURCE).write(metadata.namespace, metadata.name, decide)
        except NotFound:
            return
        except ApiError as error:
            log.warning("the use of a token is not noted", extra={"secret": metadata.name, "why": error.message})

    async def run(self) -> None:
        """Keep the day in the ConfigMap since which uses are noted, until cancelled."""
        while True:
            try:
                await self.reconcile()
            except ApiError as error:
                log.warning("the tracking of tokens is not told of", extra={"why": error.message})
            await self._clock.sleep(LOOK_S)

    async def reconcile(self) -> None:
        """Make the ConfigMap if it is missing, and have it say today if what it says is no day."""
        found = self._registries.lister(configmap.RESOURCE).get(TRACKING)
        if found is not None and timestamps.is_day(found.data.get(SINCE, "")):
            return
        since = {SINCE: self._day()}
        made = ConfigMap(metadata=ObjectMeta(name=TRACKING.name, namespace=TRACKING.namespace), data=dict(since))
        if await create_if_missing(self._registries, configmap.RESOURCE, made):
            return

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            if timestamps.is_day(obj.data.get(SINCE, "")):
                return Keep()
            obj.data = {**obj.data, **since}
            return Put(obj)

        try:
            await self._registries.of(configmap.RESOURCE).write(TRACKING.namespace, TRACKING.name, decide)
        except NotFound:
            return  # Deleted in this moment: it is made anew the next time.

    def _day(self, later_s: float = 0.0) -> str:
        return timestamps.day_of(self._clock.now() + later_s)
