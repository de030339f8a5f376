"""scale: how many replicas, in one form for every kind that has them (`kubectl scale`).

Reading makes a Scale of the object; writing takes spec.replicas from a Scale and puts it into the object, through the
same admission and validation as an update of it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api import bodies, serde, validation
from api.autoscaling import scale
from api.autoscaling.scale import Scale, ScaleSpec, ScaleStatus
from api.custom import is_custom, set_value_at, value_at
from api.errors import Conflict, InternalError
from api.meta import LabelSelector, ObjectMeta
from api.patch.dispatch import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, is_strategic
from api.resource import Resource
from api.selectors import of_label_selector
from apiserver.registry import failures
from apiserver.registry.codec import Stored
from apiserver.request import Answer, Call
from apiserver.verbs import apply as apply_verb
from apiserver.verbs import patch as patch_verb
from apiserver.verbs import writing
from apiserver.verbs.context import Context, namespace_of, registry_of, resource_of
from apiserver.verbs.get import parse_resource_version
from apiserver.verbs.update import replace

_WHICH: Final = ("name", "uid", "resourceVersion")
"""What of a Scale's metadata says which object, and in which state, it is about."""


async def get_scale(context: Context, call: Call) -> Answer:
    """Return the object's Scale; raises InternalError where a custom kind's object does not say how many replicas."""
    oldest = parse_resource_version(call.options.get("resourceVersion", ""))
    stored = await registry_of(context, call).get(namespace_of(call), call.info.name, oldest=oldest)
    obj = stored.codec.decode(stored.json)
    if is_custom(type(obj)) and not isinstance(value_at(obj.content, obj.shape.scale.spec_replicas), int):
        declared = ".".join(("", *obj.shape.scale.spec_replicas))
        raise InternalError(f'Internal error occurred: the spec replicas field "{declared}" does not exist')
    return _answer(obj)


async def update_scale(context: Context, call: Call) -> Answer:
    """Set the replicas to the body's."""
    writing.check_dry_run(call)

    def wanted_scale(current: Any) -> Scale:
        new: Scale = writing.decode_body(call, scale.RESOURCE)
        return new

    return await _write(context, call, wanted_scale)


async def patch_scale(context: Context, call: Call) -> Answer:
    """Patch the object's Scale, and set the replicas to the result's."""
    writing.check_dry_run(call)
    if bodies.media(call.content_type) == APPLY_PATCH:
        return await _apply(context, call)
    if is_strategic(call.content_type) and is_custom(resource_of(call).type):
        raise bodies.unsupported((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
    change = patch_verb.parse(call)

    def wanted_scale(current: Any) -> Scale:
        document = serde.to_value(scale_of(current))
        new: Scale = patch_verb.patched(call, scale.RESOURCE, document, change)
        return new

    return await _write(context, call, wanted_scale)


async def _apply(context: Context, call: Call) -> Answer:
    """Apply a Scale: who does so owns the object's replicas, through this subresource, as others own other fields."""
    resource, registry = resource_of(call), registry_of(context, call)
    asked = apply_verb.parse(call, scale.RESOURCE)
    config: dict[str, Any] = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {key: asked["metadata"][key] for key in _WHICH if key in (asked.get("metadata") or {})},
    }
    replicas = (asked.get("spec") or {}).get("replicas")
    if replicas is not None:
        custom = is_custom(resource.type)
        set_value_at(config, resource.type.shape.scale.spec_replicas if custom else ("spec", "replicas"), replicas)

    def wanted(current: Stored) -> Any:
        live = msgspec.json.decode(current.json)
        return apply_verb.applied(context, call, resource, config, live, current)

    answer = await replace(context, call, registry, resource, wanted, is_apply=True, facade=_ScaleFacade())
    return _answer(registry.codec.decode(answer.json))


def scale_of(obj: Any) -> Scale:
    """Return the Scale that shows `obj`: a Deployment, a ReplicaSet, a custom object whose definition says where."""
    metadata = obj.metadata
    return Scale(
        metadata=ObjectMeta(
            name=metadata.name,
            namespace=metadata.namespace,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            creation_timestamp=metadata.creation_timestamp,
        ),
        spec=ScaleSpec(replicas=_replicas(obj)),
        status=_status(obj),
    )


def _replicas(obj: Any) -> int:
    if not is_custom(type(obj)):
        return obj.spec.replicas or 0
    return _number(value_at(obj.content, obj.shape.scale.spec_replicas))


def _status(obj: Any) -> ScaleStatus:
    if not is_custom(type(obj)):
        selector = obj.spec.selector
        if isinstance(selector, dict):  # A ReplicationController's, from before there were LabelSelectors.
            selector = LabelSelector(match_labels=selector)
        return ScaleStatus(replicas=obj.status.replicas, selector=str(of_label_selector(selector)))
    paths = obj.shape.scale
    selector = value_at(obj.content, paths.selector) if paths.selector is not None else None
    return ScaleStatus(
        replicas=_number(value_at(obj.content, paths.status_replicas)),
        selector=selector if isinstance(selector, str) else "",
    )


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _set_replicas(obj: Any, replicas: int) -> None:
    if is_custom(type(obj)):
        set_value_at(obj.content, obj.shape.scale.spec_replicas, replicas)
    else:
        obj.spec.replicas = replicas


async def _write(context: Context, call: Call, wanted_scale: Any) -> Answer:
    resource, registry = resource_of(call), registry_of(context, call)

    def wanted(current: Stored) -> Any:
        obj = current.codec.decode(current.json)
        asked: Scale = wanted_scale(obj)
        writing.check_name(call, asked)
        _check(resource, asked, obj)
        _set_replicas(obj, asked.spec.replicas)
        return obj

    answer = await replace(context, call, registry, resource, wanted, facade=_ScaleFacade())
    return _answer(registry.codec.decode(answer.json))


class _ScaleFacade:
    """Shows admission the Scale."""

    def show(self, obj: Any) -> Scale:
        """Return the object's Scale."""
        return scale_of(obj)

    def put(self, obj: Any, shown: Scale) -> None:
        """Take the replicas over, which are all that a Scale can change."""
        _set_replicas(obj, shown.spec.replicas)


def _check(resource: Resource[Any], asked: Scale, obj: Any) -> None:
    uid, version = asked.metadata.uid, asked.metadata.resource_version
    if (uid and uid != obj.metadata.uid) or (version and version != obj.metadata.resource_version):
        error: Conflict = failures.conflict(resource, obj.metadata.name, failures.MODIFIED)
        raise error
    # Of a custom object its own validation says how many it may have.
    errors = list(validation.check_not_negative("spec.replicas", asked.spec.replicas))
    if errors and not is_custom(resource.type):
        raise validation.refuse(scale.RESOURCE, asked, errors)


def _answer(obj: Any) -> Answer:
    return Answer(msgspec.json.encode(scale_of(obj)), obj.metadata.resource_version)
