"""Checks that the servers of APIServices can be asked, writes their `Available` condition, and gathers what they serve.

Reasons and messages are upstream's, since people wait for them. Every server does this for itself; the status is the
same whoever writes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from api import timestamps
from api.apiregistration import apiservice
from api.apiregistration.apiservice import APIService, APIServiceCondition
from api.core import endpoints, service
from api.core.endpoints import Endpoints
from api.core.service import Service
from api.discovery import endpointslice
from api.discovery.endpointslice import EndpointSlice
from api.errors import ApiError, NotFound
from api.resource import ObjectKey
from apiserver.aggregation import openapi_v3
from apiserver.aggregation.servers import Servers, is_available
from apiserver.discovery import RemoteVersion, aggregated_media, entries_of_legacy
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.registry.registries import Registries
from apiserver.webhooks.services import SERVICE_LABEL, endpoints_of
from component.clock import Clock
from component.metrics import Level, Tally, shared
from store.client import Refused, Unavailable

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""How soon a change is noticed."""
CHECK_S: Final = 30.0
"""How often a server is asked anew when nothing changed."""
RETRY_S: Final = 2.0
"""How soon one that did not answer is asked again."""
DISCOVERY_TIMEOUT_S: Final = 5.0
OPENAPI_TIMEOUT_S: Final = 15.0
_JSON: Final = "application/json"
_MISSAID: Final = (KeyError, TypeError, AttributeError, ValueError, RecursionError, msgspec.MsgspecError)
"""What reading another server's document can end in, where it is not what it should be."""
_ACCEPT: Final = ",".join([aggregated_media("v2"), aggregated_media("v2beta1"), _JSON])


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether a server can be asked, and why."""

    status: str
    reason: str
    message: str


LOCAL: Final = Condition("True", "Local", "Local APIServices are always available")
PASSED: Final = Condition("True", "Passed", "all checks passed")


def judge(
    wanted: APIService, found: Service | None, slices: Sequence[EndpointSlice], by_hand: Endpoints | None
) -> Condition | None:
    """Say what can be said without asking the server; None: ask it. Pure."""
    ref = wanted.spec.service
    if ref is None:
        return LOCAL
    where = f'service/{ref.name} in "{ref.namespace}"'
    if found is None:
        return Condition("False", "ServiceNotFound", f"{where} is not present")
    if found.spec.type == "ExternalName":
        return None
    port = next((each for each in found.spec.ports if each.port == ref.port), None)
    if port is None:
        return Condition("False", "ServicePortError", f"{where} is not listening on port {ref.port}")
    if not slices and by_hand is None:
        return Condition("False", "EndpointsNotFound", f"cannot find endpoints for {where}")
    subsets = by_hand.subsets if by_hand is not None and not slices else []
    is_by_hand = any(each.addresses and any(one.name == port.name for one in each.ports) for each in subsets)
    if not endpoints_of(port, list(slices)) and not is_by_hand:
        message = f'endpoints for {where} have no addresses with port name "{port.name}"'
        return Condition("False", "MissingEndpoints", message)
    return None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one server serves, as far as it is known."""

    version: RemoteVersion
    openapi_v3: str = ""
    """Where its OpenAPI document is, with a hash; empty when it has none."""
    openapi_v2: bytes = b""
    converted: bytes = b""
    """Its v3 document made of the v2 one, where it has no other."""


class _Kind(msgspec.Struct):
    group: str = ""
    version: str = ""
    kind: str = ""


class _Part(msgspec.Struct, rename="camel"):
    subresource: str
    response_kind: _Kind | None = None
    verbs: list[str] | None = None


class _Entry(msgspec.Struct, rename="camel"):
    resource: str
    response_kind: _Kind | None = None
    scope: str = ""
    singular_resource: str = ""
    verbs: list[str] | None = None
    short_names: list[str] | None = None
    categories: list[str] | None = None
    subresources: list[_Part] | None = None


def checked(entries: Any) -> list[dict[str, Any]]:
    """Return what a server says of its kinds, if clients can read it: theirs stands beside everybody's in one document.

    Raises:
        msgspec.ValidationError: they could not.
    """
    msgspec.convert(entries, list[_Entry])
    return list(entries)


UNAVAILABLE: Final = shared(
    Level("aggregator_unavailable_apiservice", "Whether each APIService cannot be reached: 1, or 0.", ("name",))
)
BECAME_UNAVAILABLE: Final = shared(
    Tally("aggregator_unavailable_apiservice_total", "How often each became so, and why.", ("name", "reason"))
)


