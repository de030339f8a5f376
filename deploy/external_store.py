"""A store that somebody else runs: asked whether it answers, before anything is started on it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from component.serve import Identity
from deploy.plan import ExternalStore
from deploy.report import CannotDo
from store.client import Refused, StoreClient, Unavailable

ANSWER_WITHIN_S = 5.0
"""Long enough for an election."""
ASK_AGAIN_S = 0.2


def check(store: ExternalStore) -> None:
    """Return if one of its members answers and knows a leader.

    Raises:
        CannotDo: none does; the message says what came instead.
    """
    try:
        asyncio.run(_check(store))
    except (Unavailable, Refused, TimeoutError, OSError, ValueError) as error:
        why = str(error) or f"no answer within {ANSWER_WITHIN_S:g} s"
        raise CannotDo(
            f"the store at {', '.join(store.endpoints)} can't be used: {why}. "
            "Check --store-endpoints, and that --store-cert is admitted and --store-ca is its CA"
        ) from None


async def _check(store: ExternalStore) -> None:
    identity = Identity(Path(store.cert), Path(store.key), Path(store.ca))
    client = StoreClient(store.endpoints, identity, timeout_s=ANSWER_WITHIN_S)
    until = asyncio.get_running_loop().time() + ANSWER_WITHIN_S
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S + 1):
            while not (await client.status()).leader:
                if asyncio.get_running_loop().time() > until:
                    raise Unavailable("its members have no leader")
                await asyncio.sleep(ASK_AGAIN_S)
    finally:
        await client.close()
