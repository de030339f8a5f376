"""Forgets the store's old history: every 5 minutes, everything older than 5 minutes.

Each apiserver runs this. They agree by a key in the store: whoever moves it on does the work, and the others see that
it moved and wait another turn.
"""

from __future__ import annotations

import logging

from component.clock import Clock
from store.client import Compacted, Conflict, FutureRevision, Refused, Store, Unavailable

log = logging.getLogger(__name__)

INTERVAL_S = 300.0
_KEY = b"/steersman/compaction"


async def run(store: Store, clock: Clock) -> None:
    """Compact until cancelled; what the store refuses or can't do now is tried again in the next turn."""
    turn_revision, key_revision = 0, 0
    while True:
        await clock.sleep(INTERVAL_S)
        try:
            turn_revision, key_revision = await compact_once(store, turn_revision, key_revision)
        except (Unavailable, Refused) as error:
            log.warning("compaction put off: the store does not do it now", extra={"error": error})


async def compact_once(store: Store, seen_revision: int, seen_key_revision: int) -> tuple[int, int]:
    """Forget what is older than `seen_revision`, if no one else did since the turn that returned these two numbers.

    Returns:
        The store's present revision and that of the key, to be handed in an interval later.
    """
    try:
        key_revision = int(await store.put_if(_KEY, str(seen_revision).encode(), seen_key_revision))
    except Conflict as conflict:
        return (await store.range(_KEY)).revision, conflict.current.mod_revision if conflict.current else 0
    if seen_revision:
        try:
            await store.compact(seen_revision)
            log.info("compacted the store", extra={"revision": seen_revision})
        except (Compacted, FutureRevision, Refused) as error:
            log.info("nothing compacted", extra={"revision": seen_revision, "error": error})
    return key_revision, key_revision
