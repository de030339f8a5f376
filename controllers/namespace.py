"""Empties a namespace that is being deleted, then lets it go.

A dialogue with the server, since what matters is what is really there: every namespaced kind that it or another server
has is listed and deleted, kind by kind, until nothing is left; then the `kubernetes` finalizer in spec.finalizers is
removed. New objects cannot appear meanwhile: the API server refuses them. What takes time (pods that stop gracefully,
finalizers of others, servers that do not say what they have) is told in the namespace's conditions and looked at again
soon.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from api import timestamps
from api.apiextensions import customresourcedefinition as crds
from api.core import namespace as namespaces
from api.core.namespace import Namespace, NamespaceCondition
from api.discover import STORED
from api.errors import ApiError, Conflict, Forbidden, MethodNotAllowed, NotFound
from api.resource import ObjectKey, Resource
from client.verbs import Client
from controllers import aggregated_kinds
from controllers.actions import update_status
from controllers.custom_kinds import handles_of
from controllers.metadata import MetadataOnly, metadata_only
from controllers.runner import Context, Dialogue

FINALIZER = "kubernetes"
LOOK_AGAIN_S = 1.0
CONCURRENT_DELETES_MAX = 32


@dataclass(frozen=True, slots=True)
class Remainder:
    """What of one kind is left in the namespace after deleting."""

    resource: Resource[Any]
    count: int
    finalizers: tuple[str, ...]
    """Every finalizer on any of them, once each per object."""
    error: str = ""


async def reconcile(key: ObjectKey, context: Context) -> float | None:
    """Delete what is in the namespace; finalize it once it is empty."""
    cached = context.listers[namespaces.RESOURCE].get(key)
    if cached is None or not cached.metadata.deletion_timestamp:
        return None
    client = context.client
    try:
        namespace = await client.get(namespaces.RESOURCE, key)
    except NotFound:
        return None
    if not namespace.metadata.deletion_timestamp or FINALIZER not in namespace.spec.finalizers:
        return None
    kinds = [kind for kind in STORED if kind.namespaced and {"list", "delete"} <= set(kind.verbs)]
    for crd in (await client.list(crds.RESOURCE)).items:
        kinds += [kind for kind in handles_of(crd)[:1] if kind.namespaced]
    elsewhere, unknown = await _elsewhere(client)
    found = await asyncio.gather(*(_empty(client, kind, key.name) for kind in (*kinds, *elsewhere)))
    left = [remainder for remainder in found if remainder.count or remainder.error]
    await _tell(client, namespace, left, unknown, context.clock.now())
    if left or unknown:
        return LOOK_AGAIN_S
    namespace = await client.get(namespaces.RESOURCE, key)
    rest = [name for name in namespace.spec.finalizers if name != FINALIZER]
    spec = msgspec.structs.replace(namespace.spec, finalizers=rest)
    try:
        await client.update(namespaces.RESOURCE, msgspec.structs.replace(namespace, spec=spec), subresource="finalize")
    except NotFound:
        return None
    return None


async def _elsewhere(client: Client) -> tuple[list[Resource[MetadataOnly]], str]:
    """Return the kinds in namespaces that other servers have, and why those may not be all; empty if they are.

    While one of them cannot be asked, there may be objects in the namespace that nobody sees.
    """
    try:
        versions = await client.discover()
    except ApiError as error:
        return [], error.message
    preferred = (handles[0] for handles in aggregated_kinds.handles_of(versions).values())
    kinds = [kind for kind in preferred if kind.namespaced and {"list", "delete"} <= set(kind.verbs)]
    stale = aggregated_kinds.stale_of(versions)
    if not stale:
        return kinds, ""
    told = ", ".join(f"{each}: stale GroupVersion discovery: {each}" for each in stale)
    return kinds, (
        f"Discovery failed for some groups, {len(stale)} failing: unable to retrieve the complete list of"
        f" server APIs: {told}"
    )


async def _empty(client: Client, resource: Resource[Any], namespace: str) -> Remainder:
    """Delete all objects of one kind; return what is still there."""
    kind = metadata_only(resource)
    try:
        objects = (await client.list(kind, namespace)).items
        if not objects:
            return Remainder(resource, 0, ())
        limit = asyncio.Semaphore(CONCURRENT_DELETES_MAX)

        async def delete(obj: Any) -> None:
            async with limit:
                try:
                    await client.delete(
                        resource,
                        ObjectKey(namespace, obj.metadata.name),
                        propagation="Background",
                        uid=obj.metadata.uid,
                    )
                except (NotFound, Conflict):
                    return

        await asyncio.gather(*(delete(obj) for obj in objects if not obj.metadata.deletion_timestamp))
        objects = (await client.list(kind, namespace)).items
    except (MethodNotAllowed, NotFound):
        return Remainder(resource, 0, ())
    except (ApiError, Forbidden) as error:
        return Remainder(resource, 0, (), error.message)
    return Remainder(resource, len(objects), tuple(name for obj in objects for name in obj.metadata.finalizers))


def compute_conditions(left: list[Remainder], unknown: str = "") -> dict[str, tuple[str, str, str]]:
    """Return (status, reason, message) of each condition, by type; `unknown` says why there may be more than `left`."""
    failures = sorted(f"{each.resource}: {each.error}" for each in left if each.error)
    remaining = sorted(
        f"{each.resource.plural}.{each.resource.group} has {each.count} resource instances"
        for each in left
        if each.count
    )
    names = [name for each in left for name in each.finalizers]
    waiting = [f"{name} in {names.count(name)} resource instances" for name in sorted(set(names))]
    is_well = {
        "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "ParsedGroupVersions", "All legacy kube types successfully parsed"
        ),
        "NamespaceDeletionContentFailure": (
            "ContentDeleted", "All content successfully deleted, may be waiting on finalization"
        ),
        "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
        "NamespaceFinalizersRemaining": (
            "ContentHasNoFinalizers", "All content-preserving finalizers finished"
        ),
    }  # fmt: skip
    found = {type: ("False", reason, message) for type, (reason, message) in is_well.items()}
    if unknown:
        found["NamespaceDeletionDiscoveryFailure"] = ("True", "DiscoveryFailed", unknown)
    if failures:
        told = f"Failed to delete all resource types, {len(failures)} remaining: {', '.join(failures)}"
        found["NamespaceDeletionContentFailure"] = ("True", "ContentDeletionFailed", told)
    if remaining:
        told = f"Some resources are remaining: {', '.join(remaining)}"
        found["NamespaceContentRemaining"] = ("True", "SomeResourcesRemain", told)
    if waiting:
        told = f"Some content in the namespace has finalizers remaining: {', '.join(waiting)}"
        found["NamespaceFinalizersRemaining"] = ("True", "SomeFinalizersRemain", told)
    return found


async def _tell(client: Client, namespace: Namespace, left: list[Remainder], unknown: str, now: float) -> None:
    conditions = {condition.type: condition for condition in namespace.status.conditions}
    for type, (status, reason, message) in compute_conditions(left, unknown).items():
        current = conditions.get(type)
        if current is None and not left and not unknown:
            continue  # It went at once: there is nothing to explain.
        if current is None or (current.status, current.reason, current.message) != (status, reason, message):
            since = current.last_transition_time if current and current.status == status else timestamps.render(now)
            conditions[type] = NamespaceCondition(
                type=type, status=status, last_transition_time=since, reason=reason, message=message
            )
    wanted = msgspec.structs.replace(namespace.status, conditions=list(conditions.values()))
    patch = update_status(namespaces.RESOURCE, namespace, wanted)
    if patch is not None:
        try:
            await client.patch(patch.resource, patch.key, patch.patch, subresource="status")
        except NotFound:
            return


CONTROLLER: Dialogue[Namespace] = Dialogue(
    name="namespace-controller", resource=namespaces.RESOURCE, reconcile=reconcile, workers=8
)
