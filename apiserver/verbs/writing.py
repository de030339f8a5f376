"""What every write shares: from a body to an object, and from an object through admission and validation.

The order is upstream's: decode, default, mutating admission, prepare (what a client may not set is put back), reserve
unique values, validate, validating admission; only then the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, cast

from api import bodies, protobuf, serde, timestamps, validation
from api.custom import is_custom
from api.errors import ApiError, BadRequest, ServiceUnavailable, Timeout
from api.meta import generation_after
from api.resource import Resource
from apiserver.registry import apply, failures
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Put
from apiserver.request import AdmissionRequest, Call, Settle
from apiserver.verbs.context import Context

Prepare = Callable[[Any, Any], None]


class Facade(Protocol):
    """What a subresource shows of an object, and admission sees in its place: a Scale."""

    def show(self, obj: Any) -> Any:
        """Return what is shown of an object."""

    def put(self, obj: Any, shown: Any) -> None:
        """Make an object, in place, what is shown of it."""


COMPONENT: Final = "component"
"""The user agent of our own processes."""
_MANAGER_LENGTH_MAX: Final = 128


def decode_body(call: Call, resource: Resource[Any]) -> Any:
    """Decode the body as an object of `resource`, with defaults; warnings go to the call.

    Raises:
        BadRequest: it can't be understood, or with fieldValidation=Strict it has unknown or repeated fields.
        UnsupportedMediaType: it is in a form that is not taken.
    """
    if not bodies.is_known(call.content_type):
        raise bodies.unsupported(bodies.OBJECT_TYPES)
    if is_custom(resource.type) and protobuf.is_protobuf(call.content_type):
        raise bodies.unsupported(("application/json", "application/yaml"))  # Custom kinds' fields have no numbers.
    decoded = serde.decode(
        call.body, resource, content_type=call.content_type or "application/json", field_validation=validation_of(call)
    )
    call.warnings.extend(warning for warning in decoded.warnings if warning not in call.warnings)
    obj: Any = decoded.object
    obj.api_version, obj.kind = resource.api_version, resource.kind
    return obj


def validation_of(call: Call) -> serde.FieldValidation:
    """Return how unknown fields are to be treated; `check_options` has refused what is not one of the three."""
    asked = call.options.get("fieldValidation") or "Warn"
    return cast(serde.FieldValidation, asked)


def check_dry_run(call: Call, kind: str = "CreateOptions") -> None:
    """Refuse a dryRun that is not `All`: who asks for one in other words, or in none, does not want a write."""
    asked = call.options.get("dryRun", "All")
    if asked != "All":
        why = f'Unsupported value: []string{{{json.dumps(asked)}}}: supported values: "All"'
        raise failures.invalid_options(kind, "dryRun", "FieldValueNotSupported", why)


def manager_of(call: Call) -> str:
    """Return who writes, for managedFields: what the client calls itself, else the name of its program.

    Our own processes don't name a program; the user that each of them is does.
    """
    given = call.options.get("fieldManager")
    if given:
        return given
    if call.user_agent and call.user_agent != COMPONENT:
        agent = call.user_agent.partition("/")[0]
        return "".join(char for char in agent if char.isprintable())[:_MANAGER_LENGTH_MAX]
    name = call.user.name
    if name.startswith("system:node:"):
        return "kubelet"
    return name.removeprefix("system:")[:_MANAGER_LENGTH_MAX] or "unknown"


def writer_of(call: Call, resource: Resource[Any]) -> apply.Writer:
    """Return who writes what, for managedFields."""
    return apply.Writer(manager_of(call), resource.api_version, call.info.subresource)


def check_options(call: Call, kind: str) -> None:
    """Refuse options of a write that are none; `kind` is their own, such as PatchOptions."""
    check_dry_run(call, kind)
    asked = call.options.get("fieldValidation", "")
    if asked not in ("", "Ignore", "Warn", "Strict"):
        why = f'Unsupported value: "{asked}": supported values: "", "Ignore", "Strict", "Warn"'
        raise failures.invalid_options(kind, "fieldValidation", "FieldValueNotSupported", why)
    manager = call.options.get("fieldManager", "")
    if len(manager) > _MANAGER_LENGTH_MAX:
        raise failures.invalid_options(
            kind, "fieldManager", "FieldValueTooLong", f"Too long: may not be more than {_MANAGER_LENGTH_MAX} bytes"
        )
    if not manager.isprintable():
        position, char = next((i, char) for i, char in enumerate(manager) if not char.isprintable())
        at = len(manager[:position].encode())
        why = f"Invalid value: {validation.show(manager)}: invalid character U+{ord(char):04X} (at position {at})"
        raise failures.invalid_options(kind, "fieldManager", "FieldValueInvalid", why)


def own_create(context: Context, call: Call, resource: Resource[Any], obj: Any) -> None:
    """Note in a new object that all of it is its creator's."""
    obj.metadata.managed_fields = []
    obj.metadata.managed_fields = apply.track_create(
        obj, writer_of(call, resource), timestamps.render(context.clock.now()), has_status=has_status(resource)
    )


