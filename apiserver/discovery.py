"""What clients ask first: which groups, versions and resources there are.

Three generations of the same answer, all made from the resource declarations: the legacy lists (`/api`, `/apis`,
`/apis/GROUP`, `/apis/GROUP/VERSION`), and the aggregated documents v2beta1 and v2 (KEP-3352) that one request to `/api`
and one to `/apis` bring. A client gets exactly the version it asked for, named in the reply's Content-Type.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from api.custom import is_custom
from api.discover import RESOURCES
from api.resource import Resource
from apiserver import table
from apiserver.aggregation import priorities

AggregatedVersion = Literal["v2", "v2beta1"]
Kinds = tuple[Resource[Any], ...]
"""What is served; by default just what is built in."""


def aggregated_media(version: AggregatedVersion, encoding: str = table.JSON) -> str:
    """Return the Content-Type of an aggregated document."""
    return f"{encoding};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """One version of a group that another server has (an APIService)."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: bytes
    """JSON, as an aggregated document lists them; what was last known."""
    is_fresh: bool
    """Whether the server could be asked lately."""


Remotes = tuple[RemoteVersion, ...]


@dataclass(frozen=True, slots=True)
class Subresource:
    """How a subresource is shown: what its answers are, and what can be done with it."""

    verbs: tuple[str, ...]
    group: str | None = None
    """None: the group, version and kind of the resource itself."""
    version: str = "v1"
    kind: str = ""


_CONNECT: Final = ("create", "get")
_PROXY: Final = ("create", "delete", "get", "patch", "update")

SUBRESOURCES: Final[dict[str, Subresource]] = {
    "approval": Subresource(("get", "patch", "update")),
    "attach": Subresource(_CONNECT, "", kind="PodAttachOptions"),
    "binding": Subresource(("create",), "", kind="Binding"),
    "ephemeralcontainers": Subresource(("get", "patch", "update")),
    "eviction": Subresource(("create",), "policy", kind="Eviction"),
    "exec": Subresource(_CONNECT, "", kind="PodExecOptions"),
    "finalize": Subresource(("update",)),
    "log": Subresource(("get",)),
    "portforward": Subresource(_CONNECT, "", kind="PodPortForwardOptions"),
    "resize": Subresource(("get", "patch", "update")),
    "scale": Subresource(("get", "patch", "update"), "autoscaling", kind="Scale"),
    "status": Subresource(("get", "patch", "update")),
    "token": Subresource(("create",), "authentication.k8s.io", kind="TokenRequest"),
}
"""Subresources that mean the same wherever they are; `proxy` says whose it is in its kind."""


def subresource_of(resource: Resource[Any], name: str) -> Subresource:
    """Return how `name` is shown beside `resource`."""
    if name == "proxy":
        return Subresource(_PROXY, "", kind=f"{resource.kind}ProxyOptions")
    shown = SUBRESOURCES[name]
    if shown.group is None:
        return Subresource(shown.verbs, resource.group, resource.version, resource.kind)
    return shown


def aggregated_version(accept: str) -> tuple[AggregatedVersion, str] | None:
    """Return which aggregated document an Accept header prefers and in which encoding, or None for the legacy lists."""
    for media, given in table.choices(accept):
        encoding = table.JSON if media in table.ANY_JSON else media
        if encoding not in table.SERVED:
            continue
        if given.keys().isdisjoint(("as", "g", "v")):
            return None
        if given.get("as") == "APIGroupDiscoveryList" and given.get("g") == "apidiscovery.k8s.io":
            if given.get("v") == "v2":
                return "v2", encoding
            if given.get("v") == "v2beta1":
                return "v2beta1", encoding
    return None


# --- legacy ---------------------------------------------------------------------------------------------------------


def core_versions(server_address: str) -> dict[str, Any]:
    """Return the document at `/api`; `server_address` is where clients find this server, `HOST:PORT`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


_remembered: Final = functools.lru_cache(maxsize=256)
"""The kinds that are served change as users define some: what was made of the former ones is forgotten by and by."""


@_remembered
def group_list(kinds: Kinds = RESOURCES, remotes: Remotes = ()) -> dict[str, Any]:
    """Return the document at `/apis`."""
    groups = [_group(name, kinds, remotes) for name in _groups(kinds, remotes) if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(name: str, kinds: Kinds = RESOURCES, remotes: Remotes = ()) -> dict[str, Any] | None:
    """Return the document at `/apis/NAME`, or None when there is no such group."""
    if not name or name not in _groups(kinds, remotes):
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, kinds, remotes)}


@_remembered
def resource_list(group_name: str, version: str, kinds: Kinds = RESOURCES) -> dict[str, Any] | None:
    """Return the document at `/api/v1` (the core group is empty) or `/apis/GROUP/VERSION`, or None."""
    found = [resource for resource in kinds if (resource.group, resource.version) == (group_name, version)]
    if not found:
        return None
    listed: dict[str, Any] = {"kind": "APIResourceList"}
    if group_name:
        listed["apiVersion"] = "v1"
    listed["groupVersion"] = f"{group_name}/{version}" if group_name else version
    listed["resources"] = [entry for resource in found for entry in _legacy_entries(resource)]
    return listed


@_remembered
def _groups(kinds: Kinds, remotes: Remotes) -> list[str]:
    by_group: dict[str, int] = {}
    for resource in kinds:
        by_group[resource.group] = priorities.of(resource.group, resource.version)[0]
    for remote in remotes:
        by_group[remote.group] = max(by_group.get(remote.group, 0), remote.group_priority)
    return sorted(by_group, key=lambda name: (-by_group[name], name))


def _versions(group_name: str, kinds: Kinds, remotes: Remotes) -> list[str]:
    found = {each.version: priorities.of(group_name, each.version)[1] for each in kinds if each.group == group_name}
    found |= {remote.version: remote.version_priority for remote in remotes if remote.group == group_name}
    return sorted(found, key=lambda version: (-found[version], version_rank(version)))


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Order versions by preference: v2 before v1 before v1beta2 before v1alpha1, and other names last, by alphabet."""
    found = _VERSION(version)
    if found is None:
        return (3, 0, 0, version)
    return ({None: 0, "beta": 1, "alpha": 2}[found[2]], -int(found[1]), -int(found[3] or 0), version)


