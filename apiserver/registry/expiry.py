"""Events are forgotten after an hour, as upstream does.

A sweep over the cache, in key order, deletes what is old. Several apiservers may sweep at once: a delete is guarded
by the revision, and who comes second finds nothing to do.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from api import timestamps
from api.core import event
from apiserver.registry.codec import Stored, storage_prefix
from apiserver.registry.registries import Registries
from apiserver.registry.selection import select
from component.clock import Clock
from store.client import Conflict, Refused, Store, Unavailable

log = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
EVENT_AGE_MAX_S: Final = 3600.0


async def expire_events(registries: Registries, store: Store, clock: Clock) -> None:
    """Delete old events until cancelled."""
    prefix = storage_prefix(event.RESOURCE).encode()
    everything = select(event.RESOURCE)
    while True:
        await clock.sleep(INTERVAL_S)
        cache = registries.of(event.RESOURCE).cache
        old = [stored for stored in cache.select(everything) if _is_old(stored, clock.now())]
        for stored in old:
            try:
                await store.delete_if(prefix + stored.key.encode(), stored.revision)
            except Conflict:
                continue  # Seen again meanwhile, or deleted by another sweep.
            except (Unavailable, Refused) as error:
                log.warning("old events stay: the store does not answer", extra={"error": error})
                break


def _is_old(stored: Stored, now: float) -> bool:
    obj: Any = stored.codec.decode(stored.json)
    last = obj.series.last_observed_time if obj.series else ""
    seen = last or obj.last_timestamp or obj.event_time or obj.metadata.creation_timestamp
    return bool(seen) and now - timestamps.parse(seen) > EVENT_AGE_MAX_S
