"""What is not an object: versions, discovery, OpenAPI, the keys of tokens, metrics."""

from __future__ import annotations

import email.utils
import functools
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from api import protobuf
from api.discover import RESOURCES
from api.errors import NotAcceptable
from apiserver import discovery, openapi, openapi_protobuf, openapi_v3_protobuf, table
from apiserver.aggregation import documents as aggregated_documents
from apiserver.aggregation.availability import Gathered
from apiserver.nowhere import no_such_path
from apiserver.registry.failures import no_such_verb
from apiserver.registry.kinds import Kinds
from apiserver.rest import answers, in_protobuf
from component import slis
from component.health import METRICS_TYPE, registered_metrics
from component.version import version_info

_JSON: Final = "application/json"
_EXTRA_TYPES: Final = {"/openid/v1/jwks": "application/jwk-set+json"}
_FAR_FUTURE_S: Final = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Document:
    """A body to send; `etag` lets clients ask whether they have it already."""

    body: bytes
    content_type: str = _JSON
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str = ""
    """Where it is to be had instead; there is no body then."""


class Documents:
    """Answers requests for paths outside the API groups' resources.

    Args:
        server_address: where clients find this server, `HOST:PORT`.
        extra: further documents by path, such as OpenID discovery; called at each request.
        kinds: what is served; just the built-in kinds without it.
        scrape: gives the server's own metrics.
        dump: gives a table of what waits, by its name and a query.
        gathered: what other servers serve, by APIService name.
    """

    def __init__(
        self,
        server_address: str,
        extra: Mapping[str, Callable[[], Any]] | None = None,
        kinds: Kinds | None = None,
        scrape: Callable[[], bytes] = bytes,
        dump: Callable[[str, Mapping[str, str]], str | None] = lambda name, query: None,
        gathered: Callable[[], Mapping[str, Gathered]] = dict,
    ) -> None:
        self._gathered = gathered
        self._scrape = scrape
        self._dump = dump
        self._server_address = server_address
        self._kinds = kinds or Kinds(RESOURCES)
        self._extra = extra or {}

    def find(self, method: str, path: str, query: Mapping[str, str], accept: str) -> Document:
        """Return the document at `path`.

        Raises:
            NotFound: there is none. MethodNotAllowed: it can only be had by GET, not even by HEAD.
        """
        document = self._find(path.rstrip("/") or "/", query, accept)
        if document is None or method == "CONNECT":  # What is asked for is a tunnel, and none is given.
            raise no_such_path(self._kinds, path)
        is_reset = method == "DELETE" and path == "/metrics"  # Upstream forgets them then. Ours are kept.
        if is_reset or (method != "GET" and self._is_routed(path)):
            raise no_such_verb()
        return document

    def _is_routed(self, path: str) -> bool:
        """Whether upstream routes a document by its method; the others are answered whatever the method is."""
        match [part for part in path.split("/") if part]:
            case ["api", *_] | ["version"]:
                return True
            case ["apis", group, _]:
                return any(kind.group == group for kind in self._kinds.built_in)
        return path in self._extra

    def _find(self, path: str, query: Mapping[str, str], accept: str) -> Document | None:
        match path.split("/")[1:]:
            case [""] | ["index.html"]:
                return _json({"paths": self._paths()})
            case ["version"]:
                return Document(msgspec.json.encode(version_info()))
            case ["metrics"]:
                return Document(registered_metrics() + self._scrape(), METRICS_TYPE)
            case ["metrics", "slis"]:
                return Document(slis.shown(), METRICS_TYPE)
            case ["debug", "api_priority_and_fairness", name]:
                dumped = self._dump(name, query)
                return Document(dumped.encode(), "text/plain; charset=utf-8") if dumped is not None else None
            case ["api"] | ["apis"]:
                return self._groups(path == "/api", accept)
            case ["api", version]:
                return _json(discovery.resource_list("", version, self._kinds.listed))
            case ["apis", group]:
                return _json(discovery.group(group, self._kinds.listed, self._remotes()))
            case ["apis", group, version]:
                return _json(discovery.resource_list(group, version, self._kinds.listed))
            case ["openapi", "v3"]:
                index = openapi.index(self._kinds)
                others = tuple(
                    (f"apis/{each.version.group}/{each.version.version}", _openapi_v3_url(each))
                    for each in self._gathered().values()
                    if each.openapi_v3 or each.converted
                )
                index = aggregated_documents.index(index.json, others) if others else index
                return Document(index.json, etag=index.hash)
            case ["openapi", "v3", *rest]:
                return self._openapi_v3("/".join(rest), query, accept)
            case ["openapi", "v2"]:
                return self._openapi_v2(accept)
        extra = self._extra.get(path)
        if extra is None:
            return None
        return Document(msgspec.json.encode(extra()), _EXTRA_TYPES.get(path, _JSON))

    def _openapi_v3(self, path: str, query: Mapping[str, str], accept: str) -> Document | None:
        """Return one group version's document: ours, or what was made of an aggregated server's older one."""
        document = openapi.documents(self._kinds).get(path)
        if document is not None:
            return _hashed(path, document.json, document.hash, query, accept)
        for each in self._gathered().values():
            if each.converted and path == f"apis/{each.version.group}/{each.version.version}":
                return _hashed(path, each.converted, hash_of(each.converted), query, accept)
        return None

    def _groups(self, is_core: bool, accept: str) -> Document:
        asked = discovery.aggregated_version(accept)
        if asked is not None:
            version, encoding = asked
            body, etag = _aggregated(is_core, version, self._kinds.listed, self._remotes())
            headers = {"Vary": "Accept", "Cache-Control": "public"}
            return Document(_encoded(body, encoding), discovery.aggregated_media(version, encoding), etag, headers)
        groups = discovery.group_list(self._kinds.listed, self._remotes())
        legacy = discovery.core_versions(self._server_address) if is_core else groups
        return Document(msgspec.json.encode(legacy), headers={"Vary": "Accept"})

    def _remotes(self) -> discovery.Remotes:
        return tuple(each.version for each in self._gathered().values())

    def _openapi_v2(self, accept: str) -> Document:
        others = tuple(
            (f"/apis/{each.version.group}/{each.version.version}", each.openapi_v2)
            for each in self._gathered().values()
            if each.openapi_v2
        )
        own = openapi.document_v2(self._kinds)
        if any(media_type in accept for media_type in openapi_protobuf.ACCEPTED):
            document = openapi.document_v2_protobuf(self._kinds)
            if others:
                document = aggregated_documents.document_v2_protobuf(own.json, others)
            return Document(document.json, openapi_protobuf.MEDIA_TYPE, document.hash, {"Vary": "Accept"})
        document = aggregated_documents.document_v2(own.json, others) if others else own
        return Document(document.json, etag=document.hash, headers={"Vary": "Accept"})

    def _paths(self) -> list[str]:
        groups = [group["name"] for group in discovery.group_list(self._kinds.listed, self._remotes())["groups"]]
        fixed = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/metrics/slis"]
        fixed += ["/openapi/v2", "/openapi/v3", "/readyz", "/version", *self._extra]
        return sorted([*fixed, *(f"/apis/{group}" for group in groups)])