_VERSION: Final = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?").fullmatch


def _group(name: str, kinds: Kinds, remotes: Remotes) -> dict[str, Any]:
    found = _versions(name, kinds, remotes)
    versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in found]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _legacy_entries(resource: Resource[Any]) -> Iterable[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if "watch" in resource.verbs:
        entry["storageVersionHash"] = _storage_version_hash(resource)
    yield entry
    for name in _subresources(resource):
        shown = subresource_of(resource, name)
        entry = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
        if (shown.group, shown.version) != (resource.group, resource.version):
            entry |= {"group": shown.group, "version": shown.version}
        yield entry | {"kind": shown.kind, "verbs": sorted(shown.verbs)}


_CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
"""Those of a custom kind, in the order in which upstream lists them."""


def _verbs(resource: Resource[Any]) -> list[str]:
    if is_custom(resource.type):
        return [verb for verb in _CUSTOM_VERBS if verb in resource.verbs]
    return sorted(resource.verbs)


def _subresources(resource: Resource[Any]) -> Sequence[str]:
    """Return them by name, those of a custom kind as they are declared: status before scale."""
    return resource.subresources if is_custom(resource.type) else sorted(resource.subresources)


def _storage_version_hash(resource: Resource[Any]) -> str:
    """Return what changes when objects are to be stored in another version; clients only compare it (KEP-1111)."""
    stored = resource.stored_as
    version = resource.type.shape.storage_version if is_custom(resource.type) else stored.version
    name = f"{stored.group}/{version}/{stored.kind}"
    return base64.b64encode(hashlib.sha256(name.encode()).digest()[:8]).decode()


# --- aggregated -----------------------------------------------------------------------------------------------------


@_remembered
def aggregated(
    *, core: bool, version: AggregatedVersion, kinds: Kinds = RESOURCES, remotes: Remotes = ()
) -> dict[str, Any]:
    """Return the aggregated document at `/api` (`core`) or `/apis`."""
    names = [name for name in _groups(kinds, remotes) if (not name) is core]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    _aggregated_version(name, served, kinds, remotes) for served in _versions(name, kinds, remotes)
                ],
            }
            for name in names
        ],
    }


def _aggregated_version(group_name: str, version: str, kinds: Kinds, remotes: Remotes) -> dict[str, Any]:
    for remote in remotes:
        if (remote.group, remote.version) == (group_name, version):
            freshness = "Current" if remote.is_fresh else "Stale"
            return {"version": version, "resources": msgspec.json.decode(remote.resources), "freshness": freshness}
    resources = [resource for resource in kinds if (resource.group, resource.version) == (group_name, version)]
    return {
        "version": version,
        "resources": [_aggregated_entry(resource) for resource in resources],
        "freshness": "Current",
    }


def _response_kind(group_name: str | None, version: str, kind: str) -> dict[str, str]:
    return {"group": group_name or "", "version": version, "kind": kind}


def _aggregated_entry(resource: Resource[Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _response_kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources: Sequence[dict[str, Any]] = [
        {
            "subresource": name,
            "responseKind": _response_kind(shown.group, shown.version, shown.kind),
            "verbs": sorted(shown.verbs),
        }
        for name in _subresources(resource)
        for shown in (subresource_of(resource, name),)
    ]
    if subresources:
        entry["subresources"] = subresources
    return entry


def entries_of_legacy(group_name: str, version: str, legacy: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what an aggregated document shows of a legacy list's resources."""
    entries: dict[str, dict[str, Any]] = {}
    for each in legacy:
        plural, _, subresource = str(each["name"]).partition("/")
        kind = _response_kind(each.get("group") or group_name, each.get("version") or version, each.get("kind", ""))
        shown: dict[str, Any] = {"responseKind": kind, "verbs": sorted(each.get("verbs") or ())}
        if subresource:
            if plural in entries:
                entries[plural].setdefault("subresources", []).append({"subresource": subresource, **shown})
            continue
        entries[plural] = {
            "resource": plural,
            "scope": "Namespaced" if each.get("namespaced") else "Cluster",
            "singularResource": each.get("singularName") or str(each.get("kind", "")).lower(),
            **shown,
            **{name: each[name] for name in ("shortNames", "categories") if each.get(name)},
        }
    return list(entries.values())
