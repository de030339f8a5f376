"""What a URL asks for, in RBAC's terms: verb, group, version, resource, subresource, namespace, name.

    /api/v1/namespaces/{ns}/pods/{name}/log      /apis/apps/v1/deployments      /healthz

Facts of the paths: Kubernetes API concepts, "Resource URIs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from api.errors import ApiError
from api.selectors import parse_fields
from apiserver.parameters import flag
from apiserver.request import RequestInfo

_VERBS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PROXIES: Final = {"api": (4, 6), "apis": (5, 7)}
"""Where the subresource `proxy` of an object stands among a path's parts, without and with a namespace."""
_NAMESPACE_SUBRESOURCES: Final = ("status", "finalize")


def request_info(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Return what a request to `path` (percent-decoded) asks for; a path outside the API asks for itself."""
    parts = _parts(path)
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return RequestInfo(verb=method.lower(), path=path)
    is_watch = _is_old_watch(parts)
    if is_watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces":
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            namespace, rest = rest[1], rest[2:]
        elif len(rest) > 1:
            namespace = rest[1]
    plural = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    # Behind /proxy, the path is somebody else's.
    subresource = "proxy" if rest[2:3] == ["proxy"] else "/".join(rest[2:])
    verb = "watch" if is_watch else _VERBS.get(method, "")
    field_selector = label_selector = ""
    if not name and not is_watch:
        if verb == "get":
            verb = "watch" if flag(query, "watch") else "list"
        elif verb == "delete":
            verb = "deletecollection"
    if not name and verb in ("list", "watch", "deletecollection"):
        field_selector, label_selector = query.get("fieldSelector", ""), query.get("labelSelector", "")
    return of_resource(
        verb,
        path=path,
        group=group,
        version=version,
        plural=plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
        field_selector=field_selector,
        label_selector=label_selector,
    )


def of_resource(
    verb: str,
    *,
    group: str,
    version: str,
    plural: str,
    namespace: str = "",
    name: str = "",
    subresource: str = "",
    field_selector: str = "",
    label_selector: str = "",
    path: str = "",
) -> RequestInfo:
    """Return what is asked of a resource by any door: to select one by its name is to ask for that one."""
    name = name or _selected_name(field_selector)
    return RequestInfo(verb, path, group, version, plural, subresource, namespace, name, field_selector, label_selector)


def is_old_watch(path: str) -> bool:
    """Whether a path asks for a watch in the old way, by itself: /api/v1/watch/pods, /apis/apps/v1/watch/deployments.

    Facts: the watch and watchlist operations of the published API, deprecated since 1.11 and served still.
    """
    return _is_old_watch(_parts(path))


def _is_old_watch(parts: Sequence[str]) -> bool:
    match parts:
        case ["api", _, "watch", _, *_] | ["apis", _, _, "watch", _, *_]:
            return True
    return False


def is_nothing_watched(path: str) -> bool:
    """Whether a path begins as one of `is_old_watch` does, or of the proxies of old, and ends there."""
    match _parts(path):
        case ["api", _, "watch" | "proxy"] | ["apis", _, _, "watch" | "proxy"]:
            return True
    return False


def _parts(path: str) -> list[str]:
    """Return the parts of a path of the API; none, where one is empty that may not be.

    A namespace may: clients that were told none write `/api/v1/namespaces//pods`, and mean all. What a proxy carries on
    is not for us to read, and slashes at the end say nothing.
    """
    parts = path.rstrip("/").split("/")[1:]
    behind = next(
        (place for place in _PROXIES.get(parts[0] if parts else "", ()) if parts[place : place + 1] == ["proxy"]), None
    )
    for place, part in enumerate(parts[:behind]):
        if not part and not (place > 1 and parts[place - 1] == "namespaces"):
            return []
    return parts


def old_watch_options(info: RequestInfo, options: Mapping[str, str]) -> dict[str, str]:
    """Return the options that ask in today's way for what a path of `is_old_watch` says."""
    found = {**options, "watch": "true"}
    if info.name and info.plural:
        found["fieldSelector"] = ",".join(
            part for part in (options.get("fieldSelector", ""), f"metadata.name={info.name}") if part
        )
    return found


def _selected_name(field_selector: str) -> str:
    """Return the one name that a list is restricted to, so that RBAC can allow just that."""
    if "metadata.name" not in field_selector:
        return ""
    try:
        return parse_fields(field_selector).exact("metadata.name") or ""
    except ApiError:
        return ""  # The verb says what is wrong with it.
