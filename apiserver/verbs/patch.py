"""patch: an object changed in part, by a JSON, merge or strategic merge patch.

A patch is applied to whatever is there, as often as the object changes meanwhile, unless it names a resourceVersion
itself: that is compared like an update's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from api import bodies, serde, validation
from api.errors import BadRequest, Cause, Invalid
from api.go_types import printed
from api.meta import ManagedFieldsEntry
from api.patch import words
from api.patch.dispatch import APPLY_PATCH, apply_patch, check_type, faults_of, is_strategic, parse_patch
from api.resource import Resource
from api.type_meta import Unreadable
from apiserver.registry.codec import Stored
from apiserver.registry.failures import invalid_options
from apiserver.request import Answer, Call
from apiserver.verbs import apply, writing
from apiserver.verbs.context import Context, registry_of, resource_of
from apiserver.verbs.update import replace


async def patch(
    context: Context, call: Call, *, prepare: writing.Prepare | None = None, is_status: bool = False
) -> Answer:
    """Apply the patch in the body.

    Raises:
        NotFound: there is no such object. Conflict: it is not as the patch demands.
        Invalid, Forbidden: as validation and admission say of the result.
    """
    writing.check_options(call, "PatchOptions")
    if bodies.media(call.content_type) == APPLY_PATCH:
        return await apply.apply(context, call, prepare=prepare, is_status=is_status)
    if "force" in call.options:
        why = "Forbidden: may not be specified for non-apply patch"
        raise invalid_options("PatchOptions", "force", "FieldValueForbidden", why)
    resource, registry = resource_of(call), registry_of(context, call)
    check_type(call.content_type, resource.type)
    change: Change | None = None

    def wanted(current: Stored) -> Any:
        nonlocal change
        change = change or parse(call)  # That there is nothing to patch is said before what is wrong with the patch.
        return patched(call, resource, msgspec.json.decode(current.json), change)

    return await replace(context, call, registry, resource, wanted, prepare=prepare, is_status=is_status)


@dataclass(frozen=True, slots=True)
class Change:
    """A patch, parsed."""

    value: Any
    faults: tuple[str, ...]
    """What strict validation has against its text: fields given twice, or unknown in a JSON patch."""


def parse(call: Call) -> Change:
    """Return the body as a patch; raises UnsupportedMediaType or BadRequest."""
    value = parse_patch(call.body, call.content_type)
    if writing.validation_of(call) == "Ignore":
        return Change(value, ())
    return Change(value, tuple(faults_of(call.body, call.content_type)))


def _unfit(shown: str, why: str) -> Invalid:
    """Return the error for a patch that makes of an object what is none: the patch is at fault, not the request."""
    text = f"Invalid value: {validation.show(shown)}: {why}"
    return Invalid(f' "" is invalid: patch: {text}', causes=[Cause("FieldValueInvalid", text, "patch")])


def patched(call: Call, resource: Resource[Any], document: Any, change: Change) -> Any:
    """Return the object that `document` (plain JSON values) becomes by the patch, with defaults."""
    value = apply_patch(document, change.value, call.content_type, resource.type)
    if is_strategic(call.content_type):
        # It merges into the kind that it is sent to, whatever kind it says it is (Ansible calls a Scale a Deployment).
        value |= {"apiVersion": resource.api_version, "kind": resource.kind}
    asked = writing.validation_of(call)
    shown = printed(change.value) if is_strategic(call.content_type) else msgspec.json.encode(value).decode()
    try:
        decoded = serde.decode_value(value, resource, field_validation="Ignore" if asked == "Ignore" else "Warn")
    except Unreadable as error:
        if is_strategic(call.content_type) and error.mismatch is not None:
            raise _unfit(shown, words.mismatched(error.mismatch)) from None
        raise _unfit(shown, error.why) from None
    except BadRequest as error:
        raise _unfit(shown, error.message) from None
    faults = (*change.faults, *decoded.warnings)
    if faults and asked == "Strict":
        raise _unfit(shown, f"strict decoding error: {', '.join(faults)}")
    call.warnings.extend(fault for fault in faults if fault not in call.warnings)
    obj: Any = decoded.object
    if (value.get("metadata") or {}).get("managedFields") == []:
        obj.metadata.managed_fields = [ManagedFieldsEntry()]  # as good as the empty entry: forget them
    obj.api_version, obj.kind = resource.api_version, resource.kind
    writing.place(call, resource, obj)
    writing.check_name(call, obj)
    resource.default(obj)
    return obj
