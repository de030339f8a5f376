"""What is said of paths that lead nowhere, where it depends on whose they would be.

Below the built-in API groups, and the few documents with a router of their own, upstream answers with a Status. Any
other path comes to the end of its chain of servers, which answers in Go's plain text: clients that ask whether a group
is served read no more than the code.
"""

from __future__ import annotations

from typing import Final

from api.custom import is_custom
from api.errors import ApiError, InternalError, NotFound, harmless
from api.go_types import quoted
from apiserver.registry.failures import no_such_resource, no_such_verb, not_found, not_supported
from apiserver.registry.kinds import Kinds
from apiserver.request import Call

_DOCUMENTS: Final = ("version", "openid")
"""First parts of paths below which a Status is the answer, beside `api` and `apis/GROUP`."""


class InPlainText(ApiError):
    """An error that is told over HTTP in plain text, not with a Status."""

    @property
    def text(self) -> str:
        """What is said."""
        return self.message


class NoSuchPage(InPlainText, NotFound):
    """The path is nobody's. What Go says of it means to its clients what they say themselves: the message."""

    text = "404 page not found"


class PlainFailure(InPlainText, InternalError):
    """A request is not understood, or nobody can tell whether it may be answered."""


def nothing_asked(target: str) -> PlainFailure:
    """Return the error for a request whose target, as it was sent, names no resource where one must be."""
    why = f"failed to create RequestInfo: unable to determine kind and namespace from url, {target}"
    return _failure(target, why)


def undecided(target: str, why: str) -> PlainFailure:
    """Return the error for a request about which somebody who would have had to be asked gave no answer."""
    return _failure(target, why)


def _failure(target: str, why: str) -> PlainFailure:
    return PlainFailure(harmless(f"Internal Server Error: {quoted(target)}: {why}"))


def no_such_path(kinds: Kinds, path: str) -> NotFound:
    """Return the error for a path where nothing is served."""
    match path.split("/")[1:]:
        case ["api", *_]:
            return no_such_kind(kinds, "")
        case ["apis", group, *_] if group:
            return no_such_kind(kinds, group)
        case [first, *_] if first in _DOCUMENTS:
            return no_such_resource()
    return _no_such_page()


def no_such_kind(kinds: Kinds, group: str) -> NotFound:
    """Return the error for what a group, which may not be there either, does not have."""
    is_built_in = any(kind.group == group for kind in kinds.built_in)
    return no_such_resource() if is_built_in else _no_such_page()


def _no_such_page() -> NoSuchPage:
    return NoSuchPage(no_such_resource().message)


def no_such_subresource(kinds: Kinds, call: Call) -> NotFound:
    """Return the error for a kind that does not have what is asked below its objects."""
    resource, info = call.resource, call.info
    if resource is not None and is_custom(resource.type):
        return not_found(resource, info.name)
    return no_such_kind(kinds, info.group)


def no_such_method(call: Call) -> ApiError:
    """Return the error for a verb that a kind does not have."""
    resource = call.resource
    if resource is not None and is_custom(resource.type):
        return not_supported(resource, call.info.verb)
    return no_such_verb()
