"""OpenAPI paths of what is no resource: discovery, the server's version, and the keys of its tokens' issuer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from apiserver.openapi_paths import api_name, prefix, title
from apiserver.openapi_schemas import META, Definitions, Schema, group_version_kind

_MEDIA: Final = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_TEXT: Final[Schema] = {"type": "string"}
_BUILD: Final = {
    "major": "The major version of the API that is served.",
    "minor": "The minor version of it.",
    "gitVersion": "The whole version, such as v1.32.0.",
    "gitCommit": "The commit that the server was built of.",
    "gitTreeState": "Whether what it was built of was that commit and nothing else.",
    "buildDate": "When it was built.",
    "goVersion": "The version of the language it is written in.",
    "compiler": "What it was compiled with.",
    "platform": "The system and processor it runs on, such as linux/amd64.",
}


def root_paths(groups: Iterable[str], definitions: Definitions) -> dict[str, dict[str, Any]]:
    """Return what is served at the root and for whole groups, by the v3 document that tells of it."""
    types = _Types(definitions)
    found = {
        "api": {"/api/": _item("core", "getCoreAPIVersions", types.versions())},
        "apis": {"/apis/": _item("apis", "getAPIVersions", types.groups())},
        "version": {"/version/": _item("version", "getCodeVersion", types.build(), _MEDIA[:1])},
        ".well-known/openid-configuration": {
            "/.well-known/openid-configuration/": _item(
                "WellKnown", "getServiceAccountIssuerOpenIDConfiguration", _TEXT, _MEDIA[:1]
            )
        },
        "openid/v1/jwks": {
            "/openid/v1/jwks/": _item(
                "openid", "getServiceAccountIssuerOpenIDKeyset", _TEXT, ("application/jwk-set+json",)
            )
        },
    }
    for group in groups:
        if group:
            name = api_name(group)
            found[f"apis/{group}"] = {f"/apis/{group}/": _item(name, f"get{title(name)}APIGroup", types.group())}
    return found


def version_paths(group: str, version: str, definitions: Definitions) -> dict[str, Any]:
    """Return what tells which resources a group version has."""
    name = api_name(group)
    id = f"get{title(name)}{title(version)}APIResources"
    return {f"/{prefix(group, version)}/": _item(f"{name}_{version}", id, _Types(definitions).resources())}


def _item(tag: str, id: str, answer: Schema, media: Iterable[str] = _MEDIA) -> dict[str, Any]:
    operation: Schema = {
        "tags": [tag],
        "operationId": id,
        "parameters": [],
        "responses": {
            "200": {"description": "OK", "content": {each: {"schema": answer} for each in media}},
            "401": {"description": "Unauthorized"},
        },
    }
    return {"get": operation}


class _Types:
    """The schemas of discovery, made where they are asked for."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def versions(self) -> Schema:
        return self._kind(
            "APIVersions",
            "The versions of the core group.",
            ("versions", "serverAddressByClientCIDRs"),
            versions=_atomic({"type": "string"}, "Their names, such as v1."),
            serverAddressByClientCIDRs=self._addresses(),
        )

    def groups(self) -> Schema:
        items = self._definitions.item(self.group())
        return self._kind(
            "APIGroupList", "All groups but the core one.", ("groups",), groups=_atomic(items, "The groups.")
        )

    def group(self) -> Schema:
        version = self._definitions.named(
            f"{META}.GroupVersionForDiscovery",
            lambda: _object(
                "A version of a group.",
                ("groupVersion", "version"),
                groupVersion=_string("Both, such as apps/v1."),
                version=_string("The version alone."),
            ),
        )
        return self._kind(
            "APIGroup",
            "A group of the API and its versions.",
            ("name", "versions"),
            name=_string("The group's name."),
            preferredVersion=self._definitions.item(version) | {"description": "The version to use."},
            serverAddressByClientCIDRs=self._addresses(),
            versions=_atomic(self._definitions.item(version), "All versions that are served."),
        )

    def resources(self) -> Schema:
        resource = self._definitions.named(
            f"{META}.APIResource",
            lambda: _object(
                "A resource, or a subresource of one.",
                ("name", "singularName", "namespaced", "kind", "verbs"),
                categories=_atomic(_TEXT, "Groups of resources it belongs to, such as all."),
                group=_string("The group of its kind, where that is another than the list's."),
                kind=_string("The kind of its objects."),
                name=_string("Its plural name, with the subresource's after a slash."),
                namespaced={"type": "boolean", "description": "Whether its objects are in namespaces."},
                shortNames=_atomic(_TEXT, "Shorter names for it."),
                singularName=_string("Its name for one."),
                storageVersionHash=_string("What changes when its objects are stored in another version."),
                verbs={"type": "array", "items": _TEXT, "description": "What can be done to it."},
                version=_string("The version of its kind, where that is another than the list's."),
            ),
        )
        return self._kind(
            "APIResourceList",
            "What a group version has.",
            ("groupVersion", "resources"),
            groupVersion=_string("Which group and version."),
            resources=_atomic(self._definitions.item(resource), "The resources."),
        )

    def build(self) -> Schema:
        return self._definitions.named(
            "io.k8s.apimachinery.pkg.version.Info",
            lambda: _object(
                "Which server this is.", tuple(_BUILD), **{name: _string(words) for name, words in _BUILD.items()}
            ),
        )

    def _addresses(self) -> Schema:
        address = self._definitions.named(
            f"{META}.ServerAddressByClientCIDR",
            lambda: _object(
                "At which address clients of a network reach the server.",
                ("clientCIDR", "serverAddress"),
                clientCIDR=_string("The clients' network."),
                serverAddress=_string("The address."),
            ),
        )
        return _atomic(self._definitions.item(address), "Addresses by clients' networks.")

    def _kind(self, kind: str, words: str, required: tuple[str, ...], /, **properties: Schema) -> Schema:
        def make() -> Schema:
            said = {
                "apiVersion": _string("The version of this kind."),
                "kind": _string("What this is."),
                **properties,
            }
            made = _object(words, required, **dict(sorted(said.items())))
            return made | {"x-kubernetes-group-version-kind": [group_version_kind("", "v1", kind)]}

        return self._definitions.named(f"{META}.{kind}", make)


def _object(words: str, required: tuple[str, ...], /, **properties: Schema) -> Schema:
    return {"type": "object", "description": words, "required": list(required), "properties": properties}


def _string(words: str) -> Schema:
    return {"type": "string", "description": words}


def _atomic(items: Schema, words: str) -> Schema:
    return {"type": "array", "items": items, "x-kubernetes-list-type": "atomic", "description": words}