class Availability:
    """Follows the APIServices; `run` must be running."""

    def __init__(self, registries: Registries, servers: Servers, clock: Clock) -> None:
        self._registries = registries
        self._servers = servers
        self._clock = clock
        self._due: dict[str, float] = {}
        """When each server is to be asked again."""
        self.gathered: Mapping[str, Gathered] = {}
        """By APIService name; replaced as a whole when something changes."""

    async def run(self) -> None:
        """Check until cancelled."""
        kinds = (apiservice.RESOURCE, service.RESOURCE, endpointslice.RESOURCE, endpoints.RESOURCE)
        seen: Any = None
        while True:
            changed = self._registries.changed_at(*kinds)
            if changed != seen:
                seen = changed
                self._due = {}
            try:
                await self._turn()
            except Exception:
                log.exception("APIServices could not be checked")
            await self._clock.sleep(LOOK_S)

    async def _turn(self) -> None:
        now = self._clock.monotonic()
        present = self._registries.lister(apiservice.RESOURCE).list()
        due = [each for each in present if self._due.get(each.metadata.name, 0.0) <= now]
        results = await asyncio.gather(*(self._check(each) for each in due), return_exceptions=True)
        for each, result in zip(due, results, strict=True):
            if isinstance(result, BaseException):
                log.info("APIService not checked", extra={"object": each.metadata.name, "why": str(result)})
            is_well = not isinstance(result, BaseException) and result
            self._due[each.metadata.name] = self._clock.monotonic() + (CHECK_S if is_well else RETRY_S)
        names = {each.metadata.name for each in present}
        for labels in [labels for labels in UNAVAILABLE.values if labels[0] not in names]:
            del UNAVAILABLE.values[labels]
        remote = {each.metadata.name for each in self._servers.remote()}
        if any(name not in remote for name in self.gathered):
            self.gathered = {name: kept for name, kept in self.gathered.items() if name in remote}
            self._servers.without_openapi_v3 &= remote

    async def _check(self, wanted: APIService) -> bool:
        condition = await self._condition(wanted)
        if condition is not LOCAL:
            await self._gather(wanted, is_well=condition.status == "True")
        _count(wanted.metadata.name, condition, was_well=is_available(wanted))
        await self._write(wanted, condition)
        return condition.status == "True"

    async def _condition(self, wanted: APIService) -> Condition:
        ref = wanted.spec.service
        if ref is None:
            return LOCAL
        registries, key = self._registries, ObjectKey(ref.namespace, ref.name)
        slices = [
            each
            for each in registries.lister(endpointslice.RESOURCE).list(ref.namespace)
            if each.metadata.labels.get(SERVICE_LABEL) == ref.name
        ]
        found, by_hand = registries.lister(service.RESOURCE).get(key), registries.lister(endpoints.RESOURCE).get(key)
        judged = judge(wanted, found, slices, by_hand)
        if judged is not None:
            return judged
        path = f"/apis/{wanted.spec.group}/{wanted.spec.version}"
        url = f"https://{ref.name}.{ref.namespace}.svc:{ref.port}{path}"
        try:
            status, _, _ = await self._servers.get(wanted, path, _JSON, timeout_s=DISCOVERY_TIMEOUT_S)
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or "context deadline exceeded"
            message = f'failing or missing response from {url}: Get "{url}": {why}'
            return Condition("False", "FailedDiscoveryCheck", message)
        if not 200 <= status < 300:
            return Condition("False", "FailedDiscoveryCheck", f"failing or missing response from {url}: "
                             f"bad status from {url}: {status}")  # fmt: skip
        return PASSED

    async def _gather(self, wanted: APIService, *, is_well: bool) -> None:
        """Bring what is known of a server's kinds up to date; what was known before stays, as stale."""
        name, spec = wanted.metadata.name, wanted.spec
        before = self.gathered.get(name)
        resources = before.version.resources if before is not None else b"[]"
        is_fresh, v3, v2 = False, "", b""
        if is_well:
            try:
                resources = msgspec.json.encode(await self._resources(wanted))
                is_fresh = True
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError, *_MISSAID) as error:
                log.info("no discovery", extra={"object": name, "why": str(error) or repr(error)})
            v3, v2 = await self._openapi_v3(wanted), await self._openapi_v2(wanted)
        version = RemoteVersion(
            spec.group, spec.version, spec.group_priority_minimum, spec.version_priority, resources, is_fresh
        )
        converted = b""
        if v2 and not v3:
            prefix = f"/apis/{spec.group}/{spec.version}"
            if before is not None and before.converted and before.openapi_v2 == v2:
                converted = before.converted
            else:
                try:
                    converted = msgspec.json.encode(openapi_v3.convert(msgspec.json.decode(v2), prefix))
                except _MISSAID as error:
                    log.info("no OpenAPI", extra={"object": name, "why": str(error) or repr(error)})
        self._servers.without_openapi_v3 = {
            *(self._servers.without_openapi_v3 - {name}),
            *((name,) if converted else ()),
        }
        now = Gathered(version, v3, v2, converted)
        if now != before:
            self.gathered = {**self.gathered, name: now}

    async def _resources(self, wanted: APIService) -> list[dict[str, Any]]:
        """Return what a server has of its version, as an aggregated document shows it.

        Raises:
            ApiError, aiohttp.ClientError, OSError, TimeoutError: it cannot be asked.
            KeyError, TypeError, AttributeError, ValueError, msgspec.MsgspecError: it says what is no such document.
        """
        group, version = wanted.spec.group, wanted.spec.version
        status, content_type, body = await self._servers.get(wanted, "/apis", _ACCEPT, timeout_s=DISCOVERY_TIMEOUT_S)
        if status == 200 and "as=APIGroupDiscoveryList" in content_type:
            for each in msgspec.json.decode(body)["items"]:
                if each["metadata"].get("name") == group:
                    for served in each.get("versions", []):
                        if served["version"] == version:
                            return checked(served.get("resources", []))
            return []
        path = f"/apis/{group}/{version}"
        status, _, body = await self._servers.get(wanted, path, _JSON, timeout_s=DISCOVERY_TIMEOUT_S)
        if status != 200:
            raise ValueError(f"{path}: {status}")
        return checked(entries_of_legacy(group, version, msgspec.json.decode(body).get("resources") or []))

    async def _openapi_v3(self, wanted: APIService) -> str:
        path = f"apis/{wanted.spec.group}/{wanted.spec.version}"
        try:
            status, _, body = await self._servers.get(wanted, "/openapi/v3", _JSON, timeout_s=OPENAPI_TIMEOUT_S)
            return str(msgspec.json.decode(body)["paths"][path]["serverRelativeURL"]) if status == 200 else ""
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError, *_MISSAID):
            return ""  # Not every server has one.

    async def _openapi_v2(self, wanted: APIService) -> bytes:
        try:
            status, _, body = await self._servers.get(wanted, "/openapi/v2", _JSON, timeout_s=OPENAPI_TIMEOUT_S)
            if status == 200 and isinstance(msgspec.json.decode(body).get("definitions"), dict):
                return body
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError, *_MISSAID):
            pass
        return b""

    async def _write(self, wanted: APIService, condition: Condition) -> None:
        if _said(wanted) == condition:
            return

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            if obj.spec != wanted.spec or _said(obj) == condition:
                return Keep()  # It is another one by now: it will be looked at in its turn.
            before = next((each for each in obj.status.conditions if each.type == "Available"), None)
            since = before.last_transition_time if before is not None and before.status == condition.status else ""
            made = APIServiceCondition(
                type="Available",
                status=condition.status,
                reason=condition.reason,
                message=condition.message,
                last_transition_time=since or timestamps.render(self._clock.now()),
            )
            obj.status.conditions = [*(each for each in obj.status.conditions if each.type != "Available"), made]
            return Put(obj)

        try:
            await self._registries.of(apiservice.RESOURCE).write("", wanted.metadata.name, decide)
        except NotFound:
            return
        except (ApiError, Unavailable, Refused) as error:
            log.info("status not written", extra={"object": wanted.metadata.name, "why": str(error)})
            return
        if is_available(wanted) != (condition.status == "True"):
            log.info("APIService", extra={"object": wanted.metadata.name, "available": condition.status})


def _count(name: str, condition: Condition, *, was_well: bool) -> None:
    is_well = condition.status == "True"
    UNAVAILABLE.set(0 if is_well else 1, (name,))
    if was_well and not is_well:
        BECAME_UNAVAILABLE.add((name, condition.reason))


def _said(obj: APIService) -> Condition | None:
    for each in obj.status.conditions:
        if each.type == "Available" and each.last_transition_time:
            return Condition(each.status, each.reason, each.message)
    return None
