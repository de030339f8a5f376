"""One exception for each reason a request fails, raised alike by the server and by clients.

The server turns an `ApiError` into a `Status` object; clients turn a `Status` back into the same exception, so
`except NotFound` reads the same on both sides. Reasons and codes: API conventions, "Response Status Kind".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with a request: `field` is a path such as `spec.containers[0].name`."""

    reason: str
    message: str
    field: str = ""


class ApiError(Exception):
    """A request failed; subclasses give `reason` and `code`."""

    reason: ClassVar[str] = "InternalError"
    code: ClassVar[int] = 500
    has_details: ClassVar[bool] = False
    """Whether its Status has details even when there is nothing to say in them."""

    def __init__(
        self,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int = 0,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.group = group
        self.kind = kind
        """A plural (`pods`), or a kind where upstream names one (Invalid)."""
        self.name = name
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s
        self.continue_token = continue_token
        """With Expired: where a list may go on, if its pages need not agree on a revision."""

    def status(self) -> dict[str, Any]:
        """Return the `Status` object as plain JSON values."""
        details: dict[str, Any] = {}
        for key, value in (("name", self.name), ("group", self.group), ("kind", self.kind)):
            if value:
                details[key] = value
        if self.causes:
            details["causes"] = [
                ({"reason": cause.reason} if cause.reason else {})
                | {"message": cause.message}
                | ({"field": cause.field} if cause.field else {})
                for cause in self.causes
            ]
        if self.retry_after_s:
            details["retryAfterSeconds"] = self.retry_after_s
        metadata = {"continue": self.continue_token} if self.continue_token else {}
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure"}
        status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if details or self.has_details:
            status["details"] = details
        status["code"] = self.code
        return status


class BadRequest(ApiError):
    """The request cannot be understood."""

    reason, code = "BadRequest", 400


class Unauthorized(ApiError):
    """Nobody known is asking."""

    reason, code = "Unauthorized", 401


class Forbidden(ApiError):
    """Whoever asks may not do this."""

    reason, code = "Forbidden", 403
    has_details = True


class NotFound(ApiError):
    """There is no such object, or no such resource."""

    reason, code = "NotFound", 404
    has_details = True


class MethodNotAllowed(ApiError):
    """The resource does not have this verb."""

    reason, code = "MethodNotAllowed", 405
    has_details = True


class NotAcceptable(ApiError):
    """No representation that the client accepts exists."""

    reason, code = "NotAcceptable", 406


class AlreadyExists(ApiError):
    """An object of that name is there."""

    reason, code = "AlreadyExists", 409


class Conflict(ApiError):
    """The object changed since it was read; read it again and retry."""

    reason, code = "Conflict", 409


class Gone(ApiError):
    """The resource was here and is no more."""

    reason, code = "Gone", 410


class Expired(ApiError):
    """The resourceVersion is too old to watch from or to continue a list at: list again."""

    reason, code = "Expired", 410


class RequestEntityTooLarge(ApiError):
    """The body, or the object it would make, is over the limit."""

    reason, code = "RequestEntityTooLarge", 413


class UnsupportedMediaType(ApiError):
    """The body is in a form that is not taken here."""

    reason, code = "UnsupportedMediaType", 415


class Invalid(ApiError):
    """The object breaks a rule of its kind, and the causes say where; or a patch does not fit it.

    Without `details` kubectl would not show the message either.
    """

    reason, code = "Invalid", 422
    has_details = True


class TooManyRequests(ApiError):
    """Come again after `retry_after_s`."""

    reason, code = "TooManyRequests", 429


class InternalError(ApiError):
    """The server failed; what it says of why is for operators."""

    reason, code = "InternalError", 500


class UnclassedError(ApiError):
    """What upstream answers with a plain error, of no class of its API: 500, and no reason."""

    reason, code = "", 500


class NotImplementedHere(ApiError):
    """Part of the API, and not served by this server."""

    reason, code = "NotImplemented", 501


class ServiceUnavailable(ApiError):
    """The server, or the store behind it, cannot answer now; the outcome of a write may be unknown."""

    reason, code = "ServiceUnavailable", 503


class NotReached(ServiceUnavailable):
    """No server was there to answer: never said by a server, only by who wanted to speak with one."""


class Timeout(ApiError):
    """The server gave up waiting; the outcome of a write may be unknown."""

    reason, code = "Timeout", 504


_CLASSES: tuple[type[ApiError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
    Expired, RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError,
    NotImplementedHere, ServiceUnavailable, Timeout,
)  # fmt: skip
_BY_REASON = {cls.reason: cls for cls in _CLASSES}
_BY_CODE = {cls.code: cls for cls in reversed(_CLASSES)}


def from_status(status: dict[str, Any]) -> ApiError:
    """Return the exception that a `Status` object (plain JSON values) stands for.

    It may come from anybody's server: what it says in a form that a Status does not have is passed over.
    """
    details = _object(status.get("details"))
    code = _number(status, "code") or 500
    cls = _BY_REASON.get(_text(status, "reason")) or _BY_CODE.get(code) or InternalError
    causes = details.get("causes")
    told = [_object(cause) for cause in causes] if isinstance(causes, list) else []
    return cls(
        _text(status, "message") or cls.reason,
        group=_text(details, "group"),
        kind=_text(details, "kind"),
        name=_text(details, "name"),
        causes=[Cause(_text(cause, "reason"), _text(cause, "message"), _text(cause, "field")) for cause in told],
        retry_after_s=max(0, _number(details, "retryAfterSeconds")),
        continue_token=_text(_object(status.get("metadata")), "continue"),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""


def _number(said: dict[str, Any], key: str) -> int:
    value = said.get(key)
    return value if isinstance(value, int) else 0


def as_one(messages: Sequence[str]) -> str:
    """Return several messages as one: alone as it is, more in brackets (apimachinery's `errors.Aggregate`)."""
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"


_MARKUP: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def harmless(text: str) -> str:
    """Return a text that may repeat what a stranger sent as one that no browser takes for HTML."""
    return text.translate(_MARKUP)
