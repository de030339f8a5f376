"""One entrance to the three kinds of patch, chosen by media type."""

from __future__ import annotations

from types import NoneType
from typing import Any, Final

from api import bodies
from api.custom import is_custom
from api.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge
from api.patch import json_patch, merge_patch, strategic
from api.patch.failure import PatchFailure
from api.reader import json_type
from api.schema import Struct

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
CONTENT_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)
_DECODING: Final = dict.fromkeys((JSON_PATCH, MERGE_PATCH), "error decoding patch: ")
"""What is said before the reason why a patch cannot be read."""


def is_strategic(content_type: str) -> bool:
    """Return whether a patch of that media type is a strategic merge patch."""
    return bodies.media(content_type) == STRATEGIC_MERGE_PATCH


def check_type(content_type: str, struct: type[Struct]) -> None:
    """Refuse a media type that is no patch's, or none that objects of type `struct` take.

    Raises:
        UnsupportedMediaType: it is one; the message lists those that are taken.
    """
    accepted = (JSON_PATCH, MERGE_PATCH) if is_custom(struct) else CONTENT_TYPES
    if bodies.media(content_type) not in accepted:
        raise bodies.unsupported((*accepted, APPLY_PATCH))


def parse_patch(body: bytes, content_type: str) -> Any:
    """Return the patch as plain values; raises UnsupportedMediaType or BadRequest. Parse once, apply on every retry."""
    media = bodies.media(content_type)
    if media not in CONTENT_TYPES:
        raise bodies.unsupported((*CONTENT_TYPES, APPLY_PATCH))
    try:
        patch, _ = bodies.parse(body)
    except bodies.Malformed as error:
        raise BadRequest(f"{_DECODING.get(media, '')}{error.message}") from None
    if patch is None and media != MERGE_PATCH:  # What a null says to a decoder of lists or maps: nothing.
        patch = [] if media == JSON_PATCH else {}
    if media == JSON_PATCH:
        if not isinstance(patch, list):
            raise _cannot_unmarshal(media, patch, "value of type []handlers.jsonPatchOp")
        other = next((each for each in patch if not isinstance(each, (dict, NoneType))), None)
        if other is not None:
            raise _cannot_unmarshal(media, other, "value of type handlers.jsonPatchOp")
        if len(patch) > json_patch.OPERATIONS_MAX:
            raise _too_many(len(patch))
    elif not isinstance(patch, dict):
        raise _cannot_unmarshal(media, patch, "value of type map[string]interface {}")
    return patch


def apply_patch(document: Any, patch: Any, content_type: str, struct: type[Struct]) -> Any:
    """Return `document` patched; raises Invalid when the patch does not fit it, BadRequest when it is no patch.

    `struct` is the document's type: a strategic merge patch follows its declarations.
    """
    media = bodies.media(content_type)
    check_type(content_type, struct)
    try:
        if media == JSON_PATCH:
            return json_patch.apply(document, patch)
        if media == MERGE_PATCH:
            return merge_patch.apply(document, patch)
        return strategic.apply(document, patch, struct)
    except PatchFailure as failure:
        raise _refusal(failure) from None
    except RecursionError:
        raise BadRequest("the patch nests too deeply") from None


def faults_of(body: bytes, content_type: str) -> list[str]:
    """Return what strict field validation has against a patch's text: fields given twice, or that say nothing in it."""
    patch, duplicates = bodies.parse(body)
    if bodies.media(content_type) != JSON_PATCH:
        return [f'duplicate field "{duplicate.path}"' for duplicate in duplicates]
    found: list[str] = []
    for i, operation in enumerate(patch or ()):
        known = operation if isinstance(operation, dict) else {}
        found += [f'unknown field "[{i}].{name}"' for name in known if name not in json_patch.FIELDS]
        mine = (duplicate.path for duplicate in duplicates if duplicate.path.startswith(f"[{i}]."))
        found += [f'duplicate field "{path}"' for path in mine]
    return [f"json patch {fault}" for fault in found]


def _cannot_unmarshal(media: str, value: Any, into: str) -> BadRequest:
    return BadRequest(f"{_DECODING.get(media, '')}json: cannot unmarshal {json_type(value)} into Go {into}")


def _refusal(failure: PatchFailure) -> ApiError:
    if failure.is_malformed:
        return BadRequest(str(failure))
    return Invalid(f"the server rejected our request due to an error in our request: {failure}")


def _too_many(count: int) -> ApiError:
    return RequestEntityTooLarge(
        "Request entity too large: The allowed maximum operations in a JSON patch is "
        f"{json_patch.OPERATIONS_MAX}, got {count}"
    )
