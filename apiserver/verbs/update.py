"""update: an object replaced as a whole."""

from __future__ import annotations

from typing import Any

from api.errors import ApiError
from api.resource import Resource
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Write
from apiserver.registry.storage import Registry
from apiserver.request import Answer, Call, Settle
from apiserver.verbs import writing
from apiserver.verbs.context import Context, namespace_of, registry_of, resource_of


async def update(
    context: Context,
    call: Call,
    *,
    prepare: writing.Prepare | None = None,
    is_status: bool = False,
) -> Answer:
    """Store the object in the body in place of the one that is there.

    With a resourceVersion in it, only if nothing has changed since; without, whatever is there.

    Raises:
        NotFound: there is none. Conflict: it has changed since.
        Invalid, Forbidden: as validation and admission say.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    writing.check_dry_run(call)

    def decode() -> Any:
        obj = writing.decode_body(call, resource)
        writing.place(call, resource, obj)
        writing.check_name(call, obj)
        resource.default(obj)
        return obj

    # What is wrong with the body is said before it is looked whether there is anything to replace.
    first = decode()

    def wanted(current: Stored) -> Any:
        nonlocal first
        decoded, first = first, None
        return decode() if decoded is None else decoded

    return await replace(context, call, registry, resource, wanted, prepare=prepare, is_status=is_status)


async def replace(
    context: Context,
    call: Call,
    registry: Registry,
    resource: Resource[Any],
    wanted: Any,
    *,
    prepare: writing.Prepare | None = None,
    is_status: bool = False,
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
            context, call, resource, wanted(current), current, prepare=prepare, is_status=is_status
        )
        return put

    try:
        stored, _ = await registry.write(namespace_of(call), call.info.name, decide, dry_run=call.dry_run)
    except ApiError as error:
        if writing.is_outcome_known(error):
            await settle_with(False)
        raise
    await settle_with(not call.dry_run)
    return Answer(stored.json, str(stored.revision))
