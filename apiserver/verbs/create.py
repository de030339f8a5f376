"""create: a new object.

`create_object` is the way of every new object: from a POST, and from a PUT or an apply of what is not there yet.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from api import validation
from api.errors import ApiError, BadRequest, InternalError, RequestEntityTooLarge
from apiserver.auth.rbac import forbidden
from apiserver.registry import failures
from apiserver.request import Answer, Call, RequestInfo, decided
from apiserver.verbs import writing
from apiserver.verbs.context import Context, registry_of, resource_of


async def create(context: Context, call: Call) -> Answer:
    """Store the object in the body.

    Raises:
        AlreadyExists: its name is taken.
        Invalid, Forbidden: as validation and admission say.
    """
    resource = resource_of(call)
    writing.check_options(call, "CreateOptions")
    obj = writing.decode_body(call, resource)
    writing.place(call, resource, obj)
    if obj.metadata.resource_version:
        raise BadRequest("resourceVersion should not be set on objects to be created")
    return await create_object(context, call, obj)


async def create_instead(context: Context, call: Call, obj: Any, *, is_apply: bool = False) -> Answer:
    """Store `obj`, which a PUT or an apply names and which is not there.

    Raises:
        Conflict: it names a uid, so another object is meant. Forbidden: the user may write, but not create.
    """
    resource, info, metadata = resource_of(call), call.info, obj.metadata
    if metadata.uid:
        why = f"Precondition failed: UID in precondition: {metadata.uid}, UID in object meta: "
        raise failures.conflict(resource, info.name, why)
    if context.authorizer is not None:
        # A name is never known when something is created, so rights for one name do not count.
        asked = RequestInfo("create", info.path, info.group, info.version, info.plural, "", info.namespace, "")
        decision = await decided(context.authorizer.authorize(call.user, asked))
        if not decision.allowed and decision.error:
            raise InternalError(f"Internal error occurred: {decision.error}")
        if not decision.allowed:
            raise forbidden(call.user, asked, decision.reason)
    metadata.resource_version = ""
    return await create_object(context, call, obj, is_apply=is_apply)


async def create_object(context: Context, call: Call, obj: Any, *, is_apply: bool = False) -> Answer:
    """Store `obj`, decoded and placed; `is_apply` says that it has its managed fields already."""
    resource, registry = resource_of(call), registry_of(context, call)
    metadata = obj.metadata
    metadata.uid = metadata.deletion_timestamp = metadata.creation_timestamp = ""
    metadata.deletion_grace_period_seconds = None
    resource.default(obj)
    if not is_apply:
        writing.drop_repeated_owners(call, obj)
        writing.own_create(context, call, resource, obj)
    owners = metadata.managed_fields
    request = writing.admission_request(call, resource, "CREATE", obj, None)
    await context.admission.admit(request)
    obj = request.object
    writing.drop_repeated_owners(call, obj, writing.AFTER_ADMISSION)
    metadata = obj.metadata
    writing.place(call, resource, obj)
    is_generated = not metadata.name and bool(metadata.generate_name)
    if is_generated:
        metadata.name = registry.generate_name(metadata.generate_name)
    metadata.uid = registry.generate_uid()
    resource.drop_gated(obj, None)
    resource.prepare_for_create(obj)
    obj.metadata.managed_fields = owners
    if resource.generation:
        metadata.generation = 1  # Of a kind that does not count them, it is what the client says.
    settle = await writing.reserve(context, request)
    try:
        await context.evaluating.run(partial(validation.check, resource, obj, None))
        writing.warn(request, obj, None)
        await context.admission.validate(request)
        try:
            stored = await registry.create(obj, has_generated_name=is_generated, dry_run=call.dry_run)
        except RequestEntityTooLarge:
            if is_apply or not obj.metadata.managed_fields:
                raise
            obj.metadata.managed_fields = []  # Rather nobody knows who owns its fields than that it cannot be stored.
            stored = await registry.create(obj, has_generated_name=is_generated, dry_run=call.dry_run)
    except ApiError as error:
        if settle is not None and writing.is_outcome_known(error):
            await settle(False)
        raise
    if settle is not None:
        await settle(not call.dry_run)
    return Answer(stored.json, str(stored.revision), 201)
