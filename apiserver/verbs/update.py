"""update: an object replaced as a whole."""

from __future__ import annotations

from typing import Any, Final

from api import bodies, protobuf
from api.errors import AlreadyExists, ApiError, NotFound, RequestEntityTooLarge
from api.meta import ManagedFieldsEntry
from api.resource import Resource
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Put, Write
from apiserver.registry.storage import Registry
from apiserver.request import Answer, Call, Settle
from apiserver.verbs import writing
from apiserver.verbs.context import Context, namespace_of, registry_of, resource_of
from apiserver.verbs.create import create_instead

_RBAC: Final = "rbac.authorization.k8s.io"
_CREATED_BY_UPDATE: Final = frozenset(
    {
        ("", "endpoints"), ("", "events"), ("events.k8s.io", "events"), ("", "limitranges"), ("", "services"),
        ("certificates.k8s.io", "certificatesigningrequests"), ("coordination.k8s.io", "leases"),
        (_RBAC, "clusterroles"), (_RBAC, "clusterrolebindings"), (_RBAC, "roles"), (_RBAC, "rolebindings"),
        ("scheduling.k8s.io", "priorityclasses"), ("node.k8s.io", "runtimeclasses"),
    }
)  # fmt: skip
"""Kinds whose update creates what is not there, as upstream has it."""


async def update(
    context: Context,
    call: Call,
    *,
    prepare: writing.Prepare | None = None,
    is_status: bool = False,
) -> Answer:
    """Store the object in the body in place of the one that is there.

    With a resourceVersion in it, only if nothing has changed since; without, whatever is there, save of kinds that
    are replaced only from a version. Of a few kinds it is created where there is none.

    Raises:
        NotFound: there is none. Conflict: it has changed since.
        Invalid, Forbidden: as validation and admission say.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    writing.check_options(call, "UpdateOptions")

    def decode() -> Any:
        obj = writing.decode_body(call, resource)
        if not obj.metadata.managed_fields and b"managedFields" in call.body and _empties_managed_fields(call):
            obj.metadata.managed_fields = [ManagedFieldsEntry()]  # As good as the empty entry: forget them.
        writing.place(call, resource, obj)
        writing.check_name(call, obj)
        writing.drop_repeated_owners(call, obj)
        resource.default(obj)
        return obj

    # What is wrong with the body is said before it is looked whether there is anything to replace.
    first = decode()

    def wanted(current: Stored) -> Any:
        nonlocal first
        decoded, first = first, None
        return decode() if decoded is None else decoded

    while True:
        try:
            return await replace(context, call, registry, resource, wanted, prepare=prepare, is_status=is_status)
        except NotFound as error:
            is_object = error.name == call.info.name and error.kind == resource.plural
            if not is_object or call.info.subresource or (resource.group, resource.plural) not in _CREATED_BY_UPDATE:
                raise
        try:
            return await create_instead(context, call, decode())
        except AlreadyExists:
            continue  # Someone else was faster: there is an object to replace now.


def _empties_managed_fields(call: Call) -> bool:
    """Whether a body has a list of managed fields, and nothing in it."""
    if protobuf.is_protobuf(call.content_type):
        return False  # It has no empty lists.
    value, _ = bodies.parse(call.body, call.content_type)
    return ((value or {}).get("metadata") or {}).get("managedFields") == []


async def replace(
    context: Context,
    call: Call,
    registry: Registry,
    resource: Resource[Any],
    wanted: Any,
    *,
    prepare: writing.Prepare | None = None,
    is_status: bool = False,
    is_apply: bool = False,
    facade: writing.Facade | None = None,
) -> Answer:
    """Store what `wanted` (from the stored object to a new one, defaulted) gives, guarded by the revision."""
    settle: Settle | None = None

    async def settle_with(happened: bool) -> None:
        nonlocal settle
        if settle is not None:
            done, settle = settle, None
            await done(happened)

    async def decide(current: Stored) -> Write:
        nonlocal settle
        await settle_with(False)  # of an attempt that met a newer object
        put, settle = await writing.decide_update(
            context,
            call,
            resource,
            wanted(current),
            current,
            prepare=prepare,
            is_status=is_status,
            is_apply=is_apply,
            facade=facade,
        )
        return put

    async def decide_untracked(current: Stored) -> Write:
        write = await decide(current)
        if isinstance(write, Put):
            write.object.metadata.managed_fields = []
        return write

    where, name = namespace_of(call), call.info.name
    try:
        try:
            stored, _ = await registry.write(where, name, decide, dry_run=call.dry_run)
        except RequestEntityTooLarge:
            if is_apply:
                raise
            # Rather nobody knows who owns its fields than that it cannot be stored.
            stored, _ = await registry.write(where, name, decide_untracked, dry_run=call.dry_run)
    except ApiError as error:
        if writing.is_outcome_known(error):
            await settle_with(False)
        raise
    await settle_with(not call.dry_run)
    return Answer(stored.json, str(stored.revision))
