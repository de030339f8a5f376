"""What every write shares: from a body to an object, and from an object through admission and validation.

The order is upstream's: decode, default, mutating admission, prepare (what a client may not set is put back), reserve
unique values, validate, validating admission; only then the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from api import serde, validation
from api.errors import ApiError, BadRequest, ServiceUnavailable, Timeout, UnsupportedMediaType
from api.resource import Resource
from apiserver.registry import failures
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Put
from apiserver.request import AdmissionRequest, Call, Settle
from apiserver.verbs.context import Context

Prepare = Callable[[Any, Any], None]


def decode_body(call: Call, resource: Resource[Any]) -> Any:
    """Decode the body as an object of `resource`, with defaults; warnings go to the call.

    Raises:
        BadRequest: it can't be understood, or with fieldValidation=Strict it has unknown or repeated fields.
        UnsupportedMediaType: it is in a form that is not taken.
    """
    if not serde.is_known(call.content_type):
        raise unsupported(call.content_type)
    decoded = serde.decode(
        call.body, resource, content_type=call.content_type or "application/json", field_validation=validation_of(call)
    )
    call.warnings.extend(warning for warning in decoded.warnings if warning not in call.warnings)
    obj: Any = decoded.object
    obj.api_version, obj.kind = resource.api_version, resource.kind
    return obj


def unsupported(content_type: str) -> UnsupportedMediaType:
    """Return the error for a body in a form that is not taken."""
    media = content_type.split(";", 1)[0].strip()
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format ({media}): accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def validation_of(call: Call) -> serde.FieldValidation:
    """Return how unknown fields are to be treated; raises BadRequest for a word that is not one of the three."""
    asked = call.options.get("fieldValidation") or "Warn"
    if asked not in ("Ignore", "Warn", "Strict"):
        raise BadRequest(f'fieldValidation: Unsupported value: "{asked}": supported values: "Ignore", "Warn", "Strict"')
    return cast(serde.FieldValidation, asked)


def check_dry_run(call: Call) -> None:
    """Refuse a dryRun that is not `All`."""
    asked = call.options.get("dryRun", "")
    if asked not in ("", "All"):
        raise BadRequest(f'dryRun: Unsupported value: "{asked}": supported values: "All"')


def place(call: Call, resource: Resource[Any], obj: Any) -> None:
    """Give `obj` the namespace of the request's path; raises BadRequest if it says another."""
    metadata = obj.metadata
    wanted = call.info.namespace if resource.namespaced else ""
    if metadata.namespace and metadata.namespace != wanted:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    metadata.namespace = wanted


def check_name(call: Call, obj: Any) -> None:
    """Refuse an object that has another name than the request's path."""
    metadata = obj.metadata
    if metadata.name and metadata.name != call.info.name:
        raise BadRequest(
            f"the name of the object ({metadata.name}) does not match the name on the URL ({call.info.name})"
        )
    metadata.name = call.info.name


def admission_request(
    call: Call, resource: Resource[Any], operation: str, obj: Any, old: Any, *, subresource: str | None = None
) -> AdmissionRequest:
    """Return what admission plugins see of a write."""
    subject = obj if obj is not None else old
    return AdmissionRequest(
        operation=operation,
        resource=resource,
        namespace=call.info.namespace,
        name=call.info.name or (subject.metadata.name if subject is not None else ""),
        subresource=call.info.subresource if subresource is None else subresource,
        user=call.user,
        object=obj,
        old=old,
        options=call.options,
        dry_run=call.dry_run,
        warnings=call.warnings,
    )


async def decide_update(
    context: Context,
    call: Call,
    resource: Resource[Any],
    new: Any,
    current: Stored,
    *,
    prepare: Prepare | None = None,
    is_status: bool = False,
) -> tuple[Put, Settle | None]:
    """Take `new`, decoded and defaulted, to what may be stored in place of `current`.

    Args:
        context: the server's parts.
        call: the request.
        resource: the kind.
        new: what the client wants; changed here.
        current: what is stored.
        prepare: puts back in `new`, given the old, what may not be changed this way; the kind's own for the
            object itself.
        is_status: whether the status subresource is written, whose rules differ.

    Raises:
        Conflict: `new` names a resourceVersion or uid that is not the current one.
        Invalid, Forbidden: as validation and admission say.
    """
    old = current.codec.decode(current.json)
    _check_preconditions(resource, new, old)
    validation.keep_metadata(new.metadata, old.metadata)
    request = admission_request(call, resource, "UPDATE", new, old)
    await context.admission.admit(request)
    validation.keep_metadata(new.metadata, old.metadata)
    (prepare or resource.prepare_for_update)(new, old)
    new.metadata.generation = _next_generation(resource, new, old)
    settle = await reserve(context, request)
    try:
        validation.check(resource, new, old, status=is_status)
        await context.admission.validate(request)
    except ApiError:
        if settle is not None:
            await settle(False)
        raise
    return Put(new), settle


async def reserve(context: Context, request: AdmissionRequest) -> Settle | None:
    """Reserve unique values for a write, where its kind has any."""
    reservation = context.reservations.get(request.resource)
    if reservation is None or request.subresource:
        return None
    return await reservation.reserve(request)


def is_outcome_known(error: ApiError) -> bool:
    """Whether a write that failed so has certainly not happened."""
    return not isinstance(error, (ServiceUnavailable, Timeout))


def _check_preconditions(resource: Resource[Any], new: Any, old: Any) -> None:
    uid, version = new.metadata.uid, new.metadata.resource_version
    if uid and uid != old.metadata.uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.metadata.uid}"
        raise failures.conflict(resource, old.metadata.name, why)
    if version and version != "0" and version != old.metadata.resource_version:
        raise failures.conflict(resource, old.metadata.name, failures.MODIFIED)


def _next_generation(resource: Resource[Any], new: Any, old: Any) -> int:
    generation: int = old.metadata.generation
    if not resource.generation:
        return generation
    for declared in msgspec.structs.fields(resource.type):
        name = declared.name
        if name not in ("metadata", "status") and getattr(new, name) != getattr(old, name):
            return generation + 1
    return generation