def _json(value: Any) -> Document | None:
    return None if value is None else Document(msgspec.json.encode(value))


def _hashed(path: str, json: bytes, hash: str, query: Mapping[str, str], accept: str) -> Document:
    """Return a document of OpenAPI v3; whoever asks for another content than it has is sent to where this one is.

    In either form it is known by the hash of its JSON. Raises NotAcceptable.
    """
    headers = {"Vary": "Accept"}
    content_type = _v3_type(accept)
    asked = query.get("hash", "")
    if asked and asked != hash:
        return Document(b"", etag=hash, headers=headers, location=f"/openapi/v3/{path}?hash={hash}")
    if asked:
        # The hash names the content: what is cached under it never goes stale.
        headers |= {"Cache-Control": "public, immutable", "Expires": _far_future()}
    try:
        body = json if content_type == _JSON else openapi.in_protobuf(json)
    except ValueError as error:  # of an aggregated server, in JSON only
        raise NotAcceptable(f"only the following media types are accepted: {_JSON}") from error
    return Document(body, content_type, hash, headers)


def _v3_type(accept: str) -> str:
    """Return the type that an Accept header prefers of those that documents of OpenAPI v3 are had in."""
    choices = [_choice(text) for text in accept.split(",")] if accept.strip() else [(1.0, "*/*")]
    for _, media in sorted(choices, key=lambda choice: -choice[0]):
        if media in ("*/*", "application/*", _JSON, "*/json"):
            return _JSON
        if media in (openapi_v3_protobuf.MEDIA_TYPE, openapi_v3_protobuf.OLD_MEDIA_TYPE):
            return openapi_v3_protobuf.MEDIA_TYPE
    raise NotAcceptable(f"only the following media types are accepted: {_JSON}, {openapi_v3_protobuf.MEDIA_TYPE}")


def _choice(text: str) -> tuple[float, str]:
    """Split one choice of an Accept header into how much it is wished for and the type."""
    media, *parameters = (part.strip() for part in text.split(";"))
    weight = next((value for name, _, value in (one.partition("=") for one in parameters) if name == "q"), "1")
    try:
        return float(weight), media
    except ValueError:
        return 1.0, media


def _openapi_v3_url(gathered: Gathered) -> str:
    if gathered.openapi_v3:
        return gathered.openapi_v3
    of = gathered.version
    return f"/openapi/v3/apis/{of.group}/{of.version}?hash={hash_of(gathered.converted)}"


@functools.lru_cache(maxsize=32)
def hash_of(document: bytes) -> str:
    """Return what a document's content is known by."""
    return hashlib.sha512(document).hexdigest().upper()


def _far_future() -> str:
    return email.utils.formatdate(time.time() + _FAR_FUTURE_S, usegmt=True)


@functools.lru_cache(maxsize=8)
def _encoded(json: bytes, encoding: str) -> bytes:
    match encoding:
        case protobuf.MEDIA:
            return in_protobuf.document_body(json) or b""
        case table.YAML:
            return answers.as_yaml(json)
    return json


@functools.lru_cache(maxsize=16)
def _aggregated(
    is_core: bool, version: discovery.AggregatedVersion, kinds: discovery.Kinds, remotes: discovery.Remotes
) -> tuple[bytes, str]:
    body = msgspec.json.encode(discovery.aggregated(core=is_core, version=version, kinds=kinds, remotes=remotes))
    return body, hashlib.sha512(body).hexdigest().upper()
