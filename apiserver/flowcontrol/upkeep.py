"""Keeps the objects of priority and fairness: the defaults in place, and in every schema whether its level exists.

Run by every apiserver; each writes the same, so it does not matter who does. Every ten seconds the levels' seats are
lent anew, once a minute the objects are looked at (at once when one of them changes).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from api import timestamps
from api.errors import ApiError, NotFound
from api.flowcontrol import flowschema, prioritylevelconfiguration
from api.flowcontrol.flowschema import FlowSchema, FlowSchemaCondition
from api.flowcontrol.prioritylevelconfiguration import PriorityLevelConfiguration
from api.resource import ObjectKey, Resource
from apiserver.bootstrap import create_if_missing
from apiserver.flowcontrol import borrowing, defaults
from apiserver.flowcontrol.fair_queue import Ticket
from apiserver.flowcontrol.levels import FlowControl
from apiserver.registry.codec import Stored, copy_of
from apiserver.registry.deletion import Keep, Put, Remove, Write
from apiserver.registry.registries import Registries
from component.clock import Clock

log = logging.getLogger(__name__)

PERIOD_S: Final = 60.0
_LOOK_S: Final = 1.0
KINDS: Final[tuple[Resource[Any], ...]] = (flowschema.RESOURCE, prioritylevelconfiguration.RESOURCE)
DANGLING: Final = "Dangling"


class Upkeep:
    """The duties beside requests.

    Args:
        control: is told of the objects.
        registries: where they are.
        clock: for the periods.
        wake: is given the requests that start because seats were lent.
    """

    def __init__(
        self, control: FlowControl, registries: Registries, clock: Clock, wake: Callable[[Iterable[Ticket]], None]
    ) -> None:
        self._control = control
        self._registries = registries
        self._clock = clock
        self._wake = wake
        self._seen: tuple[int, ...] = ()

    def refresh(self) -> None:
        """Take changed objects up; cheap when nothing has changed, so it is asked before each request."""
        at = self._registries.changed_at(*KINDS)
        if at != self._seen:
            self._seen = at
            schemas, levels = (self._registries.lister(kind).list() for kind in KINDS)
            self._wake(self._control.configure(self._clock.monotonic(), schemas, levels))

    async def adjust(self) -> None:
        """Lend seats anew every period, until cancelled."""
        while True:
            await self._clock.sleep(borrowing.PERIOD_S)
            self.refresh()
            self._wake(self._control.adjust(self._clock.monotonic()))

    async def keep(self) -> None:
        """Keep the objects until cancelled."""
        await self._registries.wait_ready()
        while True:
            at = self._registries.changed_at(*KINDS)
            try:
                await self.reconcile()
            except ApiError as error:
                log.warning("priority and fairness: its objects are not kept", extra={"error": error.message})
            until = self._clock.monotonic() + PERIOD_S
            while self._clock.monotonic() < until and self._registries.changed_at(*KINDS) == at:
                await self._clock.sleep(_LOOK_S)

    async def reconcile(self) -> None:
        """Make what is missing, bring back what may not differ, remove what is suggested no more, and say what dangles.

        Raises:
            ApiError: the store does not answer.
        """
        everything: tuple[Sequence[Any], ...] = (defaults.flow_schemas(), defaults.priority_levels())
        for kind, wanted in zip(KINDS, everything, strict=True):
            by_name: dict[str, Any] = {one.metadata.name: one for one in wanted}
            await asyncio.gather(*(self._ensure(kind, one) for one in by_name.values()))
            for stored in self._registries.lister(kind).list():
                metadata = stored.metadata
                if metadata.name not in by_name and metadata.annotations.get(defaults.AUTOUPDATE) == "true":
                    await self._write(kind, metadata.name, _remove)
        names = {one.metadata.name for one in self._registries.lister(prioritylevelconfiguration.RESOURCE).list()}
        for schema in self._registries.lister(flowschema.RESOURCE).list():
            if _condition(schema, names) != _said(schema):
                await self._write(flowschema.RESOURCE, schema.metadata.name, self._say_dangling(names))

    async def _ensure(self, kind: Resource[Any], wanted: Any) -> None:
        seen = self._registries.lister(kind).get(ObjectKey("", wanted.metadata.name))
        if seen is not None and not bring_back(copy_of(seen), wanted):
            return  # as almost always; who changes it meanwhile wakes us again
        if await create_if_missing(self._registries, kind, copy_of(wanted)):
            return

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            return Put(obj) if bring_back(obj, wanted) else Keep()

        await self._write(kind, wanted.metadata.name, decide)

    def _say_dangling(self, level_names: set[str]) -> Callable[[Stored], Any]:
        async def decide(current: Stored) -> Write:
            schema = current.codec.decode(current.json)
            condition = _condition(schema, level_names)
            if condition == _said(schema):
                return Keep()
            others = [one for one in schema.status.conditions if one.type != DANGLING]
            condition.last_transition_time = timestamps.render(self._clock.now())
            schema.status.conditions = [*others, condition]
            return Put(schema)

        return decide

    async def _write(self, kind: Resource[Any], name: str, decide: Callable[[Stored], Any]) -> None:
        try:
            await self._registries.of(kind).write("", name, decide)
        except NotFound:
            return  # Deleted meanwhile; the change wakes us again.


async def _remove(current: Stored) -> Write:
    return Remove(current.codec.decode(current.json))


def bring_back(current: Any, wanted: Any) -> bool:
    """Give a stored default the spec it should have; return whether it differed.

    A suggested one is kept while its annotation says `true`, or says nothing and nobody has changed it yet.
    """
    metadata = current.metadata
    annotation = metadata.annotations.get(defaults.AUTOUPDATE)
    is_mandatory = metadata.name in defaults.MANDATORY
    is_ours = is_mandatory or annotation == "true" or (annotation not in ("true", "false") and metadata.generation == 1)
    expected = "true" if is_ours else "false"
    changed: bool = annotation != expected
    if changed:
        metadata.annotations = {**metadata.annotations, defaults.AUTOUPDATE: expected}
    if is_mandatory and isinstance(wanted, PriorityLevelConfiguration):
        is_as_it_must = prioritylevelconfiguration.is_as_it_must(metadata.name, current.spec)
    else:
        is_as_it_must = current.spec == wanted.spec
    if is_ours and not is_as_it_must:
        current.spec = wanted.spec
        metadata.generation = (metadata.generation or 0) + 1
        changed = True
    return changed


def _condition(schema: FlowSchema, level_names: set[str]) -> FlowSchemaCondition:
    name = schema.spec.priority_level_configuration.name
    if name in level_names:
        reason, status = "Found", "False"
        message = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" and it exists'
    else:
        reason, status = "NotFound", "True"
        message = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" but there is no such object'  # fmt: skip # noqa: E501
    return FlowSchemaCondition(type=DANGLING, status=status, reason=reason, message=message)


def _said(schema: FlowSchema) -> FlowSchemaCondition | None:
    """Return what a schema's status says about its level, without the time."""
    for one in schema.status.conditions:
        if one.type == DANGLING:
            return FlowSchemaCondition(type=one.type, status=one.status, reason=one.reason, message=one.message)
    return None
