"""delete: an object marked or gone, as its finalizers and grace period have it."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import ACCEPTED, OK
from typing import Any, Final

import msgspec

from api import bodies, protobuf
from api.errors import BadRequest
from api.meta import DeleteOptions, Preconditions
from api.resource import Resource
from apiserver.parameters import flag, integer
from apiserver.registry import failures
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import ANSWERS_WITH_OBJECT, Write, check_options, decide_delete, names_policy
from apiserver.registry.storage import Registry
from apiserver.request import Answer, Call
from apiserver.verbs import writing
from apiserver.verbs.context import Context, namespace_of, registry_of, resource_of

_JOBS_LEAVE_PODS: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)


async def delete(context: Context, call: Call) -> Answer:
    """Delete the object that the call names.

    Raises:
        NotFound: there is none. Conflict: a precondition does not hold.
    """
    resource = resource_of(call)
    options = decode_options(call)
    warn_of_orphans(call, resource, options)
    stored, is_gone = await delete_one(context, call, registry_of(context, call), options, call.info.name)
    if is_gone and resource.group_resource not in ANSWERS_WITH_OBJECT:
        return Answer(_success(resource, stored))
    # Upstream tells that the end is yet to come to those only who ask in this oldest of ways, lest others break.
    code = ACCEPTED if not is_gone and options.orphan_dependents is False else OK
    return Answer(stored.json, str(stored.revision), code=code)


async def delete_one(
    context: Context, call: Call, registry: Registry, options: DeleteOptions, name: str, namespace: str | None = None
) -> tuple[Stored, bool]:
    """Delete one object; returns it as it was left, and whether it is gone."""
    resource = registry.resource
    where = namespace_of(call) if namespace is None else namespace
    request: Any = None

    async def decide(current: Stored) -> Write:
        nonlocal request
        obj = current.codec.decode(current.json)
        check_preconditions(resource, obj, options)
        request = writing.admission_request(call, resource, "DELETE", None, obj)
        request.namespace, request.options = where, msgspec.to_builtins(options)
        # Who is asked about objects of a collection sees which they are, but that none was named.
        request.name = call.info.name
        await context.admission.admit(request)
        await context.admission.validate(request)
        request.name = name
        return decide_delete(resource, current.codec.decode(current.json), options, context.clock.now())

    stored, is_gone = await registry.write(where, name, decide, dry_run=call.dry_run)
    if is_gone and not call.dry_run:
        settle = await writing.reserve(context, request)
        if settle is not None:
            await settle(True)
    return stored, is_gone


def decode_options(call: Call) -> DeleteOptions:
    """Return the options in the body or, without one, in the query; dryRun moves to the call.

    What the query says counts for nothing beside a body: a body that does not say dryRun deletes.

    Raises:
        BadRequest: they can't be understood. Invalid: they contradict each other.
    """
    if call.body.strip():
        if not bodies.is_known(call.content_type):
            raise bodies.unsupported(bodies.OBJECT_TYPES)
        value: Any
        if protobuf.is_protobuf(call.content_type):
            value = protobuf.to_value(call.body, DeleteOptions)
        else:
            value, _ = bodies.parse(call.body, call.content_type or "application/json")
        if isinstance(value, dict):
            value = {key: item for key, item in value.items() if item is not None}
            _check_kind(value)
        try:
            options = DeleteOptions() if value is None else msgspec.convert(value, DeleteOptions)
        except msgspec.ValidationError as error:
            raise BadRequest(f"the body is not a DeleteOptions: {error}") from None
        call.options = {key: item for key, item in call.options.items() if key != "dryRun"}
    else:
        options = _from_query(call)
    if options.dry_run:
        asked = next((each for each in options.dry_run if each != "All"), "All")
        call.options = {**call.options, "dryRun": asked}
    writing.check_dry_run(call, "DeleteOptions")
    check_options(options)
    return options


def _from_query(call: Call) -> DeleteOptions:
    given, options = call.options, DeleteOptions()
    options.grace_period_seconds = integer(given, "gracePeriodSeconds")
    options.propagation_policy = given.get("propagationPolicy")
    if "orphanDependents" in given:
        options.orphan_dependents = flag(given, "orphanDependents")
    uid, version = given.get("uid") or None, given.get("resourceVersion") or None
    if uid or version:
        options.preconditions = Preconditions(uid=uid, resource_version=version)
    return options


def _check_kind(value: Mapping[str, Any]) -> None:
    """Refuse a body that says it is something else; of whose group and version it is, is all the same."""
    kind = value.get("kind", "")
    if kind not in ("", "DeleteOptions"):
        version = value.get("apiVersion") or "v1"
        raise BadRequest(f'no kind "{kind}" is registered for version "{version}" as options of a delete')


def warn_of_orphans(call: Call, resource: Resource[Any], options: DeleteOptions) -> None:
    """Tell who deletes Jobs without a policy that their pods stay, as they did in the group's first version."""
    if resource.group_resource == "jobs.batch" and not names_policy(options):
        call.warnings.append(_JOBS_LEAVE_PODS)


def check_preconditions(resource: Resource[Any], obj: Any, options: DeleteOptions) -> None:
    """Refuse to delete another object, or another state of it, than the one meant; raises Conflict."""
    wanted = options.preconditions
    if wanted is None:
        return
    for what, asked, actual, happened in (
        ("UID", wanted.uid, obj.metadata.uid, "been deleted and then recreated"),
        ("ResourceVersion", wanted.resource_version, obj.metadata.resource_version, "been modified"),
    ):
        if asked is not None and asked != actual:
            why = f"the {what} in the precondition ({asked}) does not match the {what} in record ({actual})"
            raise failures.other_than_meant(resource, obj.metadata.name, f"{why}. The object might have {happened}")


def _success(resource: Resource[Any], stored: Stored) -> bytes:
    details = {"name": stored.name, "group": resource.group, "kind": resource.plural}
    details["uid"] = stored.codec.decode(stored.json).metadata.uid
    shown = {key: value for key, value in details.items() if value}
    return msgspec.json.encode(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": shown}
    )
