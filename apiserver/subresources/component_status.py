"""ComponentStatuses: how the parts of the control plane are, found out when somebody asks (`kubectl get cs`).

The store is asked. Controllers and scheduler are told by their Leases: this server knows no address of theirs, and what
matters is whether one of them works. Deprecated, as upstream's, which asks on this machine alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from api import timestamps
from api.coordination import lease as leases
from api.core.componentstatus import ComponentCondition, ComponentStatus
from api.errors import NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.registry.codec import Stored
from apiserver.registry.failures import not_found
from apiserver.request import Answer, Call
from apiserver.verbs.context import Context, registry_of, resource_of
from apiserver.verbs.list import ListAnswer, selection_of
from store.client import Refused, Unavailable

STORE: Final = "etcd-0"
STORE_WITHIN_S: Final = 3.0
LEASES: Final = {
    "controller-manager": ObjectKey("kube-system", "steer-controllers"),
    "scheduler": ObjectKey("kube-system", "steer-scheduler"),
}
_NAMES: Final = ("controller-manager", "scheduler", STORE)


async def list_statuses(context: Context, call: Call) -> ListAnswer:
    """Return those that the call selects."""
    resource = resource_of(call)
    selection = selection_of(call, resource)
    found = await asyncio.gather(*(_stored(context, call, name) for name in _NAMES))
    selected: Sequence[Stored] = [each for each in found if selection.matches(each)]
    return ListAnswer(resource, selected, registry_of(context, call).cache.revision)


async def get_status(context: Context, call: Call) -> Answer:
    """Return one; raises NotFound."""
    if call.info.name not in _NAMES:
        raise not_found(resource_of(call), call.info.name)
    return Answer((await _stored(context, call, call.info.name)).json)


async def _stored(context: Context, call: Call, name: str) -> Stored:
    problem = await _store_problem(context) if name == STORE else await _lease_problem(context, LEASES[name])
    condition = ComponentCondition(type="Healthy", status="False" if problem else "True", message=problem or "ok")
    codec = registry_of(context, call).codec
    made = ComponentStatus(metadata=ObjectMeta(name=name), conditions=[condition])
    return Stored(codec, name, codec.served(codec.encode(made)), 0)


async def _store_problem(context: Context) -> str:
    try:
        async with asyncio.timeout(STORE_WITHIN_S):
            status = await context.registries.store.status()
    except (Unavailable, Refused, TimeoutError) as error:
        return str(error) or "no member of the store answers in time"
    return "" if status.leader else "no member of the store leads"


async def _lease_problem(context: Context, key: ObjectKey) -> str:
    try:
        lease: leases.Lease = await context.registries.read(leases.RESOURCE, key)
    except NotFound:
        return f"nobody has taken the Lease {key} yet"
    spec = lease.spec
    if not spec.holder_identity or not spec.renew_time:
        return f"nobody holds the Lease {key}"
    silent_s = context.clock.now() - timestamps.parse(spec.renew_time)
    if silent_s > (spec.lease_duration_seconds or 0):
        return f"{spec.holder_identity} has not renewed the Lease {key} for {silent_s:.0f} s"
    return ""
