"""The end of the chain: from what is asked to the verb or subresource that does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from api.custom import is_custom
from api.errors import ServiceUnavailable
from apiserver.admission import connections
from apiserver.nowhere import no_such_kind, no_such_method, no_such_subresource
from apiserver.registry import failures
from apiserver.registry.failures import Redefined
from apiserver.request import Call, SubresourceHandler
from apiserver.subresources import (
    approval,
    binding,
    component_status,
    ephemeral_containers,
    eviction,
    finalize,
    scale,
    status,
)
from apiserver.verbs.context import Context
from apiserver.verbs.create import create
from apiserver.verbs.delete import delete
from apiserver.verbs.deletecollection import delete_collection
from apiserver.verbs.get import get
from apiserver.verbs.list import list_objects
from apiserver.verbs.patch import patch
from apiserver.verbs.update import update
from apiserver.verbs.watch import watch

Verb = Callable[[Context, Call], Awaitable[Any]]
Address = tuple[str, str, str, str]
"""Group, plural (`*`: any that declares the subresource), subresource (empty: the resource itself), verb."""

_VERBS: Final[Mapping[str, Verb]] = {
    "create": create,
    "delete": delete,
    "deletecollection": delete_collection,
    "get": get,
    "list": list_objects,
    "patch": patch,
    "update": update,
    "watch": watch,
}
_DEFINITIONS_MAX: Final = 100
"""By so many definitions of its kind, one after the other, a request is tried."""
_EVERYWHERE: Final = ("list", "watch")
"""What can be asked of all namespaces at once."""
_OF_ONE: Final = ("get", "update", "patch", "delete")
"""What is asked of one object, by its name."""
_SUBRESOURCES: Final[Mapping[Address, Verb]] = {
    ("*", "*", "status", "get"): status.get_status,
    ("*", "*", "status", "update"): status.update_status,
    ("*", "*", "status", "patch"): status.patch_status,
    ("*", "*", "scale", "get"): scale.get_scale,
    ("*", "*", "scale", "update"): scale.update_scale,
    ("*", "*", "scale", "patch"): scale.patch_scale,
    ("", "componentstatuses", "", "get"): component_status.get_status,
    ("", "componentstatuses", "", "list"): component_status.list_statuses,
    ("", "namespaces", "finalize", "update"): finalize.update_finalize,
    ("", "pods", "binding", "create"): binding.create_binding,
    ("", "pods", "ephemeralcontainers", "get"): ephemeral_containers.get_ephemeral_containers,
    ("", "pods", "ephemeralcontainers", "update"): ephemeral_containers.update_ephemeral_containers,
    ("", "pods", "ephemeralcontainers", "patch"): ephemeral_containers.patch_ephemeral_containers,
    ("", "pods", "eviction", "create"): eviction.create_eviction,
    ("", "bindings", "", "create"): binding.create_binding,
    ("certificates.k8s.io", "certificatesigningrequests", "approval", "get"): approval.get_approval,
    ("certificates.k8s.io", "certificatesigningrequests", "approval", "update"): approval.update_approval,
    ("certificates.k8s.io", "certificatesigningrequests", "approval", "patch"): approval.patch_approval,
}


class Dispatcher:
    """Finds who does what a call asks; `handlers` are those that need more than the Context (tokens, reviews)."""

    def __init__(self, context: Context, handlers: Mapping[Address, SubresourceHandler]) -> None:
        self._context = context
        self._handlers = handlers

    async def __call__(self, call: Call) -> Any:
        """Do it.

        Raises:
            NotFound: no such resource or subresource.
            MethodNotAllowed: it has no such verb.
        """
        if call.handler is not None:
            if connections.is_connection(call):
                call.connection = await connections.admit(self._context.admission, call)
            return await call.handler(call)
        if call.read_body is not None:
            call.body = await call.read_body()
        return await self._redirected(call)

    async def _do(self, call: Call) -> Any:
        resource, info = call.resource, call.info
        kinds = self._context.registries.kinds
        if resource is None or (info.namespace and not resource.namespaced and resource.plural != "namespaces"):
            raise no_such_kind(kinds, info.group)
        if info.subresource and info.subresource not in resource.subresources:
            raise no_such_subresource(kinds, call)
        if info.verb in _OF_ONE and (broken := failures.broken_name(info.name)) is not None:
            raise broken
        for address in (
            (info.group, info.plural, info.subresource, info.verb),
            ("*", "*", info.subresource, info.verb),
        ):
            handler = self._handlers.get(address)
            if handler is not None:
                return await handler(call)
            special = _SUBRESOURCES.get(address)
            if special is not None:
                return await special(self._context, call)
        if info.name and not info.subresource and resource.verbs == ("create",):
            raise no_such_kind(kinds, info.group)  # What is only asked questions of has no objects with names.
        is_nowhere = resource.namespaced and not info.namespace and info.verb not in _EVERYWHERE
        if is_nowhere and "/namespaces//" in info.path:
            raise failures.no_namespace()
        if is_nowhere and is_custom(resource.type):
            raise no_such_kind(kinds, info.group)
        verb = _VERBS.get(info.verb)
        if info.subresource or verb is None or info.verb not in resource.verbs:
            raise no_such_method(call)
        if is_nowhere:
            # An object needs a namespace to be in: there is no /api/v1/pods/NAME. A path that lists all does exist.
            if info.name and info.verb != "deletecollection":
                raise no_such_kind(kinds, info.group)
            raise no_such_method(call)
        if info.verb in ("create", "update", "patch") and bool(info.name) is (info.verb == "create"):
            raise no_such_method(call)  # POST to an object, PUT to a collection
        return await verb(self._context, call)

    async def _redirected(self, call: Call) -> Any:
        """Do it, and again by the present definition where a custom kind's was replaced meanwhile, some times over.

        Raises:
            ServiceUnavailable: its definition changes faster than anything can be done by it.
        """
        info = call.info
        for _ in range(_DEFINITIONS_MAX):
            try:
                return await self._do(call)
            except Redefined:
                call.resource = self._context.registries.kinds.by_gvr(info.group, info.version, info.plural)
            await asyncio.sleep(0)
        why = f"the definition of {info.plural} changes too often for anything to be done by it"
        raise ServiceUnavailable(why, retry_after_s=1)
