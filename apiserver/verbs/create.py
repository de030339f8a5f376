"""create: a new object."""

from __future__ import annotations

from api import validation
from api.errors import ApiError, BadRequest
from apiserver.request import Answer, Call
from apiserver.verbs import writing
from apiserver.verbs.context import Context, registry_of, resource_of


async def create(context: Context, call: Call) -> Answer:
    """Store the object in the body.

    Raises:
        AlreadyExists: its name is taken.
        Invalid, Forbidden: as validation and admission say.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    writing.check_dry_run(call)
    obj = writing.decode_body(call, resource)
    writing.place(call, resource, obj)
    metadata = obj.metadata
    if metadata.resource_version:
        raise BadRequest("resourceVersion should not be set on objects to be created")
    is_generated = not metadata.name and bool(metadata.generate_name)
    if is_generated:
        metadata.name = registry.generate_name(metadata.generate_name)
    metadata.uid = metadata.deletion_timestamp = metadata.creation_timestamp = ""
    metadata.deletion_grace_period_seconds = None
    resource.default(obj)
    request = writing.admission_request(call, resource, "CREATE", obj, None)
    await context.admission.admit(request)
    resource.prepare_for_create(obj)
    metadata.generation = 1 if resource.generation else 0
    settle = await writing.reserve(context, request)
    try:
        validation.check(resource, obj, None)
        await context.admission.validate(request)
        stored = await registry.create(obj, has_generated_name=is_generated, dry_run=call.dry_run)
    except ApiError as error:
        if settle is not None and writing.is_outcome_known(error):
            await settle(False)
        raise
    if settle is not None:
        await settle(not call.dry_run)
    return Answer(stored.json, str(stored.revision), 201)
