"""Growing and shrinking a running store, one member at a time, each step safe to repeat after a failure.

`plan_steps` is pure: from the members there are to those there should be. `carry_out` does the steps. A member is added
in the membership first and started (with `--join`) after that; it counts towards a majority only once it is in sync.
A member is removed from the membership first and stopped after that; it then ends by itself, and its data directory
is of no further use: a member that comes back must be a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from deploy.report import CannotDo, Report
from store.client import Refused, StoreClient, StoreMember, Unavailable

IN_SYNC_WITHIN_S = 120.0
"""How long a new member may take to start and catch up."""
REMOVED_WITHIN_S = 30.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do about one member, by name."""

    verb: Literal["add", "remove"]
    member: str
    peer_address: str
    """host:port at which other members reach it."""


def plan_steps(present: Iterable[StoreMember], wanted: Sequence[tuple[str, str]]) -> list[Step]:
    """Return the steps to the members `wanted` (name, peer address), in order: all additions first, newest names last.

    Members are told apart by peer address, since one that never started has no name. One that was added and is not in
    sync yet is added again, which `carry_out` takes as "wait for it".
    """
    by_address = {address_of(member): member for member in present}
    steps = [
        Step("add", name, address)
        for name, address in wanted
        if address not in by_address or by_address[address].is_learner or not by_address[address].name
    ]
    kept = {address for _, address in wanted}
    leaving = [member for address, member in by_address.items() if address not in kept]
    # Those without a vote, or never started, cost nothing; of the others the last by name goes first.
    leaving.sort(key=lambda member: (member.is_learner or not member.name, member.name), reverse=True)
    return steps + [Step("remove", member.name, address_of(member)) for member in leaving]


async def carry_out(
    steps: Sequence[Step],
    client: StoreClient,
    report: Report,
    *,
    start: Callable[[str], Awaitable[None]],
    stop: Callable[[str], Awaitable[None]],
) -> None:
    """Do the steps, one after the other.

    Args:
        steps: from `plan_steps`.
        client: of all members, old and new.
        report: is told of each step.
        start: starts the process of the member of that name, with `--join`; must do nothing where it runs.
        stop: stops the process of the member of that name for good, and deletes its data directory.

    Raises:
        CannotDo: a step can't be done; those before it are. Calling again goes on from there.
    """
    for step in steps:
        try:
            if step.verb == "add":
                await _add(step, client, report, start)
            else:
                await _remove(step, client, report)
                await stop(step.member)
        except (Refused, Unavailable) as error:
            raise CannotDo(f"the store can't {step.verb} its member {step.member}: {error}") from None


async def _add(step: Step, client: StoreClient, report: Report, start: Callable[[str], Awaitable[None]]) -> None:
    if await _find(step, client) is None:
        report(f"store: adding {step.member}")
        await client.add_member(f"https://{step.peer_address}")
    await start(step.member)
    until = asyncio.get_running_loop().time() + IN_SYNC_WITHIN_S
    while True:
        member = await _find(step, client)
        if member is not None and member.name == step.member and not member.is_learner:
            report(f"store: {step.member} is in sync and votes")
            return
        if asyncio.get_running_loop().time() > until:
            raise CannotDo(
                f"the store's member {step.member} was not in sync after {IN_SYNC_WITHIN_S:g} s: see its log"
            )
        await asyncio.sleep(POLL_S)


async def _remove(step: Step, client: StoreClient, report: Report) -> None:
    """Remove the member; a leader that removes itself hands over first, and may leave without an answer."""
    until = asyncio.get_running_loop().time() + REMOVED_WITHIN_S
    while (member := await _find(step, client)) is not None:
        report(f"store: removing {step.member}")
        try:
            await client.remove_member(member.id)
        except Unavailable:
            if asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(POLL_S)


async def _find(step: Step, client: StoreClient) -> StoreMember | None:
    return next((member for member in await client.members() if address_of(member) == step.peer_address), None)


def address_of(member: StoreMember) -> str:
    """Return where other members reach a member, as host:port."""
    return member.peer_urls[0].partition("://")[2].rstrip("/") if member.peer_urls else ""