def own_update(context: Context, call: Call, resource: Resource[Any], new: Any, old: Any) -> None:
    """Note in an updated object that what has changed is now the updater's.

    An update of the object itself may also rewrite the managed fields, or have them forgotten.
    """
    given, entries = new.metadata.managed_fields, old.metadata.managed_fields
    if given and given != entries and not call.info.subresource:
        if apply.is_reset(given):
            new.metadata.managed_fields = []
            return
        entries = apply.readable(given) or entries
    new.metadata.managed_fields = apply.track_update(
        new,
        old,
        entries,
        writer_of(call, resource),
        timestamps.render(context.clock.now()),
        has_status=has_status(resource),
    )


def has_status(resource: Resource[Any]) -> bool:
    """Whether a kind's status is written apart, so that a write of the object is not about it."""
    return "status" in resource.subresources


def place(call: Call, resource: Resource[Any], obj: Any) -> None:
    """Give `obj` the namespace of the request's path, none in a kind without; raises BadRequest if it says another."""
    metadata = obj.metadata
    wanted = call.info.namespace if resource.namespaced else ""
    if wanted and metadata.namespace and metadata.namespace != wanted:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    metadata.namespace = wanted


def check_name(call: Call, obj: Any) -> None:
    """Refuse an object that has another name than the request's path, or none."""
    metadata = obj.metadata
    if not metadata.name:
        raise BadRequest(
            f"the name of the object ({call.info.name} based on URL) was undeterminable: name must be provided"
        )
    if metadata.name != call.info.name:
        raise BadRequest(
            f"the name of the object ({metadata.name}) does not match the name on the URL ({call.info.name})"
        )


def drop_repeated_owners(call: Call, obj: Any, when: str = "") -> None:
    """Take out owner references that stand there twice, and tell the client, and when that was seen.

    Words and moments are upstream's: a body is looked at when it is read, and what admission plugins and patches have
    made of an object after them.
    """
    kept: list[Any] = []
    repeated: list[str] = []
    for reference in obj.metadata.owner_references:
        if reference in kept:
            repeated.append(reference.uid)
        else:
            kept.append(reference)
    if not repeated:
        return
    obj.metadata.owner_references = kept
    warning = (
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and "
        "may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        f"{', '.join(repeated)}"
    )
    if warning not in call.warnings:
        call.warnings.append(warning)


AFTER_ADMISSION: Final = " after mutating admission happens"


