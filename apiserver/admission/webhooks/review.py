"""AdmissionReview: the question to a webhook, and what its answer means. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import msgspec

from api import serde
from api.errors import ApiError
from api.resource import Resource
from apiserver.admission.attributes import described, options_of
from apiserver.request import AdmissionRequest

JSON_PATCH: Final = "JSONPatch"
Plain = dict[str, Any]


class BadAnswer(Exception):
    """A webhook's answer is none, and why."""


class Refused(ApiError):
    """A webhook said no; the Status is what it gave."""

    reason: ClassVar[str] = ""
    code: ClassVar[int] = 400

    def __init__(self, status: Plain) -> None:
        super().__init__(status["message"])
        self._status = status
        self.code = status["code"]  # type: ignore[misc]
        self.reason = status.get("reason") or ""  # type: ignore[misc]

    def status(self) -> Plain:
        """Return the Status."""
        return self._status


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook says."""

    is_allowed: bool
    patch: list[Any] = field(default_factory=list)
    """Operations of a JSON patch."""
    patch_type: str = ""
    status: Plain = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def question(version: str, uid: str, request: AdmissionRequest, matched: Resource[Any], obj: Any, old: Any) -> bytes:
    """Return the review to send.

    Args:
        version: of the review: v1 or v1beta1.
        uid: tells the answer from others.
        request: the write.
        matched: the version in which the webhook wants to see it.
        obj: the object in that version, None where there is none.
        old: the stored object in that version, None where there is none.
    """
    asked = {"uid": uid, **described(request, matched, obj if obj is not None else old)}
    asked |= {"object": _raw(obj), "oldObject": _raw(old), "dryRun": request.dry_run, "options": options_of(request)}
    review = {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": asked}
    return msgspec.json.encode(review)


def read(body: bytes, version: str, uid: str, *, is_mutating: bool) -> Answer:
    """Return what an answer says.

    Raises:
        BadAnswer: it is not one to this question.
    """
    try:
        review = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadAnswer(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(review, dict):
        raise BadAnswer("couldn't get version/kind: the answer is no object")
    response = review.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":  # The older version was never looked at so closely.
        _check_head(review, response, uid)
    patch, patch_type = response.get("patch") or "", response.get("patchType")
    if version == "v1":
        _check_patch(patch, patch_type, is_mutating=is_mutating)
    status, warnings = response.get("status"), response.get("warnings") or ()
    annotations = response.get("auditAnnotations") or {}
    if (
        not isinstance(status or {}, dict)
        or not isinstance(warnings, (list, tuple))
        or not isinstance(annotations, dict)
    ):
        raise BadAnswer("its status, warnings or auditAnnotations are not what they should be")
    return Answer(
        response.get("allowed") is True,
        _operations(patch) if is_mutating else [],
        patch_type or (JSON_PATCH if patch else ""),
        status or {},
        tuple(str(warning) for warning in warnings),
        {str(key): str(value) for key, value in annotations.items()},
    )


def _check_head(review: Plain, response: Plain, uid: str) -> None:
    if response.get("uid") != uid:
        given = msgspec.json.encode(str(response.get("uid") or "")).decode()
        raise BadAnswer(f'expected response.uid="{uid}", got {given}')
    said = review.get("apiVersion"), review.get("kind")
    if said != ("admission.k8s.io/v1", "AdmissionReview"):
        wanted = "admission.k8s.io/v1, Kind=AdmissionReview"
        version = str(said[0] or "")
        version = version if "/" in version else f"/{version}"
        raise BadAnswer(f"expected webhook response of {wanted}, got {version}, Kind={said[1] or ''}")


def _check_patch(patch: Any, patch_type: Any, *, is_mutating: bool) -> None:
    if not is_mutating:
        if patch:
            raise BadAnswer("validating webhook may not return response.patch")
        if patch_type is not None:
            raise BadAnswer("validating webhook may not return response.patchType")
        return
    if patch and patch_type is None:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if not patch and patch_type is not None:
        raise BadAnswer("webhook returned response.patchType but not response.patch")
    if patch and patch_type == "":
        raise BadAnswer('webhook returned invalid response.patchType of ""')


def _operations(patch: Any) -> list[Any]:
    if not patch:
        return []
    try:
        operations = msgspec.json.decode(base64.b64decode(patch, validate=True))
    except (TypeError, binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise BadAnswer(f"its patch cannot be read: {error}") from None
    if operations is None:
        return []
    if not isinstance(operations, list):
        raise BadAnswer("its patch is no list of operations (RFC 6902)")
    return operations


def refusal(name: str, status: Plain) -> Refused:
    """Return the error for a webhook's no, with the Status that it gave."""
    denied = f'admission webhook "{name}" denied the request'
    if status.get("message"):
        message = f"{denied}: {status['message']}"
    elif status.get("reason"):
        message = f"{denied}: {status['reason']}"
    else:
        message = f"{denied} without explanation"
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code <= 599 else 400
    made: Plain = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if status.get("reason"):
        made["reason"] = str(status["reason"])
    details = _details(status.get("details"))
    if details:
        made["details"] = details
    return Refused({**made, "code": code})


def _details(given: Any) -> Plain:
    """Return what StatusDetails can hold, of whatever a webhook sent."""
    if not isinstance(given, dict):
        return {}
    made: Plain = {name: given[name] for name in ("name", "group", "kind", "uid") if isinstance(given.get(name), str)}
    causes = given.get("causes")
    made["causes"] = [
        {name: cause[name] for name in ("reason", "message", "field") if isinstance(cause.get(name), str)}
        for cause in (causes if isinstance(causes, list) else ())
        if isinstance(cause, dict)
    ]
    if isinstance(given.get("retryAfterSeconds"), int):
        made["retryAfterSeconds"] = given["retryAfterSeconds"]
    return {name: value for name, value in made.items() if value}


def _raw(obj: Any) -> msgspec.Raw | None:
    return msgspec.Raw(serde.encode(obj)) if obj is not None else None
