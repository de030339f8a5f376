"""Server-side apply: an object as its applier wants it, laid over what is there (KEP-555).

`registry.apply` says what becomes of the object and of its owners; this is the verb around it: reading the
configuration, writing the result as an update is written, and creating the object where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from api import bodies, serde, timestamps
from api.errors import AlreadyExists, BadRequest, NotFound
from api.meta import ManagedFieldsEntry
from api.patch.dispatch import APPLY_PATCH
from api.reader import json_type
from api.resource import Resource
from api.type_meta import FIELDS
from apiserver.parameters import flag
from apiserver.registry import apply as ownership
from apiserver.registry.codec import Stored
from apiserver.registry.failures import invalid_options
from apiserver.request import Answer, Call
from apiserver.verbs import writing
from apiserver.verbs.context import Context, registry_of, resource_of
from apiserver.verbs.create import create_instead
from apiserver.verbs.update import replace

_ATTEMPTS: Final = 5


async def apply(
    context: Context, call: Call, *, prepare: writing.Prepare | None = None, is_status: bool = False
) -> Answer:
    """Apply the configuration in the body.

    Raises:
        Conflict: others own what it would change, and `force` is not set; or it names a version that is gone.
        BadRequest: it can't be understood. Invalid, Forbidden: as validation and admission say of the result.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    config = parse(call, resource)

    def wanted(current: Stored) -> Any:
        return applied(context, call, resource, config, msgspec.json.decode(current.json), current)

    for _ in range(_ATTEMPTS):
        try:
            return await replace(
                context, call, registry, resource, wanted, prepare=prepare, is_status=is_status, is_apply=True
            )
        except NotFound as error:
            if call.info.subresource or error.name != call.info.name or error.kind != resource.plural:
                raise
        try:
            return await create_instead(
                context, call, applied(context, call, resource, config, {}, None), is_apply=True
            )
        except AlreadyExists:
            continue  # Someone else was faster: there is an object to apply to now.
    raise writing.too_contended(resource, call.info.name)


def parse(call: Call, resource: Resource[Any]) -> dict[str, Any]:
    """Return the configuration in the body, as it was said; raises BadRequest, Invalid."""
    if not call.options.get("fieldManager"):
        raise invalid_options(
            "PatchOptions", "fieldManager", "FieldValueRequired", "Required value: is required for apply patch"
        )
    try:
        value, duplicates = bodies.parse(call.body, APPLY_PATCH)
    except bodies.Malformed as error:
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: {error.message}") from None
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise BadRequest(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{json_type(value)} into Go value of type map[string]interface {{}}"
        )
    if duplicates:
        validation = writing.validation_of(call)
        told = "\n  ".join(["error converting YAML to JSON: yaml: unmarshal errors:", *map(str, duplicates)])
        if validation == "Strict":
            raise BadRequest(f"error strict decoding YAML: {told}")
        if validation == "Warn":
            call.warnings.append(told)
    api_version, kind = (str(value.get(field) or "") for field in FIELDS)
    if api_version != resource.api_version:
        raise BadRequest(
            "Incorrect version specified in apply patch."
            f" Specified patch version: {api_version}, expected: {resource.api_version}"
        )
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    if kind != resource.kind:
        nothing = f"no corresponding type for {resource.group}/{resource.version}, Kind={kind}"
        raise ownership.untyped(metadata, api_version, kind, nothing)
    config, unknown = serde.normalise(value, resource)
    if unknown:
        problems = [f".{path}: field not declared in schema" for path in unknown]
        shown = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
        raise ownership.untyped(metadata, api_version, kind, shown)
    said: dict[str, Any] = _as_said(value, config)
    return said


def _as_said(said: Any, config: Any) -> Any:
    """Return what was said, without what normal form leaves out.

    Nulls that it leaves out too are put back: who says that a field be nothing, owns it. So are other spellings of a
    quantity or time: `1000m` is in conflict with a `1` that another manager owns, as upstream has it.
    """
    if isinstance(said, dict) and isinstance(config, dict):
        made = {key: _as_said(said.get(key), item) for key, item in config.items()}
        return {**made, **{key: None for key, value in said.items() if value is None}}
    if isinstance(said, list) and isinstance(config, list) and len(said) == len(config):
        return [_as_said(one, other) for one, other in zip(said, config, strict=True)]
    is_text = isinstance(config, str) and said is not None
    return said if is_text and not isinstance(said, (dict, list)) else config


def applied(
    context: Context,
    call: Call,
    resource: Resource[Any],
    config: dict[str, Any],
    live: dict[str, Any],
    current: Stored | None,
) -> Any:
    """Return the object that `live` becomes, with its managed fields and defaults."""
    before = current.codec.decode(current.json) if current is not None else None
    entries = before.metadata.managed_fields if before is not None else []
    if live:
        live = {**live, "metadata": {key: item for key, item in live["metadata"].items() if key != "managedFields"}}
    annotations = live.get("metadata", {}).get("annotations", {})
    has_status = writing.has_status(resource)
    result = ownership.apply(
        live,
        config,
        entries,
        resource.type,
        writing.writer_of(call, resource),
        timestamps.render(context.clock.now()),
        force=flag(call.options, "force"),
        has_status=has_status,
        last_applied=_last_applied(annotations.get(ownership.LAST_APPLIED), resource),
    )
    obj: Any = serde.decode_value(result.document, resource).object
    obj.api_version, obj.kind = resource.api_version, resource.kind
    writing.place(call, resource, obj)
    writing.check_name(call, obj)
    resource.default(obj)
    metadata = obj.metadata
    if call.options["fieldManager"] == "kubectl" and ownership.LAST_APPLIED in metadata.annotations:
        # So that a later client-side apply knows what was said here.
        said = ownership.rendered_last_applied(config)
        metadata.annotations = {**metadata.annotations, ownership.LAST_APPLIED: said}
    metadata.managed_fields = result.entries
    if before is not None and current is not None and _untimed(result.entries) == _untimed(entries):
        # What was said in other words than it is kept in has been written by nobody.
        metadata.managed_fields = entries
        if current.codec.encode(obj) != current.codec.encode(before):
            metadata.managed_fields = result.entries
    return obj


def _untimed(entries: Sequence[ManagedFieldsEntry]) -> list[ManagedFieldsEntry]:
    return [msgspec.structs.replace(entry, time="") for entry in entries]


def _last_applied(annotation: str | None, resource: Resource[Any]) -> dict[str, Any] | None:
    if not annotation:
        return None
    try:
        said = bodies.parse(annotation.encode())[0]
        config, _ = serde.normalise(said, resource)
    except (BadRequest, AttributeError):
        return None  # Someone else's annotation: nothing can be told from it.
    applied: dict[str, Any] = _as_said(said, config)
    return applied