def take_name(call: Call, obj: Any) -> None:
    """Give an object that need not say so the name of the request's path; refuse one that has another."""
    obj.metadata.name = obj.metadata.name or call.info.name
    check_name(call, obj)


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
        annotations=call.annotations,
        verb=call.info.verb,
        deadline=call.deadline,
        excuse=call.excuse,
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
    is_apply: bool = False,
    facade: Facade | None = None,
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
        is_apply: whether `new` has its managed fields already.
        facade: what admission is shown in the object's place.

    Raises:
        Conflict: `new` names a resourceVersion that is not the current one, or replaces another object.
        Invalid, Forbidden: as validation and admission say.
    """
    old = current.codec.decode(current.json)
    _check_preconditions(call, resource, new, old)
    validation.keep_metadata(new.metadata, old.metadata)
    if not is_apply:
        own_update(context, call, resource, new, old)
    owners = new.metadata.managed_fields
    shown, before = (facade.show(new), facade.show(old)) if facade is not None else (new, old)
    request = admission_request(call, resource, "UPDATE", shown, before)
    await context.admission.admit(request)
    if facade is None:
        new = request.object
    else:
        facade.put(new, request.object)
    drop_repeated_owners(call, new, AFTER_ADMISSION)
    validation.keep_metadata(new.metadata, old.metadata)
    if not is_status:
        resource.drop_gated(new, old)
    (prepare or resource.prepare_for_update)(new, old)
    new.metadata.managed_fields = owners
    new.metadata.generation = _next_generation(resource, new, old)
    if resource.counts_annotations and not is_status and new.metadata.annotations != old.metadata.annotations:
        new.metadata.generation = generation_after(old.metadata.generation)
    settle = await reserve(context, request)
    try:
        check = partial(validation.check, resource, new, old, status=is_status, subresource=call.info.subresource)
        await context.evaluating.run(check)
        if not request.subresource:
            warn(request, new, old)
        await context.admission.validate(request)
    except ApiError:
        if settle is not None:
            await settle(False)
        raise
    return Put(new), settle


def warn(request: AdmissionRequest, new: Any, old: Any) -> None:
    """Tell the client what its kind has to say of an object that it may write."""
    for text in request.resource.warn(new, old):
        request.warn(text)


async def reserve(context: Context, request: AdmissionRequest) -> Settle | None:
    """Reserve unique values for a write, where its kind has any."""
    reservation = context.reservations.get(request.resource)
    if reservation is None or request.subresource:
        return None
    return await reservation.reserve(request)


def too_contended(resource: Resource[Any], name: str) -> ApiError:
    """Return the error for an object that comes and goes faster than a write can follow."""
    return failures.conflict(resource, name, failures.MODIFIED)


def is_outcome_known(error: ApiError) -> bool:
    """Whether a write that failed so has certainly not happened."""
    return not isinstance(error, (ServiceUnavailable, Timeout))


_UPDATED_FROM_A_VERSION: Final = frozenset(
    {
        ("coordination.k8s.io", "leases"), ("policy", "poddisruptionbudgets"), ("node.k8s.io", "runtimeclasses"),
        ("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices"),
        ("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csistoragecapacities"), ("storage.k8s.io", "volumeattachments"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    }
)  # fmt: skip
"""Kinds that are replaced only by who says from which version, as upstream has it; custom kinds are, too."""


def _check_preconditions(call: Call, resource: Resource[Any], new: Any, old: Any) -> None:
    uid, version = new.metadata.uid, new.metadata.resource_version
    # Who replaces an object says which one that is; a patch would change its uid, and validation refuses that.
    if uid and uid != old.metadata.uid and call.info.verb != "patch":
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.metadata.uid}"
        raise failures.conflict(resource, old.metadata.name, why)
    is_said = version not in ("", "0")
    if is_said and version != old.metadata.resource_version:
        raise failures.conflict(resource, old.metadata.name, failures.MODIFIED)
    if not is_said and (is_custom(resource.type) or (resource.group, resource.plural) in _UPDATED_FROM_A_VERSION):
        raise failures.unversioned(resource, old.metadata.name)


def _next_generation(resource: Resource[Any], new: Any, old: Any) -> int:
    generation: int = old.metadata.generation
    if not resource.generation:
        return generation
    if is_custom(resource.type):
        return generation_after(generation) if resource.type.shape.is_changed(new, old) else generation
    for name in resource.type.__struct_fields__:
        if name not in ("metadata", "status") and getattr(new, name) != getattr(old, name):
            return generation_after(generation)
    return generation
