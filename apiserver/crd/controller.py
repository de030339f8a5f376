"""Follows the definitions: gives them their status, serves the kinds they define, and clears up after them.

A definition's status says which names it got (`naming.py`); with it, in the same turn, its kind is served, so whoever
sees `Established` can use it at once. Every server does this for itself; the status is the same whoever writes it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api import serde
from api.apiextensions import customresourcedefinition as crds
from api.apiextensions.customresourcedefinition import CLEANUP_FINALIZER, CustomResourceDefinition, is_condition
from api.errors import ApiError, NotFound
from api.resource import Resource
from apiserver.admission.chain import AdmissionChain
from apiserver.crd import kinds, naming
from apiserver.crd.codec import CustomCodec
from apiserver.crd.conversion import Converter
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.registry.follow import follow
from apiserver.registry.selection import select
from apiserver.request import Call, RequestInfo, User
from apiserver.verbs.context import Context
from apiserver.verbs.deletecollection import delete_collection
from apiserver.webhooks.client import WebhookClient
from store.client import Refused, Unavailable

log = logging.getLogger(__name__)

_SELF: Final = User("system:apiserver", groups=("system:masters",))


@dataclass(frozen=True, slots=True)
class _Served:
    """What was made of one definition, and of what: as long as that stays, so does the rest."""

    made_from: bytes
    uid: str
    resources: tuple[Resource[Any], ...]


class Definitions:
    """The custom kinds of one server. `run` must be running."""

    def __init__(self, context: Context, webhooks: WebhookClient) -> None:
        self._context = context
        self._registries = context.registries
        self._webhooks = webhooks
        self._served: dict[str, _Served] = {}
        self._ready = asyncio.Event()

    async def wait_ready(self) -> None:
        """Return once every definition that was there at the start is served."""
        await self._ready.wait()

    async def run(self) -> None:
        """Follow the definitions until cancelled."""

        async def turn(definitions: list[CustomResourceDefinition]) -> bool:
            waits = await self._turn(definitions)
            self._ready.set()
            return waits

        await follow(self._registries.of(crds.RESOURCE).cache, self._context.clock, turn)

    async def _turn(self, definitions: list[CustomResourceDefinition]) -> bool:
        """Bring everything up to `definitions`; returns whether to look again soon."""
        present = {crd.metadata.name for crd in definitions}
        for name in [name for name in self._served if name not in present]:
            self._forget(name)
        waits = False
        for crd in definitions:
            try:
                waits |= await self._look_at(crd, definitions)
            except (ApiError, Unavailable, Refused) as error:
                log.warning("will look again", extra={"definition": crd.metadata.name, "error": error})
                waits = True
            except Exception:
                log.exception("a definition cannot be served", extra={"definition": crd.metadata.name})
                waits = True
        return waits

    async def _look_at(self, crd: CustomResourceDefinition, definitions: Iterable[CustomResourceDefinition]) -> bool:
        others = [
            each for each in definitions if each.spec.group == crd.spec.group and each.metadata.uid != crd.metadata.uid
        ]
        status = naming.compute_status(crd, others, self._context.clock.now())
        current = msgspec.structs.replace(crd, status=status)
        if is_condition(current, "Established"):
            self._serve(current)
            if crd.metadata.deletion_timestamp:
                self._close(crd)
        if status != crd.status:
            await self._write_status(crd, status)
        if crd.metadata.deletion_timestamp and CLEANUP_FINALIZER in crd.metadata.finalizers:
            return not await self._clean_up(crd)
        return False

    # Serving

    def _serve(self, crd: CustomResourceDefinition) -> None:
        name = crd.metadata.name
        made_from = msgspec.json.encode((crd.spec, crd.status.accepted_names))
        before = self._served.get(name)
        if before is not None and (before.made_from, before.uid) == (made_from, crd.metadata.uid):
            return
        plain = serde.to_value(crd)
        made = kinds.resources_of(plain)
        stored_as = f"{crd.spec.group}/{kinds.storage_version(plain)}"
        conversion = crd.spec.conversion
        converter = None
        if conversion is not None and conversion.strategy == "Webhook" and conversion.webhook is not None:
            converter = Converter(crd.status.accepted_names.kind, conversion.webhook, self._webhooks)
        is_served = {version.name for version in crd.spec.versions if version.served}
        resources = tuple(resource for version, resource in made.items() if version in is_served)
        self._drop(name)
        shapes = {resource.api_version: resource.type.shape for resource in made.values()}
        for resource in resources:
            self._registries.add(resource, CustomCodec(resource, stored_as, shapes, converter))
        self._served[name] = _Served(made_from, crd.metadata.uid, resources)
        self._publish()
        log.info("serving", extra={"definition": name, "versions": sorted(is_served)})

    def _close(self, crd: CustomResourceDefinition) -> None:
        """Let nothing new be made of a kind that is going."""
        resources = self._served[crd.metadata.name].resources
        if all(resource.type.shape.is_terminating for resource in resources):
            return
        for resource in resources:
            resource.type.shape.is_terminating = True
        self._publish()

    def _forget(self, name: str) -> None:
        self._drop(name)
        self._publish()
        log.info("serving no more", extra={"definition": name})

    def _drop(self, name: str) -> None:
        former = self._served.pop(name, None)
        for resource in former.resources if former is not None else ():
            self._registries.remove(resource)

    def _publish(self) -> None:
        self._registries.kinds.serve(resource for served in self._served.values() for resource in served.resources)

    # Writing

    async def _write_status(self, crd: CustomResourceDefinition, status: Any) -> None:
        await self._write(crd, lambda obj: setattr(obj, "status", _with_versions(status, obj)))

    async def _write(self, crd: CustomResourceDefinition, change: Any) -> None:
        registry = self._registries.of(crds.RESOURCE)

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            if obj.metadata.uid != crd.metadata.uid or obj.spec != crd.spec:
                return Keep()  # It is another one by now: it will be looked at in its turn.
            change(obj)
            return Put(obj)

        try:
            await registry.write("", crd.metadata.name, decide)
        except NotFound:
            return

    # Deletion

    async def _clean_up(self, crd: CustomResourceDefinition) -> bool:
        """Delete all objects; once there are none, let the definition go. Returns whether that is done."""
        now = self._context.clock.now()
        served = self._served.get(crd.metadata.name)
        if served is not None and served.resources:
            resource = served.resources[0]
            if not is_condition(crd, "Terminating"):
                text = "CustomResource deletion is in progress"
                status = naming.with_terminating(crd, True, "InstanceDeletionInProgress", text, now)
                await self._write_status(crd, status)
            info = RequestInfo("deletecollection", "", resource.group, resource.version, resource.plural)
            # Nobody is asked: an object that admission would keep would keep the definition for ever.
            context = dataclasses.replace(self._context, admission=AdmissionChain(()))
            await delete_collection(context, Call(info, user=_SELF, resource=resource))
            cache = self._registries.of(resource).cache
            await cache.catch_up()
            if cache.select(select(resource)):
                return False

        def finish(obj: CustomResourceDefinition) -> None:
            reason, text = "InstanceDeletionCompleted", "removed all instances"
            if not is_condition(obj, "Established"):
                reason, text = "NeverEstablished", "resource was never established"
            obj.status = naming.with_terminating(obj, False, reason, text, now)
            obj.metadata.finalizers = [name for name in obj.metadata.finalizers if name != CLEANUP_FINALIZER]

        await self._write(crd, finish)
        return True


def _with_versions(status: Any, current: CustomResourceDefinition) -> Any:
    """Return `status` with the stored versions as they are now, which are the API's to note."""
    return msgspec.structs.replace(status, stored_versions=current.status.stored_versions)
