"""list: the objects that match, at one revision.

Where it is read from (API concepts, "Resource versions" and "Retrieving large results sets in chunks"):

    resourceVersion   match            answered from
    unset                              the cache, once it has reached the store's present revision; the store itself
                                       where that can't be told (etcd before 3.4.31)
    "0"                                the cache as it is, all of it at once
    N                 NotOlderThan     the cache, once it has reached N
    N                 Exact            the store's history, at N
    with continue                      the store's history, at the first page's revision
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from api import go_syntax
from api.errors import BadRequest, Cause, Invalid, as_one
from api.resource import Resource
from apiserver.parameters import integer
from apiserver.registry.codec import Stored
from apiserver.registry.failures import continue_expired, list_too_old
from apiserver.registry.selection import Selection, select
from apiserver.registry.storage import Page
from apiserver.request import Call
from apiserver.verbs.context import Context, registry_of, resource_of
from apiserver.verbs.get import parse_resource_version
from store.client import Compacted


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """Objects in key order, all of them as they were at `revision`."""

    resource: Resource[Any]
    items: Sequence[Stored]
    revision: int
    continue_token: str = ""
    """Where the next page begins; empty on the last."""
    remaining: int | None = None
    """How many objects follow, where that is known."""


class _Token(msgspec.Struct, rename="camel"):
    v: str = ""
    rv: int = 0
    start: str = ""


_TOKEN_VERSION = "meta.k8s.io/v1"
_NO_REVISION = -1
"""In a token: go on at whatever revision is the present one."""


async def list_objects(context: Context, call: Call) -> ListAnswer:
    """Return what the call selects.

    Raises:
        BadRequest: a selector or version can't be understood.
        Expired: the revision asked for is compacted: begin again without `continue`.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    selection = selection_of(call, resource)
    limit = _limit(call)
    integer(call.options, "timeoutSeconds")  # Of no effect on a list, but a number all the same.
    token = call.options.get("continue", "")
    version_text = call.options.get("resourceVersion", "")
    match = call.options.get("resourceVersionMatch", "")
    check_options(call.options)
    if token:
        position = _decode_token(token)
        if version_text not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")
        revision, after = max(position.rv, 0), position.start
        try:
            return _page(resource, await registry.read_page(selection, revision=revision, after=after, limit=limit))
        except Compacted:
            raise continue_expired(_encode_token(_NO_REVISION, after)) from None
    version = parse_resource_version(version_text)
    if match == "Exact" or (limit and version and not match):
        # A version with a limit and nothing said of it means that very one, as it always did.
        assert version is not None
        try:
            return _page(resource, await registry.read_page(selection, revision=version, limit=limit))
        except Compacted:
            raise list_too_old() from None
    if version is None:
        if not await registry.cache.trusts_progress():
            return _page(resource, await registry.read_page(selection, limit=limit))
        await registry.cache.catch_up()
    else:
        await registry.cache.wait_until(version)
    items, revision = registry.cache.select(selection), registry.cache.revision
    if limit and len(items) > limit and version_text != "0":  # "0" is answered whole, whatever the limit, as upstream.
        remaining = None if selection.is_filtering else len(items) - limit
        return _page(resource, Page(items[:limit], revision, True, remaining))
    return ListAnswer(resource, items, revision)


def selection_of(call: Call, resource: Resource[Any]) -> Selection:
    """Return what part of the kind a list, watch or deletecollection asks for."""
    namespace = call.info.namespace if resource.namespaced else ""
    options = call.options
    return select(resource, namespace, options.get("labelSelector", ""), options.get("fieldSelector", ""))


def _page(resource: Resource[Any], page: Page) -> ListAnswer:
    token = _encode_token(page.revision, page.items[-1].key) if page.has_more else ""
    return ListAnswer(resource, page.items, page.revision, token, page.remaining if token else None)


def _encode_token(revision: int, start: str) -> str:
    position = msgspec.json.encode(_Token(_TOKEN_VERSION, revision, start))
    return base64.urlsafe_b64encode(position).rstrip(b"=").decode()


def _decode_token(token: str) -> _Token:
    try:
        found = _NO_BASE64.search(token)
        if found or len(token) % 4 == 1:
            raise _bad_token(f": illegal base64 data at input byte {found.start() if found else len(token) - 1}")
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode(errors="replace")
        position = msgspec.convert(json.loads(text), _Token)
    except json.JSONDecodeError as error:
        raise _bad_token(f": {go_syntax.of_json(error)}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise _bad_token(f": {error}") from None
    if position.v != _TOKEN_VERSION:
        raise _bad_token(f": server does not recognize this encoded version {position.v}")
    if not position.rv:
        raise _bad_token(f": incorrect encoded start resourceVersion (version {_TOKEN_VERSION})")
    if not position.start:
        raise _bad_token(f": encoded start key empty (version {_TOKEN_VERSION})")
    key = position.start if position.start.startswith("/") else f"/{position.start}"
    if posixpath.normpath(key) != key:
        raise _bad_token(f": {position.start}")
    return position


_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9_-]")


def _bad_token(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid{why}")


def _limit(call: Call) -> int:
    """Return how many objects a page has, 0 for no limit; as upstream, less than none is none, too."""
    return max(integer(call.options, "limit") or 0, 0)


def check_options(options: Mapping[str, str], *, is_watch: bool = False) -> None:
    """Refuse options of a list or watch that contradict each other, all at once.

    Facts: apimachinery's `ValidateListOptions`.
    """
    causes = list(_faults_of_watch(options) if is_watch else _faults_of_list(options))
    if causes:
        shown = as_one([f"{cause.field}: {cause.message}" for cause in causes])
        raise Invalid(
            f'ListOptions.meta.k8s.io "" is invalid: {shown}', causes=causes, group="meta.k8s.io", kind="ListOptions"
        )


def _faults_of_list(options: Mapping[str, str]) -> Iterator[Cause]:
    match, version = options.get("resourceVersionMatch", ""), options.get("resourceVersion", "")
    if match and not version:
        yield _forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match and options.get("continue"):
        yield _forbidden(_CONTINUED)
    if match and match not in ("Exact", "NotOlderThan"):
        yield _unsupported(match, '"Exact", "NotOlderThan", ""')
    if match == "Exact" and version == "0":
        yield _forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if "sendInitialEvents" in options:
        yield _forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents")


def _faults_of_watch(options: Mapping[str, str]) -> Iterator[Cause]:
    match, sends_initial = options.get("resourceVersionMatch", ""), "sendInitialEvents" in options
    if sends_initial and match != "NotOlderThan":
        yield _forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if match and not sends_initial:
        yield _forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if match and match != "NotOlderThan":
        yield _unsupported(match, '"NotOlderThan"')
    if match and options.get("continue"):
        yield _forbidden(_CONTINUED)


_CONTINUED: Final = "resourceVersionMatch is forbidden when continue is provided"


def _unsupported(match: str, supported: str) -> Cause:
    why = f"Unsupported value: {json.dumps(match)}: supported values: {supported}"
    return Cause("FieldValueNotSupported", why, "resourceVersionMatch")


def _forbidden(why: str, field: str = "resourceVersionMatch") -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)
