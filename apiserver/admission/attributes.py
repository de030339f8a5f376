"""What is said of a request to those who judge it: in a webhook's review, and as `request` in CEL. Pure."""

from __future__ import annotations

from typing import Any, Final

from api.resource import Resource
from apiserver.admission.matching import namespace_of
from apiserver.request import AdmissionRequest, User

_OPTIONS: Final = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
Plain = dict[str, Any]


def described(request: AdmissionRequest, matched: Resource[Any], subject: Any) -> Plain:
    """Return what is said of a request beside its objects and options; `subject` is what is shown of the object."""
    resource = request.resource
    shown = request.object if request.object is not None else request.old
    group, _, version = shown.api_version.rpartition("/") if shown is not None else (resource.group, "", "")  # type: ignore[attr-defined]
    asked_kind = {"group": group, "version": version or resource.version, "kind": getattr(shown, "kind", resource.kind)}
    kind = asked_kind
    if matched is not resource and subject is not None and type(subject) is matched.type:
        kind = {"group": matched.group, "version": matched.version, "kind": matched.kind}
    made: Plain = {"kind": kind, "resource": _resource(matched)}
    if request.subresource:
        made["subResource"] = request.subresource
    made |= {"requestKind": asked_kind, "requestResource": _resource(resource)}
    if request.subresource:
        made["requestSubResource"] = request.subresource
    if request.name:
        made["name"] = request.name
    namespace = namespace_of(request)
    if namespace:
        made["namespace"] = namespace
    return made | {"operation": request.operation, "userInfo": _user(request.user)}


def options_of(request: AdmissionRequest) -> Plain | None:
    """Return the options of a write as upstream shows them: of a patch those of what it does; a connection has none."""
    if request.operation == "CONNECT":
        return None
    made: Plain = {"kind": _OPTIONS[request.operation], "apiVersion": "meta.k8s.io/v1"}
    if request.operation == "DELETE":
        return made | {key: value for key, value in request.options.items() if key not in ("kind", "apiVersion")}
    if request.dry_run:
        made["dryRun"] = ["All"]
    for name in ("fieldManager", "fieldValidation"):
        if request.options.get(name):
            made[name] = request.options[name]
    return made


def _resource(resource: Resource[Any]) -> Plain:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def _user(user: User) -> Plain:
    made: Plain = {"username": user.name}
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return made
