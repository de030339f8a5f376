"""A request as an audit Event (audit.k8s.io/v1), in JSON; pure.

Bodies are told only at the levels that say so. Of what cannot be told as JSON (a watch, a log) there is no body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from api import bodies, protobuf, timestamps
from api.errors import ApiError
from apiserver.audit.policy import NAMES, Level, Stage, Verdict
from apiserver.request import Answer, Call, RequestInfo, User
from apiserver.verbs.list import ListAnswer

_WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request."""

    code: int
    error: ApiError | None = None
    answer: Any = None


def uri_of(info: RequestInfo, options: Mapping[str, str]) -> str:
    """Return what was asked for as a path and query; calls of the component API are given the path they stand for."""
    path = info.path
    if not path and info.plural:
        root = f"/apis/{info.group}/{info.version}" if info.group else f"/api/{info.version}"
        namespace = f"namespaces/{info.namespace}" if info.namespace and info.plural != "namespaces" else ""
        path = "/".join(part for part in (root, namespace, info.plural, info.name, info.subresource) if part)
    return f"{path}?{urlencode(options)}" if options else path


def render(
    call: Call, verdict: Verdict, stage: Stage, user: User, received_at: float, now: float, outcome: Outcome | None
) -> bytes:
    """Return the event of one stage of a call, as one line of JSON.

    Args:
        call: what was asked; its `user` may be whom `user` acts as.
        verdict: what is told.
        stage: when.
        user: who asked, as authenticated.
        received_at: when the request came, in seconds since the epoch.
        now: when this stage was reached.
        outcome: what came of it, where that is known.
    """
    info = call.info
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": NAMES[verdict.level],
        "auditID": call.audit_id,
        "stage": stage.value,
        "requestURI": uri_of(info, call.options),
        "verb": info.verb,
        "user": _user(user),
    }
    if call.user is not user:
        event["impersonatedUser"] = _user(call.user)
    if call.remote:
        event["sourceIPs"] = [call.remote]
    if call.user_agent:
        event["userAgent"] = call.user_agent
    if info.plural:
        event["objectRef"] = _reference(info, outcome)
    if outcome is not None:
        event["responseStatus"] = _status(outcome)
    is_told = stage is not Stage.REQUEST_RECEIVED and info.plural and info.verb in _WRITES
    if verdict.level >= Level.REQUEST and is_told and call.body:
        body = request_object(call)
        if body is not None:
            event["requestObject"] = _without_managed_fields(body) if verdict.omit_managed_fields else body
    if verdict.level >= Level.REQUEST_RESPONSE and stage is Stage.RESPONSE_COMPLETE and outcome is not None:
        shown = response_object(outcome)
        if shown is not None:
            event["responseObject"] = _without_managed_fields(shown) if verdict.omit_managed_fields else shown
    event["requestReceivedTimestamp"] = timestamps.render_micro(received_at)
    event["stageTimestamp"] = timestamps.render_micro(now)
    if call.annotations:
        event["annotations"] = call.annotations
    return msgspec.json.encode(event)


def request_object(call: Call) -> Any:
    """Return what was sent, as JSON values or text that is JSON; None where it cannot be read."""
    try:
        if protobuf.is_protobuf(call.content_type):
            return protobuf.to_value(call.body, call.resource.type) if call.resource is not None else None
        if bodies.is_yaml(call.content_type):
            return bodies.parse(call.body, call.content_type)[0]
        return msgspec.json.decode(call.body)
    except (ApiError, msgspec.MsgspecError, RecursionError):
        return None


def response_object(outcome: Outcome) -> Any:
    """Return what was answered."""
    answer = outcome.answer
    if outcome.error is not None:
        return outcome.error.status()
    if isinstance(answer, Answer):
        return msgspec.Raw(answer.json)
    if isinstance(answer, ListAnswer):
        resource = answer.resource
        metadata = {"resourceVersion": str(answer.revision)}
        items = [msgspec.Raw(stored.json) for stored in answer.items]
        return {
            "kind": resource.lists, "apiVersion": resource.api_version, "metadata": metadata, "items": items
        }  # fmt: skip
    return None


def _user(user: User) -> dict[str, Any]:
    shown: dict[str, Any] = {"username": user.name}
    if user.uid:
        shown["uid"] = user.uid
    if user.groups:
        shown["groups"] = user.groups
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


class _Named(msgspec.Struct, rename="camel"):
    name: str = ""
    uid: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)


def _reference(info: RequestInfo, outcome: Outcome | None) -> dict[str, str]:
    named = _Named(name=info.name)
    answer = outcome.answer if outcome is not None else None
    if isinstance(answer, Answer) and info.verb == "create" and not info.subresource:
        try:
            named = msgspec.json.decode(answer.json, type=_Object).metadata
        except msgspec.MsgspecError:
            named = _Named(name=info.name)
    found = {
        "resource": info.plural,
        "namespace": info.namespace,
        "name": named.name,
        "uid": named.uid,
        "apiGroup": info.group,
        "apiVersion": info.version,
        "resourceVersion": named.resource_version,
        "subresource": info.subresource,
    }
    return {key: value for key, value in found.items() if value}


def _status(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is None:
        return {"metadata": {}, "code": outcome.code}
    status = outcome.error.status()
    return {key: status[key] for key in ("metadata", "status", "message", "reason", "details", "code") if key in status}


def _without_managed_fields(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    if not isinstance(value, dict):
        return value
    items = value.get("items")
    if isinstance(items, list):
        return {**value, "items": [_without_managed_fields(item) for item in items]}
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        kept = {key: item for key, item in metadata.items() if key != "managedFields"}
        return {**value, "metadata": kept}
    return value
